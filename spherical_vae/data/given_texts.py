"""Texts that a person gives, encoded as the corpus that a model was trained on."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from spherical_vae.data.batch import END_ID, UNKNOWN_ID
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.data.examples import END_MARK, UNKNOWN_WORD, Block, collect
from spherical_vae.data.files import printable
from spherical_vae.system.errors import UserError

_UNKNOWN = re.compile(rf"(?<!\S){re.escape(UNKNOWN_WORD)}(?!\S)")


class GivenTexts(NamedTuple):
    """Encoded texts.

    Attributes:
      examples: one for each text, in their order.
      unknown: words that are not in the vocabulary, each once; in sentences they have become the
        unknown word, from documents they are left out.
    """

    examples: Split
    unknown: tuple[str, ...]


def encode_texts(
    texts: Sequence[str], corpus: Corpus, config_data: Any, label: int = 0
) -> GivenTexts:
    """Encodes texts by the rules of a corpus: its words, its vocabulary, its limit of length.

    Args:
      texts: at least one, split into words as the texts of the corpus were.
      corpus: that the model was trained on.
      config_data: `config.data` of that model.
      label: of all texts, from 0; not used if the corpus has no labels.

    Raises:
      UserError: a text without a word, a sentence longer than `max_length` or with an end mark in
        it, or a document without a word of the vocabulary.
    """
    numbers = {word: i for i, word in enumerate(corpus.vocabulary.words)}
    tokenize = CORPORA[config_data.name].tokenize
    unknown: dict[str, None] = {}
    blocks = []
    for text in texts:
        shown = f"--text: {printable(text, 40)!r}"
        # The unknown word, as sentences are printed with it, stays one.
        first, *others = map(tokenize, _UNKNOWN.split(text))
        words = [*first, *(word for part in others for word in (UNKNOWN_WORD, *part))]
        unknown |= dict.fromkeys(word for word in words if word not in numbers)
        if corpus.kind == "sequences":
            if not words:
                raise UserError(f"{shown} given, allowed: a text with a word at least")
            if len(words) > config_data.max_length:
                raise UserError(
                    f"{shown} has {len(words)} words, allowed: at most {config_data.max_length}, "
                    "config.data.max_length of the model"
                )
            if END_MARK in words:
                raise UserError(
                    f"{shown} given, allowed: a text without {END_MARK}, the end mark, which is "
                    "added by itself"
                )
            ids, counts = np.array([*(numbers.get(w, UNKNOWN_ID) for w in words), END_ID]), None
        else:
            known = np.array([numbers[word] for word in words if word in numbers], np.int64)
            ids, counts = np.unique(known, return_counts=True)
            if not len(ids):
                raise UserError(
                    f"{shown} given, allowed: a text with a word of the vocabulary of {corpus.name}"
                )
        blocks.append(Block(ids, counts, np.array([len(ids)])))
    labels = np.full(len(texts), label, np.int32) if corpus.label_classes else None
    return GivenTexts(replace(collect(blocks), labels=labels).as_split(), tuple(unknown))
