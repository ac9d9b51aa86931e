"""The published files of the paper's corpora, read as they are: no cap, no cut, nothing carved."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from spherical_vae.data.bags import Bags, BagsWriter, Block, rename_words
from spherical_vae.data.feat import read_bags, read_words
from spherical_vae.data.lines import decode_lines
from spherical_vae.data.sentences import Sentences
from spherical_vae.data.sequences import END_MARK, UNKNOWN_WORD
from spherical_vae.data.shuffling import CARVING, shuffled
from spherical_vae.data.sources import Source, open_source, printable
from spherical_vae.system.errors import UserError

RCV1_WORDS, RCV1_TEST = 10_000, 10_000
_ROWS_AT_ONCE = 4096
TOKEN_FILES = (
    "lyrl2004_tokens_train.dat",
    *(f"lyrl2004_tokens_test_pt{part}.dat" for part in range(4)),
)


@dataclass(frozen=True)
class Published:
    """A corpus as published.

    Attributes:
      splits: as published.
      words: of all splits; the position of a word is its id in bags.
      vocabulary_size: as table 2 counts it.
      history: lines for a person: what was read and dropped.
    """

    splits: Mapping[str, Sentences | Bags]
    words: Sequence[str]
    vocabulary_size: int
    history: Sequence[str]


def read_ptb(path: Path, seed: int, scratch: Path) -> Published:
    """Reads train.txt, valid.txt and test.txt, a sentence a line."""
    return _read_sentences(path, 0)


def read_yelp(path: Path, seed: int, scratch: Path) -> Published:
    """Reads the same with the stars, less one, at the head of each line."""
    return _read_sentences(path, 5)


def _read_sentences(path: Path, classes: int) -> Published:
    source = open_source(str(path), "train.txt")
    splits, history = {}, []
    for key in ("train", "valid", "test"):
        if source.find([f"{key}.txt"]) is None:
            raise UserError(f"{source.shown} has no {key}.txt")
        where = source.describe(f"{key}.txt")
        lines = decode_lines(source.read(f"{key}.txt"), where)
        rows = [line.split() for line in lines]
        numbers = [i for i, row in enumerate(rows, start=1) if len(row) > bool(classes)]
        kept = [rows[i - 1] for i in numbers]
        labels = [_stars(row[0], classes, where, i) for i, row in zip(numbers, kept, strict=True)]
        words = [row[1:] for row in kept] if classes else kept
        for i, row in zip(numbers, words, strict=True):
            if END_MARK in row:
                raise UserError(f"{where}, line {i}: {END_MARK} is the end mark, added by itself")
        splits[key] = Sentences(words, labels if classes else None)
        short = sum(len(row) < 2 for row in words)
        history.append(
            f"{key}.txt: {len(rows):,} lines read = {len(kept):,} kept + "
            f"{len(rows) - len(kept):,} empty, dropped; {short:,} of those kept have one word"
            + (
                f" (the authors' reader drops them: {len(kept) - short:,})"
                if short and not classes
                else ""
            )
        )
    types = dict.fromkeys(
        chain.from_iterable(chain.from_iterable(s.words for s in splits.values()))
    )
    in_train = set(chain.from_iterable(splits["train"].words))
    return Published(splits, list(types), len(in_train | {UNKNOWN_WORD, END_MARK}), history)


def _stars(text: str, classes: int, where: str, line: int) -> int:
    if not classes:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) < classes:
        return int(text)
    raise UserError(
        f"{where}, line {line}: begins with {printable(text, 20)!r}, "
        f"not with a label in 0..{classes - 1}"
    )


def read_news20(path: Path, seed: int, scratch: Path) -> Published:
    """Reads Miao's train.feat, test.feat and vocab.new."""
    return _read_feat(open_source(str(path), "train.feat"), 20, scratch)


def read_rcv1(path: Path, seed: int, scratch: Path) -> Published:
    """Reads Miao's files, or the token files of Lewis et al. with a test split drawn by `seed`."""
    if path.is_dir() and not (path / "train.feat").exists():
        return _read_tokens(path, seed, scratch)
    return _read_feat(open_source(str(path), "train.feat"), 0, scratch)


def _read_feat(source: Source, classes: int, scratch: Path) -> Published:
    words = read_words(source)
    splits, history = {}, []
    for key in ("train", "test"):
        if source.find([f"{key}.feat"]) is None:
            raise UserError(f"{source.shown} has no {key}.feat")
        bags = read_bags(source, f"{key}.feat", len(words), classes, scratch)
        splits[key] = bags.where(bags.lengths > 0)
        history.append(
            f"{key}.feat: {len(bags):,} lines read = {len(splits[key]):,} kept "
            f"+ {len(bags) - len(splits[key]):,} empty, dropped"
        )
    return Published(splits, words, len(words), history)


def _read_tokens(folder: Path, seed: int, scratch: Path) -> Published:
    """Counts stems: the 10,000 most frequent ones stay, 10,000 documents are drawn for test."""
    ids: dict[str, int] = {}
    with BagsWriter(scratch, ".stems") as writer:
        for block in _count_stems(folder, ids):
            writer.append(block)
        stems = writer.finish(scratch=True)
    total = stems.occurrences(len(ids))
    by_frequency = sorted(ids, key=lambda word: (-total[ids[word]], word))[:RCV1_WORDS]
    new_ids = np.full(len(ids), -1, np.int32)
    new_ids[[ids[word] for word in by_frequency]] = np.arange(len(by_frequency))
    whole = rename_words(stems, new_ids, scratch, ".words")
    full = whole.where(whole.lengths > 0)
    test = np.zeros(len(full), bool)
    test[shuffled(len(full), seed, CARVING)[:RCV1_TEST]] = True
    history = [
        f"token files: {len(whole):,} documents read = {len(full):,} kept + "
        f"{len(whole) - len(full):,} without a word of the vocabulary, dropped",
        f"{len(by_frequency):,} most frequent of {len(ids):,} stems stay",
        f"test: {test.sum():,} documents drawn by data seed {seed}",
    ]
    splits = {"train": full.where(~test), "test": full.where(test)}
    return Published(splits, by_frequency, len(by_frequency), history)


def _count_stems(folder: Path, ids: dict[str, int]) -> Iterator[Block]:
    """Yields the documents of all token files, some at a time; `ids` grows by new stems."""
    seen: set[str] = set()
    rows: list[Counter[int]] = []
    for name in TOKEN_FILES:
        place = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
        if place is None:
            raise UserError(f"{printable(str(folder))} has neither train.feat nor {name}.gz")
        for number, words in read_token_file(place):
            if number in seen:
                raise UserError(f"{place.name}: document {number} is there twice")
            seen.add(number)
            rows.append(Counter(ids.setdefault(word, len(ids)) for word in words))
            if len(rows) == _ROWS_AT_ONCE:
                yield _block(rows)
                rows = []
    yield _block(rows)


def _block(rows: Sequence[Counter[int]]) -> Block:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    size = int(lengths.sum())
    ids = np.fromiter(chain.from_iterable(rows), np.int32, size)
    counts = np.fromiter(chain.from_iterable(row.values() for row in rows), np.int32, size)
    return Block(ids, counts, lengths, None)


def read_token_file(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields number and stems of each document: `.I NUMBER`, `.W`, lines of stems, a blank line.

    Raises:
      UserError: bytes, a line or an end that breaks the layout; the message names the line.
    """
    where = printable(path.name)
    number, words, inside = None, list[str](), False
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for i, raw in enumerate(iter(lambda: file.readline(2**24), b""), start=1):
                if not raw.isascii() or b"\0" in raw or len(raw) == 2**24:
                    raise UserError(f"{where}, line {i}: not a line of ASCII text")
                line = raw.decode("ascii").strip()
                if line.startswith(".I "):
                    if number is not None:
                        yield number, words
                    number, words, inside = line[3:].strip(), [], False
                    if not number.isdigit():
                        raise UserError(f"{where}, line {i}: .I without a number")
                elif line == ".W" and number is not None and not inside:
                    inside = True
                elif line:
                    if not inside:
                        raise UserError(f"{where}, line {i}: stems before .I and .W")
                    words.extend(line.split())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where} cannot be read: {printable(str(error))}") from None
    if number is None:
        raise UserError(f"{where} holds no document")
    yield number, words
