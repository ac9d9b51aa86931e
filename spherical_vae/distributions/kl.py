"""KL divergences between distributions on the sphere, registered with NumPyro's kl_divergence.

Between two of one family they are accurate relative to themselves, however close the two are.
Between vMF and power spherical laws the error is a few units of rounding of the divergences to the
uniform law. Second derivatives by the mean direction of a power spherical second law are NaN where
both directions are the same.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution
from numpyro.distributions.kl import kl_divergence

from spherical_vae import special
from spherical_vae.distributions.directional import DirectionalDistribution
from spherical_vae.distributions.hyperspherical_uniform import HypersphericalUniform
from spherical_vae.distributions.power_spherical import PowerSpherical
from spherical_vae.distributions.turned_mean import mean_log_half, mean_log_half_turned
from spherical_vae.distributions.vectors import Gaps, gaps
from spherical_vae.distributions.vmf import VonMisesFisher
from spherical_vae.special.arguments import not_negative, result_dtype
from spherical_vae.special.gamma_ratio import gamma_ratio_growth, gamma_ratio_slope

# On [-1, 1]. Where they are used the integrand is analytic in an ellipse whose semi-axes sum to
# 2.5 at least, so that the error is below 1e-12.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)

# Of d, both concentrations in [0, inf), and how far apart the mean directions are; one shape.
_Divergence = Callable[[int, jax.Array, jax.Array, Gaps], jax.Array]


def _register(p_type: type, q_type: type) -> Callable[[_Divergence], _Divergence]:
    """Decorator: registers a function for the batch shape of both, and for point masses."""

    def decorate(function: _Divergence) -> _Divergence:
        @kl_divergence.register(p_type, q_type)
        def divergence(p: Distribution, q: Distribution) -> jax.Array:
            (dimension,), (other,) = p.event_shape, q.event_shape
            if dimension != other:
                raise ValueError(f"spheres of different dimension: {dimension}, {other}")
            kappa_p, kappa_q, apart = _pair(p, q)
            # At inf a law is a point mass: it has a finite divergence from itself alone.
            point = (kappa_p == jnp.inf) | (kappa_q == jnp.inf)
            itself = (kappa_p == kappa_q) & (apart.below_one == 0)
            kappa_p, kappa_q = (jnp.where(x == jnp.inf, 1.0, x) for x in (kappa_p, kappa_q))
            finite = function(dimension, kappa_p, kappa_q, apart)
            # Of an invalid law it is NaN, whatever the other.
            point &= ~jnp.isnan(finite)
            return jnp.where(point, jnp.where(itself, 0.0, jnp.inf), finite)

        return function

    return decorate


def _pair(p: Distribution, q: Distribution) -> tuple[jax.Array, jax.Array, Gaps]:
    """Returns both concentrations and how far apart the mean directions are, in one shape.

    The uniform law is the other's with the concentration 0.
    """
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    directed = [law for law in (p, q) if isinstance(law, DirectionalDistribution)]
    dtype = result_dtype(*(law.concentration for law in directed)) if directed else p.dtype
    zero = jnp.zeros((), dtype)
    kappa_p, kappa_q = (not_negative(getattr(law, "concentration", zero)) for law in (p, q))
    apart = Gaps(zero, zero)
    if len(directed) == 2:
        apart = gaps(p.mean_direction.astype(dtype), q.mean_direction.astype(dtype))
    kappa_p, kappa_q, below_one, above_minus_one = (
        jnp.broadcast_to(x.astype(dtype), shape) for x in (kappa_p, kappa_q, *apart)
    )
    return kappa_p, kappa_q, Gaps(below_one, above_minus_one)


@_register(VonMisesFisher, HypersphericalUniform)
def _vmf_uniform(dimension: int, kappa: jax.Array, zero: jax.Array, apart: Gaps) -> jax.Array:
    return special.kl_to_uniform(dimension, kappa)


@_register(VonMisesFisher, VonMisesFisher)
def _vmf_vmf(dimension: int, kappa_p: jax.Array, kappa_q: jax.Array, apart: Gaps) -> jax.Array:
    # E_p[1 - mu_q . z] = (1 - A_p) + A_p (1 - mu_p . mu_q): what is left is of one direction.
    turned = kappa_q * special.bessel_ratio(dimension, kappa_p) * apart.below_one
    return turned + _same_direction(
        kappa_p,
        kappa_q,
        dimension,
        lambda kappa: special.bessel_ratio_derivative(dimension, kappa),
        _vmf_vmf_far,
    )


def _vmf_vmf_far(dimension: int, kappa_p: jax.Array, kappa_q: jax.Array) -> jax.Array:
    entropy_gap = special.kl_to_uniform(dimension, kappa_p) - special.kl_to_uniform(
        dimension, kappa_q
    )
    complement_p = special.bessel_ratio_complement(dimension, kappa_p)
    complement_q = special.bessel_ratio_complement(dimension, kappa_q)
    return entropy_gap + kappa_q * (complement_p - complement_q)


def _same_direction(
    kappa_p: jax.Array,
    kappa_q: jax.Array,
    dimension: int,
    variance: Callable[[jax.Array], jax.Array],
    far: Callable[[int, jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """Computes the divergence of two laws of one exponential family with the same mean direction.

    Args:
        kappa_p: of the first.
        kappa_q: of the second, same shape.
        dimension: d.
        variance: of the sufficient statistic at a concentration.
        far: the closed form, good where the two are not close.
    """
    step = kappa_p - kappa_q
    near = jnp.abs(step) < 3.0 * (jnp.minimum(kappa_p, kappa_q) + 0.5 * (dimension - 1))
    # Neighbours differ by less than the rounding of the closed form's parts. The integral of
    # (t - kappa_q) times the variance between the two, of which the divergence is one, subtracts
    # nothing.
    short = jnp.where(near, step, 0.0)
    shape = (len(_NODES), *(1,) * short.ndim)
    place = jnp.asarray(0.5 * (_NODES + 1.0), short.dtype).reshape(shape)
    weight = jnp.asarray(0.5 * _WEIGHTS, short.dtype).reshape(shape)
    points = kappa_q[None] + place * short[None]
    integral = short * short * (weight * place * variance(points)).sum(0)
    return jnp.where(near, integral, far(dimension, kappa_p, kappa_q))


@_register(PowerSpherical, PowerSpherical)
def _power_power(dimension: int, kappa_p: jax.Array, kappa_q: jax.Array, apart: Gaps) -> jax.Array:
    turned = mean_log_half_turned(dimension, "power_spherical", kappa_p, *apart)
    return _power_same_direction(dimension, kappa_p, kappa_q, apart) - kappa_q * turned


@_register(PowerSpherical, HypersphericalUniform)
@_register(HypersphericalUniform, PowerSpherical)
@_register(HypersphericalUniform, HypersphericalUniform)
def _power_same_direction(
    dimension: int, kappa_p: jax.Array, kappa_q: jax.Array, apart: Gaps
) -> jax.Array:
    half = (dimension - 1) / 2

    def variance(kappa: jax.Array) -> jax.Array:
        return -jax.jvp(lambda x: gamma_ratio_slope(half, x), (kappa,), (jnp.ones_like(kappa),))[1]

    return _same_direction(kappa_p, kappa_q, dimension, variance, _power_power_far)


def _power_power_far(dimension: int, kappa_p: jax.Array, kappa_q: jax.Array) -> jax.Array:
    half = (dimension - 1) / 2
    peaks = gamma_ratio_growth(half, kappa_p) - gamma_ratio_growth(half, kappa_q)
    return peaks - (kappa_p - kappa_q) * gamma_ratio_slope(half, kappa_p)


@_register(VonMisesFisher, PowerSpherical)
def _vmf_power(dimension: int, kappa_p: jax.Array, kappa_q: jax.Array, apart: Gaps) -> jax.Array:
    turned = mean_log_half_turned(dimension, "vmf", kappa_p, *apart)
    peak = gamma_ratio_growth((dimension - 1) / 2, kappa_q)
    to_uniform = special.kl_to_uniform(dimension, kappa_p)
    return to_uniform - peak - kappa_q * (mean_log_half(dimension, kappa_p) + turned)


@_register(PowerSpherical, VonMisesFisher)
def _power_vmf(dimension: int, kappa_p: jax.Array, kappa_q: jax.Array, apart: Gaps) -> jax.Array:
    half = (dimension - 1) / 2
    to_uniform = gamma_ratio_growth(half, kappa_p) - kappa_p * gamma_ratio_slope(half, kappa_p)
    cosine, shortfall = (x / (kappa_p + (dimension - 1)) for x in (kappa_p, dimension - 1))
    # A(kappa_q) less the mean cosine, from the smaller of both or from what both lack of 1.
    of_q, lacks = (
        f(dimension, kappa_q) for f in (special.bessel_ratio, special.bessel_ratio_complement)
    )
    farther = jnp.where(cosine < 0.5, of_q - cosine, shortfall - lacks) + cosine * apart.below_one
    return to_uniform - special.kl_to_uniform(dimension, kappa_q) + kappa_q * farther


@_register(HypersphericalUniform, VonMisesFisher)
def _uniform_vmf(dimension: int, zero: jax.Array, kappa: jax.Array, apart: Gaps) -> jax.Array:
    # log E_uniform[exp(kappa w)]
    return kappa * special.bessel_ratio(dimension, kappa) - special.kl_to_uniform(dimension, kappa)
