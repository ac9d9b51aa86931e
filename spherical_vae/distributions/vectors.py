"""Unit vectors: what is taken for one, and how far apart two of them are."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spherical_vae.special.arguments import as_float, check_dimension, working_dtype
from spherical_vae.system.errors import UserError


class UnitVectors(NamedTuple):
    """Vectors [*batch, D], and which of them have unit length [*batch]; None: all, or not seen."""

    array: Float[Array, "*batch D"]
    valid: Bool[Array, "*batch"] | None


def as_vectors(x: Any, name: str) -> Float[Array, "*batch D"]:
    """Converts to a floating array whose last axis has at least 2 coordinates, or raises."""
    array = as_float(x, name)
    if array.ndim < 1:
        raise UserError(f"{name} must have at least one axis, the coordinates")
    check_dimension(array.shape[-1])
    return array


def as_unit_vectors(x: Any, name: str, check_traced: bool = True) -> UnitVectors:
    """Converts to an array of unit vectors, of which the norms are checked.

    Raises:
        UserError: a norm is off by more than the square root of the type's spacing. Traced values
            cannot be looked at; `valid` then says where, unless `check_traced` is False.
    """
    array = as_vectors(x, name)
    if isinstance(array, jax.core.Tracer) or not array.is_fully_addressable:
        return UnitVectors(array, _has_unit_length(array) if check_traced else None)
    with jax.ensure_compile_time_eval():
        valid = jax.device_get(_has_unit_length(array))
        if not valid.all():
            norm = jax.device_get(_norm(array))[~valid].flat[0]
            raise UserError(f"{name} must be of unit vectors, one has the norm {norm:.6g}")
    return UnitVectors(array, None)


def as_values(x: Any, dimension: int, batch_rank: int) -> Float[Array, "..."]:
    """Converts to vectors of so many coordinates, with at least so many axes before them."""
    value = as_float(x, "value")
    check_coordinates(value, "value", dimension, "the distribution")
    return value.reshape((1,) * (batch_rank + 1 - value.ndim) + value.shape)


def variance_by_coordinate(
    along: Float[Array, "*batch"],
    across: Float[Array, "*batch"],
    direction: Float[Array, "*batch D"],
) -> Float[Array, "*batch D"]:
    """Returns the variance of each coordinate from that along the mean direction and across it."""
    x = direction.astype(across.dtype)
    # By 1 - x^2 a coordinate near the direction would lose its variance, far smaller than across.
    variance = across[..., None] * ((1.0 - x) * (1.0 + x)) + along[..., None] * (x * x)
    return variance.astype(direction.dtype)


@jax.jit
def _norm(array: Array) -> Array:
    wide = array.astype(working_dtype(array.dtype))
    return jnp.sqrt((wide * wide).sum(-1))


@jax.jit
def _has_unit_length(array: Array) -> Array:
    return jnp.abs(_norm(array) - 1.0) <= math.sqrt(jnp.finfo(array.dtype).eps)


def check_coordinates(x: Array, name: str, dimension: int, other_name: str) -> None:
    """Raises a UserError that names both, unless the last axis of x is `dimension` coordinates."""
    if x.ndim < 1 or x.shape[-1] != dimension:
        number = x.shape[-1] if x.ndim else "no"
        raise UserError(f"{name} has {number} coordinates, {other_name} has {dimension}")


class Gaps(NamedTuple):
    """1 - cosine and 1 + cosine of pairs of unit vectors, [*batch] each."""

    below_one: Array
    above_minus_one: Array


def gaps(value: Float[Array, "*values D"], direction: Float[Array, "*directions D"]) -> Gaps:
    """Computes 1 - cosine and 1 + cosine, of one float type, float32 or float64.

    Off the sphere they continue as |value - direction|^2 / 2 and |value + direction|^2 / 2.

    Where the leading axes of one argument cover those of the other, that is how they are computed,
    with an error of a few units of rounding relative to each. Where axes of both are broadcast, all
    pairs are taken by matrix products, and no array of pairs of vectors is formed. The error is
    then below 6e-11 sqrt(D) in float32 and 7e-24 sqrt(D) in float64, and what is smaller is 0;
    1 - cosine of a single product in float32 would be wrong by 1e-7. See `_gaps_of_pairs`.
    """
    rank = max(value.ndim, direction.ndim)
    value, direction = (x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (value, direction))
    alone = [
        {i for i in range(rank - 1) if x.shape[i] != 1 and y.shape[i] == 1}
        for x, y in ((value, direction), (direction, value))
    ]
    return Gaps(*(_gaps_of_pairs if all(alone) else _gaps_of_rows)(value, direction))


def log_half(gap: Array, rest: Array) -> Array:
    """Computes log((1 + cosine) / 2) from both gaps, of which each is exact where it is small."""
    return jnp.where(
        gap < 1.0,
        jnp.log1p(-0.5 * jnp.minimum(gap, 1.0)),
        jnp.log(jnp.maximum(0.5 * rest, jnp.finfo(rest.dtype).tiny)),
    )


@jax.jit
def _gaps_of_rows(value: Array, direction: Array) -> tuple[Array, Array]:
    # Nothing large is subtracted, and a rounded norm costs only its square.
    difference, sum_ = value - direction, value + direction
    return 0.5 * (difference * difference).sum(-1), 0.5 * (sum_ * sum_).sum(-1)


@jax.custom_jvp
@jax.jit
def _gaps_of_pairs(value: Array, direction: Array) -> tuple[Array, Array]:
    """Computes both gaps by products of heads and tails.

    A head is rounded to a multiple of 2^-11 (float32): products and all partial sums of two unit
    vectors of heads are multiples of 2^-22 below 2, which float32 holds exactly. Only what the
    tails add is rounded, and that is 2^-11 as large.
    """
    dtype = value.dtype
    fraction = jnp.finfo(dtype).nmant
    bits = (fraction - 1) // 2
    (v_head, v_tail), (d_head, d_tail) = (
        _heads_and_tails(value, bits),
        _heads_and_tails(direction, bits),
    )
    heads = _inner(v_head, d_head)
    tails = _inner(value, d_tail) + _inner(v_tail, d_head)
    own_heads = _own(v_head, v_head) + _own(d_head, d_head)
    own_tails = _own(value + v_head, v_tail) + _own(direction + d_head, d_tail)
    resolution = 2.0 ** -(bits + fraction) * math.sqrt(value.shape[-1])

    def gap(cosine_heads: Array, cosine_tails: Array) -> Array:
        total = (own_heads - cosine_heads) + (own_tails - cosine_tails)
        return jnp.where(total < resolution, 0.0, total)

    return gap(heads, tails), gap(-heads, -tails)


@_gaps_of_pairs.defjvp
def _gaps_of_pairs_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (value, direction), (value_dot, direction_dot) = primals, tangents
    own = 2.0 * (_own(value, value_dot) + _own(direction, direction_dot))
    cosine = _inner(value_dot, direction) + _inner(value, direction_dot)
    return _gaps_of_pairs(*primals), (own - cosine, own + cosine)


def _heads_and_tails(x: Array, bits: int) -> tuple[Array, Array]:
    head = jnp.round(x * 2.0**bits) * 2.0**-bits
    return head, x - head


def _own(x: Array, y: Array) -> Array:
    return 0.5 * (x * y).sum(-1)


@jax.jit
def _inner(x: Array, y: Array) -> Array:
    """Computes x . y of arrays of one rank for all pairs that broadcasting makes of them."""
    # Full float32 products: an accelerator's default would keep three digits.
    return jnp.einsum("...i,...i->...", x, y, precision=jax.lax.Precision.HIGHEST)
