"""Random keys: one root for each purpose of a run, so that no two uses share a key."""

import enum
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt
from numpyro.util import is_prng_key

from spherical_vae.system.errors import UserError


def as_key(key: Any) -> Key[Array, ""]:
    """Returns one typed key; raw words of one are wrapped.

    Raises:
        UserError: it is not a key, or several of them, which are for `jax.vmap`.
    """
    if not is_prng_key(key):
        found = f"{key.dtype}{list(key.shape)}" if hasattr(key, "dtype") else repr(key)
        raise UserError(f"key must be one key, as jax.random.key(0), got {found}")
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return key if typed else jax.random.wrap_key_data(key)


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
