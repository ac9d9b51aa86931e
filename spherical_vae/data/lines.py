"""Bytes to lines: UTF-8, a byte order mark skipped, only LF and CRLF end a line."""

import codecs

from spherical_vae.errors import UserError


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
      UserError: no content, bytes that are no UTF-8, or a NUL byte, with its line.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content:
        raise UserError(f"{where} is empty")
    nul = content.find(b"\0")
    if nul >= 0:
        raise UserError(f"{where}, line {_line_at(content, nul)}: NUL byte; it must be UTF-8 text")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        line = _line_at(content, error.start)
        raise UserError(f"{where}, line {line}: byte 0x{byte:02x} is not UTF-8") from None
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines] if "\r" in text else lines


def _line_at(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1
