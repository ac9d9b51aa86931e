"""Random keys of a run: one root for each purpose, so that no two uses share a key."""

import enum

import jax
from jaxtyping import Array, Key, UInt


class Purpose(enum.IntEnum):
    """Purpose of a key."""

    INIT = 0
    TRAIN = 1
    SELECT = 2
    EVALUATE = 3
    GENERATE = 4


def root_key(seed: int | UInt[Array, ""], purpose: Purpose) -> Key[Array, ""]:
    """Returns the root key of a purpose.

    Args:
      seed: `config.seed`; may be traced.
      purpose: what the key is for.
    """
    return jax.random.fold_in(jax.random.key(seed), int(purpose))
