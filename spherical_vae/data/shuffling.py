"""The one source of chance in corpora: orders that are pure functions of a seed and a purpose."""

import numpy as np
from jaxtyping import Int

# First part of the key, so that carving and the order of an epoch never share a stream.
CARVING = 0
EPOCH = 1


def shuffled(count: int, seed: int, *key: int) -> Int[np.ndarray, " count"]:
    """Returns the positions 0 .. count - 1 in a random order.

    The raw draws of Philox and of SeedSequence are fixed for ever by NumPy, while how
    `Generator.permutation` uses them may change between versions; so raw draws are sorted.

    Args:
      count: how many positions.
      seed: non-negative.
      key: what the order is for, non-negative; different keys give independent orders.

    Returns:
      A permutation.
    """
    bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=key))
    return np.argsort(bits.random_raw(count), kind="stable")
