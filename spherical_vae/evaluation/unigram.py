"""The model that knows nothing but how frequent words are: the floor every other has to beat."""

import numpy as np
from jaxtyping import Float

from spherical_vae.data.corpus import Corpus


def unigram_nats(corpus: Corpus, split: str) -> Float[np.ndarray, " N"]:
    """Returns - log p(x) of each example under add-one smoothed word frequencies of train.

    Args:
      corpus: its vocabulary carries the counts of train, end marks included.
      split: to score; its end marks are scored as words are.

    Returns:
      Nats of each example.
    """
    counts = corpus.vocabulary.train_counts.astype(np.float64) + 1
    nats = -np.log(counts / counts.sum())
    examples = corpus.splits[split]
    slots = nats[examples.ids] * (1 if examples.counts is None else examples.counts)
    return np.add.reduceat(slots, examples.offsets[:-1])
