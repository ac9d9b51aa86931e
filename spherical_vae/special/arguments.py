"""Arguments of the public functions: static dimensions, and real arrays of any dtype."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Real

from spherical_vae.system.errors import UserError

# Beside arrays and numbers: lists of them, however deep.
Nested = list[Any] | tuple[Any, ...]
Numbers = Real[ArrayLike, "*batch"] | Nested


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


def as_float(x: Any, name: str) -> Array:
    """Converts to a floating array of the same shape.

    Integers, Python numbers and lists get the default float type.

    Raises:
        UserError: `name` is not made of integers or floating-point numbers.
    """
    numbers = f"{name} must be of integers or floating-point numbers"
    try:
        array = x if isinstance(x, jax.Array) else np.asarray(x)
    except (ValueError, jax.errors.TracerArrayConversionError):
        # A list of traced numbers, or a ragged one.
        try:
            array = jnp.asarray(x)
        except (TypeError, ValueError) as error:
            raise UserError(f"{numbers}: {error}") from error
    whole = jnp.issubdtype(array.dtype, jnp.integer)
    if not whole and not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(f"{numbers}, got {array.dtype}")
    of_python = isinstance(x, (float, list, tuple))
    dtype = jnp.result_type(float) if whole or of_python else array.dtype
    array = array.astype(jax.dtypes.canonicalize_dtype(dtype))
    if isinstance(array, jax.Array):
        return array
    # Explicitly, so that a guard against transfers by accident lets it pass; and at once, so that a
    # constant within `jit` can still be looked at.
    with jax.ensure_compile_time_eval():
        return jax.device_put(array)


def not_negative(x: Array) -> Array:
    """Returns x, with NaN in place of negative numbers."""
    return jnp.where(x < 0, jnp.nan, x)


def working_dtype(dtype: jax.typing.DTypeLike) -> np.dtype:
    """Returns the type to compute in: half precision and less is widened to float32."""
    found = jnp.dtype(dtype)
    return found if found.itemsize >= 4 else np.dtype(np.float32)


def result_dtype(*arrays: Array) -> np.dtype:
    """Returns the type of a result of several arrays: the one they share, or else their widest.

    Half precision counts as float32 in the latter case.
    """
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1:
        return dtypes.pop()
    return max(map(working_dtype, dtypes), key=lambda dtype: dtype.itemsize)
