"""Sentences whose neighbouring words change places, each pair with a given probability."""

import numpy as np

from spherical_vae.data.corpus import Split


def swap_pairs(split: Split, probability: float, generator: np.random.Generator) -> Split:
    """Returns the same sentences with some pairs of neighbours swapped.

    The pairs of a sentence are its first and second word, its third and fourth, and so on: none
    shares a word with another. The end mark stays where it is, as does a last word without a
    partner.

    Args:
      split: of sentences, each with its end mark.
      probability: that a pair is swapped, each for itself.
      generator: asked for one number a pair, in order, whatever the probability: from generators of
        one seed, what is swapped with some probability is also swapped with every larger one.

    Returns:
      A split with ids of its own; all else is shared.
    """
    pairs = (split.lengths - 1) // 2
    # The position of each pair within its sentence: 0, 1, .. as often as the sentence has pairs.
    place = np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    first = np.repeat(split.offsets[:-1], pairs) + 2 * place
    first = first[generator.random(len(first)) < probability]
    ids = np.array(split.ids)
    ids[first], ids[first + 1] = ids[first + 1], ids[first]
    return Split(ids, split.counts, split.offsets, split.labels)
