"""Samples: moments, norms, pathwise gradients, and the shapes and traps of the interface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.errors import UserError

DRAWS = 100_000
METHODS = ("transport", "wood")


def one_minus_cosine(concentration, mean_direction, method, seed):
    z = von_mises_fisher.sample(
        jax.random.key(seed), mean_direction, concentration, (DRAWS,), method
    )
    return 0.5 * ((z - jnp.broadcast_to(mean_direction, z.shape)) ** 2).sum(-1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimension", [2, 3, 4, 5, 8, 25])
def test_mean_and_its_pathwise_derivative(dimension, method):
    # Two-sided at 5 standard errors: failure rate 6e-7 a comparison, over 48 comparisons.
    mean_direction = jnp.eye(dimension)[0]
    for concentration in (0.0, 35.0):
        kappa = jnp.float32(concentration)
        gap, slope = jax.jvp(
            lambda x: one_minus_cosine(x, mean_direction, method, seed=3),
            (kappa,),
            (jnp.ones_like(kappa),),
        )
        for values, expected in (
            (gap, special.bessel_ratio_complement(dimension, kappa)),
            (-slope, special.bessel_ratio_derivative(dimension, kappa)),
        ):
            error = float(values.mean() - expected)
            assert abs(error) <= 5 * float(values.std()) / DRAWS**0.5


@pytest.mark.parametrize("method", METHODS)
def test_gradients_under_jit_and_vmap(method):
    def total(key, direction, concentration):
        unit = direction / jnp.linalg.norm(direction)
        return von_mises_fisher.sample(key, unit, concentration, (3,), method).sum()

    gradients = jax.jit(jax.vmap(jax.grad(total, argnums=(1, 2))))(
        jax.random.split(jax.random.key(0), 4), jnp.ones((4, 6)), jnp.array([0.0, 1e-6, 80.0, 1e6])
    )
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)


def test_unknown_method_is_named():
    with pytest.raises(UserError, match=r"unknown sampling method 'gibbs'; allowed: transport, w"):
        von_mises_fisher.sample(jax.random.key(0), jnp.eye(3)[0], 1.0, (), "gibbs")


@pytest.mark.parametrize("concentration", [0.0, 1.0, 1e6])
def test_log_prob_at_the_mode_and_opposite(concentration):
    mean_direction = jnp.eye(7)[2]
    values = jnp.stack([mean_direction, -mean_direction])
    got = von_mises_fisher.log_prob(values, mean_direction, concentration)
    peak = special.log_density_at_mode(7, concentration)
    np.testing.assert_allclose(got, [peak, peak - 2 * concentration], rtol=1e-6)
