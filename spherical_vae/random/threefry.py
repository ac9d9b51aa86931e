"""Random bits by position: word j of row i of a key, from Threefry alone.

Rows and columns are the counter, and no key is split: what a row samples depends on the key and on
its position only, not on how many rows there are.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Float, UInt32

# Sizes are ints, or symbolic ones of `jax.export`.
Shape = tuple[Any, ...]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_SHORT_ROW = 16


def key_words(key: Array) -> UInt32[Array, " 2"]:
    """Returns the two words of a Threefry key; a key of another kind is asked for two words."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if typed and str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.bits(key, (2,))
    return jax.random.key_data(key) if typed else key


def row_numbers(shape: Shape) -> UInt32[Array, "*rows"]:
    """Returns the position of each row in an array of rows, counted in its memory order.

    Raises:
        ValueError: more rows than a word can count. The symbolic sizes of `jax.export` are not
            known here: too many of those would share their numbers.
    """
    known = [size for size in shape if isinstance(size, int)]
    if math.prod(known) > 2**32:
        raise ValueError(f"{shape} are more rows than the 2**32 that one key can number")
    numbers = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        # An axis of size 1 adds nothing, and its stride may be 2**32 itself.
        if size != 1:
            step = jnp.uint32(stride) if isinstance(stride, int) else jnp.asarray(stride)
            numbers += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * step.astype(jnp.uint32)
    return numbers


def vary_like(x: Array, *others: Array) -> Array:
    """Returns x, varying over the devices of `jax.shard_map` and sharded as all of them are.

    Branches and loops want that of their operands. Adding a zero carries it over and is removed by
    the compiler.
    """
    for other in others:
        x = x + jnp.zeros_like(other, x.dtype)
    return x


def threefry_words(
    words: UInt32[Array, " 2"], row: UInt32[Array, "*shape"], column: UInt32[Array, "*shape"]
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """Encrypts the counters (row, column): two independent uniform words for each.

    The numbers are those of JAX's own Threefry on every platform. On a CPU, where JAX runs the
    rounds as a loop over memory, they are written out, so that one compiled loop holds all of them.

    Args:
        words: of the key.
        row: first word of the counter.
        column: second word of the counter.

    Source: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.
    """
    row = vary_like(row, words[0], column)
    operands = (*(vary_like(words[i], row) for i in range(2)), row, vary_like(column, row))
    return jax.lax.platform_dependent(*operands, cpu=_unrolled, default=_primitive)


def _primitive(key_0: Array, key_1: Array, x: Array, y: Array) -> tuple[Array, Array]:
    first, second = threefry2x32_p.bind(key_0, key_1, x, y)
    # The primitive forgets over which devices its results vary.
    return vary_like(first, x), vary_like(second, x)


def _unrolled(key_0: Array, key_1: Array, x: Array, y: Array) -> tuple[Array, Array]:
    keys = (key_0, key_1, key_0 ^ key_1 ^ jnp.uint32(_PARITY))
    x, y = x + keys[0], y + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << jnp.uint32(rotation)) | (y >> jnp.uint32(32 - rotation)))
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def unit_intervals(
    words: UInt32[Array, " 2"],
    row: UInt32[Array, "*shape"],
    column: UInt32[Array, "*shape"],
    dtype: jax.typing.DTypeLike,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Samples two independent uniform numbers in (0, 1), never 0 and never 1, for each counter.

    Args:
        words: of the key.
        row: first word of the counter.
        column: second word of the counter; float64 takes that 2^30 further on as well.
        dtype: float32 or float64.

    Returns:
        Odd multiples of half the spacing, which is 2^-23 or 2^-52: symmetric about 1/2.
    """
    first = threefry_words(words, row, column)
    if jnp.dtype(dtype) == jnp.float32:
        return _interval(first[0]), _interval(first[1])
    second = threefry_words(words, row, column + jnp.uint32(2**30))
    return _wide_interval(*first), _wide_interval(*second)


def _interval(word: Array) -> Array:
    return ((word >> jnp.uint32(9)).astype(jnp.float32) + 0.5) * np.float32(2.0**-23)


def _wide_interval(high: Array, low: Array) -> Array:
    high, low = ((word >> jnp.uint32(6)).astype(jnp.float64) for word in (high, low))
    return (high * 2.0**26 + low + 0.5) * 2.0**-52


def uniform(key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Samples uniform numbers in (0, 1), faster than `jax.random.uniform` on a CPU.

    Args:
        key: typed, or the raw words of a Threefry key.
        shape: at least one axis; the last runs over the columns of a row.

    Returns:
        Odd multiples of 2^-24.
    """
    rows = jnp.broadcast_to(row_numbers(shape[:-1])[..., None], shape)
    columns = jax.lax.broadcasted_iota(jnp.uint32, shape, len(shape) - 1)
    return _interval(threefry_words(key_words(key), rows, columns)[0])


def normal_of_variance_half(
    key: Array, shape: Shape, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "*shape"]:
    """Samples normal numbers of mean 0 and variance 1/2, faster than `jax.random.normal`.

    The factor sqrt(2) is left to the caller: multiplied in here, the CPU's compiler would write
    the array twice, before and after. A direction does not need it at all.

    Args:
        key: typed, or the raw words of a Threefry key.
        shape: at least one axis; the last runs over the columns of a row.
        dtype: float32 or float64; others are rounded from float32.
    """
    *leading, columns = shape
    # The CPU's compiler makes vectors of the innermost loop, so that one had better be long.
    axis = 0 if columns < _SHORT_ROW else len(leading)
    grid = (columns, *leading) if columns < _SHORT_ROW else shape
    row = jnp.broadcast_to(jnp.expand_dims(row_numbers(tuple(leading)), axis), grid)
    column = jax.lax.broadcasted_iota(jnp.uint32, grid, axis)
    high, low = threefry_words(key_words(key), row, column)
    wide = jnp.dtype(dtype) == jnp.float64
    uniform = _wide_interval(high, low) if wide else _interval(high)
    # 2 u - 1 is exact, as u is an odd multiple of half the spacing.
    return jnp.moveaxis(jax.lax.erf_inv(2.0 * uniform - 1.0).astype(dtype), axis, -1)
