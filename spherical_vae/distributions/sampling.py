"""Samplers of the vMF distribution, exact and with unbiased pathwise derivatives.

Every method samples one number, tan_half = tan(theta / 2) with theta the angle between
the sample and the mean direction, and takes the rest of the sample from one normal vector. How the
sample moves with its parameters does not depend on the method:

    dz = (mean_direction - cos(theta) z) (da/dkappa) dkappa
         + cos(theta) dmean_direction - (z . dmean_direction) mean_direction,

the cosine along its quantiles (`flow_table.py`) and the sphere turned in the plane of
mean_direction and dmean_direction. Both carry the law to the law of the changed parameters, so
E[df(z)] is the derivative of E[f(z)], independent of what was accepted or rejected on the way.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spherical_vae.distributions.flow_table import DEVIANCE_RANGE, flow_table
from spherical_vae.distributions.transport_table import table_range, transport_table
from spherical_vae.random.threefry import (
    key_words,
    normal_of_variance_half,
    row_numbers,
    unit_intervals,
    vary_like,
)
from spherical_vae.special.arguments import not_negative
from spherical_vae.special.chebyshev import evaluate_table
from spherical_vae.special.concentration import mode

# From here on |v|^2 - (v . mu)^2 is safe: it loses more than one digit with probability < 1e-8.
_ONE_PASS_DIMENSION = 20


class SplitNormal(NamedTuple):
    """A normal vector, variance 1/2 a component, seen from mu: v = along mu + perpendicular."""

    along: Array  # v . mu
    length: Array  # of the perpendicular part, > 0
    vector: Array  # v where `one pass`, else the perpendicular part scaled to a unit vector


def transport_is_exact(dimension: int) -> bool:
    """Says whether `method="transport"` is rejection-free here; d = 2 and 4 fall back on Wood."""
    return dimension == 3 or dimension >= 5


def _dot(x: Array, y: Array) -> Array:
    return (x * y).sum(-1)


def _split_normal(v: Array, mean_direction: Array) -> SplitNormal:
    dimension = v.shape[-1]
    smallest = jnp.finfo(v.dtype).tiny ** 0.5
    if dimension == 2:
        # The tangent is a sign times mean_direction turned by a right angle.
        turned = jnp.stack([-mean_direction[..., 1], mean_direction[..., 0]], -1)
        side = _dot(v, turned)
        vector = jnp.where(side < 0, -1.0, 1.0)[..., None] * turned
        return SplitNormal(_dot(v, mean_direction), jnp.maximum(jnp.abs(side), smallest), vector)
    along = _dot(v, mean_direction)
    if dimension >= _ONE_PASS_DIMENSION:
        length = jnp.sqrt(jnp.maximum(_dot(v, v) - along * along, smallest))
        return SplitNormal(along, length, v)
    # Projected twice: the first projection leaves a rounding error along mu which the division by
    # a short length would magnify.
    vector = v - along[..., None] * mean_direction
    vector = vector - _dot(vector, mean_direction)[..., None] * mean_direction
    length = jnp.maximum(jnp.sqrt(_dot(vector, vector)), smallest)
    return SplitNormal(along, length, vector / length[..., None])


def _assemble(tangent: SplitNormal, mean_direction: Array, tan_half: Array) -> Array:
    square = tan_half * tan_half
    cosine, sine = (1.0 - square) / (1.0 + square), 2.0 * tan_half / (1.0 + square)
    if mean_direction.shape[-1] >= _ONE_PASS_DIMENSION:
        scale = sine / tangent.length
        cosine, sine = cosine - scale * tangent.along, scale
    return cosine[..., None] * mean_direction + sine[..., None] * tangent.vector


def _uniform_tan_half(tangent: SplitNormal) -> Array:
    """Computes tan(theta / 2) of the direction of v itself, which is uniform on the sphere."""
    norm = jnp.sqrt(tangent.along**2 + tangent.length**2)
    sum_ = norm + jnp.abs(tangent.along)
    return jnp.where(tangent.along > 0, tangent.length / sum_, sum_ / tangent.length)


def transport_tan_half(dimension: int, tangent: SplitNormal, concentration: Array) -> Array:
    """Carries the normal variate v . mu to the cosine law along its quantiles."""
    dtype = tangent.along.dtype
    if dimension == 3:
        # The cosine of v is uniform on [-1, 1], and the distribution function is elementary.
        square = jnp.minimum(_uniform_tan_half(tangent), 1e15) ** 2  # its square must be finite
        below = square / (1.0 + square)  # P(cosine of a uniform direction is larger)
        above = 1.0 / (1.0 + square)
        # Not below 0, where the mode is NaN in other dimensions too.
        kappa = jnp.maximum(not_negative(concentration), 1e-20)
        kappa = jnp.broadcast_to(kappa, below.shape)
        change = below * jnp.expm1(-2.0 * kappa)
        # Near the antipode `below` is rounded to 1, and what is left of 1 is known from `above`.
        log_left = jnp.where(
            change > -0.5,
            jnp.log1p(jnp.maximum(change, -0.5)),
            jnp.log(above + below * jnp.exp(-2.0 * kappa)),
        )
        gap = -log_left / kappa  # 1 - w
        eps = jnp.finfo(dtype).eps
        return jnp.sqrt(gap / jnp.maximum(2.0 - gap, eps))
    w0, w0_gap = mode(dimension, concentration)
    limit = table_range(dtype.name)
    t = jnp.clip(math.sqrt(2.0) * tangent.along, -limit, limit)
    y = evaluate_table(transport_table(dimension, dtype.name), 0.5 + t * (0.5 / limit), w0)
    scale = jax.lax.rsqrt((dimension - 1) * (1.0 + w0 * w0))
    at_mode = jnp.sqrt(w0_gap) / (1.0 + w0)
    return jnp.broadcast_to(at_mode, t.shape) * jnp.exp(-y * jnp.broadcast_to(scale, t.shape))


def wood_tan_half(
    dimension: int, words: Array, rows: Array, tangent: SplitNormal, concentration: Array
) -> Array:
    """Samples the cosine by Wood's rejection (1994).

    His proposal is the uniform law moved by w -> (w0 + w) / (1 + w0 w). The first one is the
    direction of v itself, which costs nothing; later ones are scalars by Ulrich's formula for the
    symmetric beta law (1984). Only accepted values are returned, however long that takes.

    Args:
        dimension: d.
        words: of the key.
        rows: the number of each sample, its half of the counter.
        tangent: of each sample.
        concentration: broadcasts against `rows`.
    """
    m = dimension - 1
    w0, w0_gap = mode(dimension, concentration)
    dtype, shape = w0.dtype, tangent.along.shape
    at_mode = jnp.broadcast_to(jnp.sqrt(w0_gap) / (1.0 + w0), shape)
    # Everything that the loop carries lies where its results will.
    w0 = vary_like(jnp.broadcast_to(w0, shape), tangent.along)
    rows = vary_like(rows, w0)

    def uniforms(round_: Array, pair: int) -> tuple[Array, Array]:
        # Columns from the far end: those of the normal vector are counted from 0.
        column = jnp.uint32(2**32 - 1) - (2 * round_ + pair).astype(jnp.uint32)
        return unit_intervals(words, rows, jnp.broadcast_to(column, shape), dtype)

    def accepts(uniform: Array, tan_half: Array) -> Array:
        square = tan_half * tan_half
        q = w0 * (1.0 - square) / (1.0 + square)
        return uniform < jnp.exp(m * (q / (1.0 + q) - jnp.log1p(q)))

    def propose(turn: Array, uniform: Array) -> Array:
        if dimension == 2:
            # On the circle the angle itself is uniform; a cosine would lose the small ones.
            return jnp.abs(jnp.tan(jnp.pi * turn))
        radius = jnp.sqrt(-jnp.expm1((2.0 / (dimension - 2)) * jnp.log(uniform)))
        cosine = radius * jnp.cos((2.0 * jnp.pi) * turn)
        eps = jnp.finfo(dtype).eps
        return jnp.sqrt(jnp.maximum(1.0 - cosine, eps) / jnp.maximum(1.0 + cosine, eps))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        return ~state[2].all()

    def redraw(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        round_, tan_half, accepted = state
        proposal = propose(*uniforms(round_, 0))
        tan_half = jnp.where(accepted, tan_half, proposal)
        return round_ + 1, tan_half, accepted | accepts(uniforms(round_, 1)[0], proposal)

    first = vary_like(_uniform_tan_half(tangent), w0)
    start = jnp.zeros((), jnp.int32)
    # A NaN parameter must end the loop, not spin it.
    accepted = accepts(uniforms(start, 1)[0], first) | jnp.isnan(w0)
    _, tan_half, _ = jax.lax.while_loop(unfinished, redraw, (start + 1, first, accepted))
    return at_mode * tan_half


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
@partial(jax.jit, static_argnums=(0, 1))
def sample_with_tan_half(
    method: str,
    sample_shape: tuple[int, ...],
    key: Array,
    mean_direction: Array,
    concentration: Array,
) -> tuple[Array, Array]:
    """Samples unit vectors [*sample_shape, *batch, D] and tan(theta / 2) [*sample_shape, *batch].

    Args:
        method: "transport" or "wood".
        sample_shape: leading axes of independent samples.
        key: a typed key.
        mean_direction: unit vectors [*batch, D].
        concentration: kappa >= 0, [*batch], same dtype.
    """
    dimension = mean_direction.shape[-1]
    shape = (*sample_shape, *mean_direction.shape)
    mean_direction = jnp.broadcast_to(mean_direction, shape)
    v = normal_of_variance_half(key, shape, mean_direction.dtype)
    tangent = _split_normal(v, mean_direction)
    if method == "transport" and transport_is_exact(dimension):
        tan_half = transport_tan_half(dimension, tangent, concentration)
    else:
        rows = row_numbers(shape[:-1])
        tan_half = wood_tan_half(dimension, key_words(key), rows, tangent, concentration)
    return _assemble(tangent, mean_direction, tan_half), tan_half


@sample_with_tan_half.defjvp
def _sample_jvp(
    method: str,
    sample_shape: tuple[int, ...],
    primals: tuple[Array, Array, Array],
    tangents: tuple[Any, Array, Array],
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    _, mean_direction, concentration = primals
    _, mean_direction_dot, concentration_dot = tangents
    z, tan_half = sample_with_tan_half(method, sample_shape, *primals)
    growth = _cosine_flow(z.shape[-1], tan_half, concentration)
    growth = growth * jnp.broadcast_to(concentration_dot, tan_half.shape)
    square = tan_half * tan_half
    cosine = ((1.0 - square) / (1.0 + square))[..., None]
    mu = jnp.broadcast_to(mean_direction, z.shape)
    mu_dot = jnp.broadcast_to(mean_direction_dot, z.shape)
    along = (mu - cosine * z) * growth[..., None]
    turn = cosine * mu_dot - _dot(z, mu_dot)[..., None] * mu
    return (z, tan_half), (along + turn, -tan_half * growth)


@partial(jax.jit, static_argnums=0)
def _cosine_flow(dimension: int, tan_half: Array, concentration: Array) -> Array:
    """Computes da/dkappa, a = atanh of the cosine, at a sampled value (`flow_table.py`)."""
    m = dimension - 1
    shape = tan_half.shape
    w0, w0_gap = mode(dimension, concentration)
    at_mode = jnp.broadcast_to(jnp.sqrt(w0_gap) / (1.0 + w0), shape)  # tan(theta / 2) at u = 0
    distance = at_mode - tan_half
    q = jnp.broadcast_to(w0, shape) * distance * (at_mode + tan_half) / (at_mode**2 + tan_half**2)
    log_cosh = jnp.log1p(distance**2 / (2.0 * at_mode * tan_half))
    deviance = 2.0 * m * (log_cosh + jnp.log1p(q) - q / (1.0 + q))
    r = jnp.sign(distance) * jnp.sqrt(jnp.maximum(deviance, 0.0))
    x = jnp.clip(0.5 + r * (0.5 / DEVIANCE_RANGE), 0.0, 1.0)
    factor = evaluate_table(flow_table(dimension, tan_half.dtype.name), x, w0)
    kappa = jnp.broadcast_to(concentration, shape)
    flow = factor / (m + 2.0 * kappa / (1.0 + tan_half**2))
    # So near the point mass that squares vanish, and the derivative with them.
    return jnp.where(at_mode < jnp.finfo(flow.dtype).tiny ** 0.4, 0.0, flow)
