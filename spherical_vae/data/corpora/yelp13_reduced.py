"""Yelp 2013 on its official test file, with a reduced training split; the train file is missing.

Test is the official test file, 8,671 reviews, validation 500 of the 7,773 official validation
reviews. The training split consists of the other validation reviews, and of 10,000 raw reviews
(`yelp10k`), split into words alike, without those that match an official review: both come from the
same source. Official reviews that match one of a split that is held out are taken out of the
others, too.
"""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool

from spherical_vae.data.corpora import yelp10k
from spherical_vae.data.corpora.yelp import STARS
from spherical_vae.data.examples import CARVING, UNKNOWN_WORD, RawCorpus, raw_corpus, shuffled
from spherical_vae.data.files import decode_lines
from spherical_vae.data.sources import Archive, CorpusSpec, verify_blob
from spherical_vae.system.errors import UserError

VALID = 500
# Of the official reviews, which are cut; longer ones of the table are cut alike.
MAX_TOKENS = 50
# Letters and digits of a stretch that two reviews have in common only if they are the same one.
SHARED = 30
LONGEST_UNKNOWN = 40
OFFICIAL = Archive(
    "yelp13_official.zip",
    hint="pack data/yelp/valid.txt and test.txt of the history of the authors' repository",
)
# Git blob ids of the files in it.
BLOBS = {
    "valid.txt": "0fd84ab1e1b6f850e80a77dc4e279d7d3b1e067e",
    "test.txt": "46235bb28210b5138f92b539fcd760c994776085",
}
RAW = yelp10k.SPEC.source

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_BRACKET = re.compile(r"-[lr][rsc]b-")
_SIGN = re.compile(r"[^a-z0-9]+")
_OPENING = re.compile(r'(^|[\s(\[{])"')
_ABBREVIATION = r"(?:etc|st|mr|mrs|ms|dr|vs|ave|rd|blvd|co|inc|jr|sr)\."
_TOKEN = re.compile(
    # Clitics, abbreviations and initials; numbers with their signs; words with hyphens inside.
    r"\b(?:can(?=not\b)|gon(?=na\b)|wan(?=na\b)|got(?=ta\b))"
    rf"|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)|\b{_ABBREVIATION}(?!\w)|\b[b-hj-z]\.(?:[a-z]\.)*"
    r"|\b[ap]\.m\.|\d+(?:[.,:/-]\d+)+\w*|\w+(?:[-/]\w+)*|``|''|\.{2,}|-{2,}|[!?]+|\*+|[^\w\s]"
)


def tokenize(text: str) -> list[str]:
    """Splits a raw review into the lower-case words and signs of the official files.

    These follow the Penn Treebank: brackets are `-lrb-`, quotes are `` and '', a run of dots is
    `...`, and a run of exclamation and question marks is one word.
    """
    text = _OPENING.sub(r"\1`` ", text.lower().replace("\u2019", "'")).replace('"', " '' ")
    words = _TOKEN.findall(text)
    return [
        _BRACKETS.get(word, "..." if word.startswith("..") else "--" if "--" in word else word)
        for word in words
    ]


def matches(raw: Sequence[str], official: Sequence[Sequence[str]]) -> Bool[np.ndarray, " raw"]:
    """Returns which raw reviews may be one of the official ones, in doubt that they are.

    Spaces and signs are left out, so that it does not matter how the text is split. A review
    matches if it shares one of the stretches into which the known words of an official one are
    divided; or, if there is none so long, if it is the whole of it with something in the place of
    each unknown word. One without a known word matches nothing.

    Args:
      raw: texts.
      official: words of each review, cut at `MAX_TOKENS`.
    """
    shared, short = set[str](), list[re.Pattern[str]]()
    for words in official:
        runs = [_letters(run) for run in " ".join(words).split(UNKNOWN_WORD)]
        longest = max(runs, key=len)
        if len(longest) >= SHARED:
            starts = ((run, i) for run in runs for i in range(0, len(run) - SHARED + 1, SHARED))
            shared.update(run[i : i + SHARED] for run, i in starts)
        elif longest:
            short.append(_pattern(runs, whole=len(words) < MAX_TOKENS))
    plain = [_letters(text) for text in raw]
    return np.array(
        [
            any(text[i : i + SHARED] in shared for i in range(len(text) - SHARED + 1))
            or any(pattern.match(text) for pattern in short)
            for text in plain
        ],
        bool,
    )


def _letters(text: str) -> str:
    return _SIGN.sub("", _BRACKET.sub("", text.lower()))


def _pattern(runs: Sequence[str], whole: bool) -> re.Pattern[str]:
    """Returns what matches the runs in this order, with some letters for each unknown word."""
    unknown = f"[a-z0-9]{{1,{LONGEST_UNKNOWN}}}"
    return re.compile(unknown.join(runs) + ("$" if whole else ""))


class _TwoArchives:
    """The official files and the raw reviews, both in `manual_dir`."""

    path: ClassVar[str] = "no"

    def files(self, config_data: Any) -> list[Path]:
        return [*OFFICIAL.files(config_data), *RAW.files(config_data)]

    def find(self, config_data: Any) -> Path:
        RAW.find(config_data)
        return OFFICIAL.find(config_data).parent

    def missing(self, config_data: Any) -> str | None:
        return OFFICIAL.missing(config_data) or RAW.missing(config_data)


def read_yelp13_reduced(place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads both archives; the data seed chooses the validation reviews."""
    dev, test = (_official(place / OFFICIAL.name, file) for file in ("valid.txt", "test.txt"))
    test_words = [words for words, _ in test]
    in_test = matches([" ".join(words) for words, _ in dev], test_words)
    kept_dev = [row for row, dropped in zip(dev, in_test, strict=True) if not dropped]
    order = shuffled(len(kept_dev), config_data.seed, CARVING)
    chosen = np.sort(order[: min(VALID, len(kept_dev) // 2)]).tolist()
    valid = [kept_dev[i] for i in chosen]
    rest = [row for i, row in enumerate(kept_dev) if i not in set(chosen)]
    in_valid = matches([" ".join(words) for words, _ in rest], [words for words, _ in valid])
    other = [row for row, dropped in zip(rest, in_valid, strict=True) if not dropped]
    texts, stars = yelp10k.read_reviews(place)
    like_dev = matches(texts, [words for words, _ in dev])
    like_test = matches(texts, test_words)
    kept = np.flatnonzero(~(like_dev | like_test)).tolist()
    raw = [(tokenize(texts[i])[:MAX_TOKENS], stars[i]) for i in kept]
    splits = {"train": other + raw, "valid": valid, "test": test}
    history = [
        "official test, reduced train: the official train file could not be obtained",
        f"raw: {len(texts):,} reviews read = {len(kept):,} kept + {len(texts) - len(kept):,} like "
        f"official ones, dropped; {np.count_nonzero(like_dev):,} are like validation reviews, "
        f"{np.count_nonzero(like_test):,} like test reviews",
        f"official validation: {len(dev):,} reviews read = {len(valid):,} valid + {len(other):,} "
        f"train + {np.count_nonzero(in_test):,} like test reviews, dropped + "
        f"{np.count_nonzero(in_valid):,} like valid ones, dropped; by data seed {config_data.seed}",
    ]
    words = {key: [row[0] for row in rows] for key, rows in splits.items()}
    labels = {key: [row[1] for row in rows] for key, rows in splits.items()}
    return raw_corpus("sequences", words, "reviews", labels, history)


def _official(archive: Path, file: str) -> list[tuple[list[str], int]]:
    """Returns words and stars, less one, of each review of an official file.

    Raises:
      UserError: it is not the official file.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            content = members.read(file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: {file} cannot be read ({error})") from None
    verify_blob(content, BLOBS[file], f"{archive}/{file}")
    rows = [line.split() for line in decode_lines(content, f"{archive}/{file}")]
    return [(row[1:], int(row[0])) for row in rows]


SPEC = CorpusSpec(
    name="yelp13_reduced",
    description="official Yelp 2013 test, reduced train",
    kind="sequences",
    source=_TwoArchives(),
    read=read_yelp13_reduced,
    label_names=STARS,
    settings={"vocabulary_size": 15_000, "label_classes": 5},
    tokenize=tokenize,
)
