"""RCV1-v2 newswire as bags of 10,000 stems: Miao's files, or the tokens of Lewis et al. (2004)."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spherical_vae.data.corpora.feat import read_feat
from spherical_vae.data.examples import (
    CARVING,
    Block,
    Numbering,
    RawCorpus,
    collect,
    rename_words,
    shuffled,
)
from spherical_vae.data.files import printable
from spherical_vae.data.sources import Archive, CorpusSpec, Publication
from spherical_vae.system.errors import UserError

WORDS, TEST = 10_000, 10_000
TOKEN_FILES = (
    "lyrl2004_tokens_train.dat",
    *(f"lyrl2004_tokens_test_pt{part}.dat" for part in range(4)),
)


def read_rcv1(place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads Miao's files, or the token files with a test split sampled by the data seed."""
    if place.is_dir() and not (place / "train.feat").exists():
        return _read_tokens(place, config_data.seed, scratch)
    return read_feat(place, config_data, scratch, label_classes=0)


def _read_tokens(folder: Path, seed: int, scratch: Path | None) -> RawCorpus:
    """Counts stems: the 10,000 most frequent ones stay, 10,000 documents become the test split."""
    ids = Numbering()
    stems = collect(_count_stems(folder, ids), scratch)
    total = stems.occurrences(len(ids))
    words = sorted(ids, key=lambda word: (-total[ids[word]], word))[:WORDS]
    new_ids = np.full(len(ids), -1, np.int32)
    new_ids[[ids[word] for word in words]] = np.arange(len(words))
    full = rename_words(stems, new_ids, scratch)
    order = shuffled(len(full), seed, CARVING)
    splits = {"train": full.where(order[TEST:]), "test": full.where(order[:TEST])}
    history = [
        f"token files: {len(stems):,} documents read = {len(full):,} kept + "
        f"{len(stems) - len(full):,} without a word of the vocabulary, dropped",
        f"{len(words):,} most frequent of {len(ids):,} stems stay",
        f"test: {len(splits['test']):,} documents sampled by data seed {seed}",
    ]
    return RawCorpus(splits, words, history=history)


def _count_stems(folder: Path, ids: Numbering) -> Iterator[Block]:
    """Yields the documents of all token files one by one; `ids` grows by new stems."""
    seen: set[str] = set()
    for name in TOKEN_FILES:
        place = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
        if place is None:
            raise UserError(f"{printable(str(folder))} has neither train.feat nor {name}.gz")
        for number, words in read_token_file(place):
            if number in seen:
                raise UserError(f"{place.name}: document {number} is there twice")
            seen.add(number)
            yield ids.bag(words)


def read_token_file(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields number and stems of each document: `.I NUMBER`, `.W`, lines of stems, a blank line.

    Raises:
      UserError: bytes, a line or an end that breaks the layout; the message names the line.
    """
    where = printable(path.name)
    number, words, inside = None, list[str](), False
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for i, raw in enumerate(file, start=1):
                if not raw.isascii() or b"\0" in raw:
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


SPEC = CorpusSpec(
    name="rcv1",
    description="RCV1-v2 newswire, bags of stems",
    kind="bags",
    source=Archive(
        "rcv1.zip",
        hint=(
            "pack Miao's train.feat, test.feat and vocab.new (another way: name a folder with the "
            "five lyrl2004_tokens_*.dat.gz of Lewis et al. 2004, appendix 12, by config.data.path)"
        ),
    ),
    read=read_rcv1,
    settings={"vocabulary_size": 10_000},
    publication=Publication(
        title="RCV1-v2 newswire as bags of 10,000 stems.",
        examples={"train": 794_414, "test": 10_000},
        vocabulary=10_000,
        by_seed=True,
        license="Reuters: term counts may be distributed for research, the text may not",
        citation="""@article{lewis2004rcv1,
  title={RCV1: A New Benchmark Collection for Text Categorization Research},
  author={Lewis, David D. and Yang, Yiming and Rose, Tony G. and Li, Fan},
  journal={Journal of Machine Learning Research}, volume={5}, pages={361--397}, year={2004}}""",
    ),
)
