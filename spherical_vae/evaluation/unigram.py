"""The unigram model: word frequencies alone, a baseline of all others."""

import numpy as np
from jaxtyping import Float

from spherical_vae.data.corpus import Corpus


def unigram_nats(corpus: Corpus, split: str) -> Float[np.ndarray, " N"]:
    """Returns - log p(x) in nats of each example of a split.

    Words, end marks included, have their add-one smoothed frequencies in train.
    """
    counts = corpus.vocabulary.train_counts.astype(np.float64) + 1
    nats = -np.log(counts / counts.sum())
    examples = corpus.splits[split]
    slots = nats[examples.ids] * (1 if examples.counts is None else examples.counts)
    return np.add.reduceat(slots, examples.offsets[:-1])
