"""KL divergences between distributions on the sphere, registered with NumPyro's kl_divergence."""

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution
from numpyro.distributions.kl import kl_divergence

from spherical_vae import special
from spherical_vae.distributions.hyperspherical_uniform import HypersphericalUniform
from spherical_vae.distributions.vmf import VonMisesFisher


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
    # E_p[1 - mu_q . z] = (1 - A_p) + A_p (1 - mu_p . mu_q), each part without cancellation.
    distance = 0.5 * (difference * difference).sum(-1)
    ratio_p = special.bessel_ratio(dimension, kappa_p)
    complement_p = special.bessel_ratio_complement(dimension, kappa_p)
    complement_q = special.bessel_ratio_complement(dimension, kappa_q)
    entropy_gap = special.kl_to_uniform(dimension, kappa_p) - special.kl_to_uniform(
        dimension, kappa_q
    )
    return entropy_gap + kappa_q * ((complement_p - complement_q) + ratio_p * distance)


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
