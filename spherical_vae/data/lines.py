"""Bytes to lines: UTF-8, a byte order mark skipped, only LF and CRLF end a line.

CR alone, with which lines ended on the first Macintoshes, is white space inside a line; a file that
has more of them than lines is refused.
"""

import codecs
from collections.abc import Iterable, Iterator

from spherical_vae.system.errors import UserError


def decode_lines(content: bytes, where: str) -> list[str]:
    """Splits a file into lines without their ends.

    Other line separators of Unicode (U+2028, form feed ...) stay inside the line, so that a line
    means what it means to every other tool. Line i of the result is line i + 1 of the file.

    Args:
      content: the whole file.
      where: how to name the file in messages.

    Returns:
      The lines; a newline at the very end starts no further line.

    Raises:
      UserError: no content, bytes that are no UTF-8, or a NUL byte, with its line; lines that end
        by CR alone.
    """
    return [line for lines in line_blocks([content], where) for line in lines]


def line_blocks(blocks: Iterable[bytes], where: str) -> Iterator[list[str]]:
    """Splits a file that comes in blocks into lines, as `decode_lines` does.

    Args:
      blocks: the content, cut anywhere.
      where: how to name the file in messages.

    Yields:
      Lines, whole ones; memory is that of a block, or of the longest line.

    Raises:
      UserError: as `decode_lines`.
    """
    before, feeds, lone, started = 0, 0, 0, False
    for whole in _whole_lines(blocks):
        content = whole if started else whole.removeprefix(codecs.BOM_UTF8)
        if not content:
            continue
        started = True
        nul = content.find(b"\0")
        if nul >= 0:
            line = before + _line_at(content, nul)
            raise UserError(f"{where}, line {line}: NUL byte; it must be UTF-8 text")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = content[error.start]
            line = before + _line_at(content, error.start)
            raise UserError(f"{where}, line {line}: byte 0x{byte:02x} is not UTF-8") from None
        lines = text.split("\n")
        feeds += len(lines) - 1
        if not lines[-1]:
            lines.pop()
        before += len(lines)
        if "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
            lone += sum(line.count("\r") for line in lines)
        yield lines
    if not started:
        raise UserError(f"{where} is empty")
    if lone > feeds:
        raise UserError(
            f"{where}: lines end by CR alone ({lone:,} CR, {feeds:,} LF or CRLF); only LF and CRLF "
            "end a line, CR alone is white space: convert the file"
        )


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the same content cut after line feeds only."""
    unfinished: list[bytes] = []
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*unfinished, block[:end]])
            unfinished = []
        if end < len(block):
            unfinished.append(block[end:])
    if unfinished:
        yield b"".join(unfinished)


def _line_at(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1
