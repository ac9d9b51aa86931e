"""KL divergences between distributions on the sphere, registered with NumPyro's kl_divergence."""

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution
from numpyro.distributions.kl import kl_divergence

from spherical_vae import special
from spherical_vae.distributions.hyperspherical_uniform import HypersphericalUniform
from spherical_vae.distributions.power_spherical import PowerSpherical
from spherical_vae.distributions.vmf import VonMisesFisher

# On [-1, 1]. Where they are used the integrand is analytic in an ellipse whose semi-axes sum to
# 2.5 at least, so that the error is below 1e-12.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def _check_same_sphere(p: Distribution, q: Distribution) -> int:
    if p.event_shape != q.event_shape:
        raise ValueError(f"spheres of different dimension: {p.event_shape[0]}, {q.event_shape[0]}")
    return p.event_shape[0]


@kl_divergence.register(VonMisesFisher, HypersphericalUniform)
def _vmf_uniform(p: VonMisesFisher, q: HypersphericalUniform) -> jax.Array:
    dimension = _check_same_sphere(p, q)
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    return jnp.broadcast_to(special.kl_to_uniform(dimension, p.concentration), shape)


@kl_divergence.register(VonMisesFisher, VonMisesFisher)
def _vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> jax.Array:
    dimension = _check_same_sphere(p, q)
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    kappa_p = jnp.broadcast_to(p.concentration, shape)
    kappa_q = jnp.broadcast_to(q.concentration, shape)
    difference = jnp.broadcast_to(p.mean_direction, (*shape, dimension)) - jnp.broadcast_to(
        q.mean_direction, (*shape, dimension)
    )
    # E_p[1 - mu_q . z] = (1 - A_p) + A_p (1 - mu_p . mu_q): what is left is of one direction.
    distance = 0.5 * (difference * difference).sum(-1)
    turned = kappa_q * special.bessel_ratio(dimension, kappa_p) * distance
    return turned + _same_direction(dimension, kappa_p, kappa_q)


def _same_direction(dimension: int, kappa_p: jax.Array, kappa_q: jax.Array) -> jax.Array:
    """Computes the divergence of two vMF with the same mean direction."""
    step = kappa_p - kappa_q
    near = jnp.abs(step) < 3.0 * (jnp.minimum(kappa_p, kappa_q) + 0.5 * (dimension - 1))
    # Neighbours differ by less than the rounding of the closed form's parts. The integral of
    # (t - kappa_q) A'(t) between the two, of which the divergence is one, subtracts nothing.
    short = jnp.where(near, step, 0.0)
    shape = (len(_NODES), *(1,) * short.ndim)
    place = jnp.asarray(0.5 * (_NODES + 1.0), short.dtype).reshape(shape)
    weight = jnp.asarray(0.5 * _WEIGHTS, short.dtype).reshape(shape)
    points = kappa_q[None] + place * short[None]
    slopes = special.bessel_ratio_derivative(dimension, points)
    integral = short * short * (weight * place * slopes).sum(0)
    entropy_gap = special.kl_to_uniform(dimension, kappa_p) - special.kl_to_uniform(
        dimension, kappa_q
    )
    complement_p = special.bessel_ratio_complement(dimension, kappa_p)
    complement_q = special.bessel_ratio_complement(dimension, kappa_q)
    return jnp.where(near, integral, entropy_gap + kappa_q * (complement_p - complement_q))


@kl_divergence.register(PowerSpherical, HypersphericalUniform)
def _power_uniform(p: PowerSpherical, q: HypersphericalUniform) -> jax.Array:
    dimension = _check_same_sphere(p, q)
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    return jnp.broadcast_to(special.log_sphere_area(dimension) - p.entropy(), shape)


@kl_divergence.register(HypersphericalUniform, VonMisesFisher)
def _uniform_vmf(p: HypersphericalUniform, q: VonMisesFisher) -> jax.Array:
    dimension = _check_same_sphere(p, q)
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    kappa = q.concentration
    # log E_uniform[exp(kappa w)]
    value = kappa * special.bessel_ratio(dimension, kappa) - special.kl_to_uniform(dimension, kappa)
    return jnp.broadcast_to(value, shape)


@kl_divergence.register(HypersphericalUniform, HypersphericalUniform)
def _uniform_uniform(p: HypersphericalUniform, q: HypersphericalUniform) -> jax.Array:
    _check_same_sphere(p, q)
    return jnp.zeros(jnp.broadcast_shapes(p.batch_shape, q.batch_shape), p.dtype)
