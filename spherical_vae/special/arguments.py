"""What the public functions accept: static dimensions and floating-point arrays."""

import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from spherical_vae.errors import UserError


def check_dimension(dimension: int, smallest: int = 2) -> int:
    """Returns the static dimension as an int, or raises a UserError that names it."""
    try:
        value = operator.index(dimension)
    except TypeError as error:
        raise UserError(
            f"dimension must be a static integer of at least {smallest}, got {dimension!r}"
        ) from error
    if value < smallest:
        raise UserError(f"dimension must be at least {smallest}, got {value}")
    return value


def as_float(x: Real[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
    """Converts to a floating array; integers and Python numbers get the default float type."""
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.result_type(float))


def working_dtype(dtype: jax.typing.DTypeLike) -> jax.typing.DTypeLike:
    """Returns the type to compute in: half precision is widened to float32."""
    return jnp.promote_types(dtype, jnp.float32)
