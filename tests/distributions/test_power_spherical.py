"""The power spherical distribution where it is narrow: density, entropy and pathwise gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from spherical_vae.distributions import PowerSpherical

pytestmark = pytest.mark.optimized

CONCENTRATIONS = np.array([0.00052935630083, 1.0, 15.0, 1e2, 1e4, 1e5, 1e6], np.float32)


def exact(dimension: int, concentration: float) -> tuple[mp.mpf, mp.mpf]:
    """Log density at the mode, and entropy, from De Cao and Aziz's (4) and (6)."""
    with mp.workdps(50):
        kappa, beta = mp.mpf(concentration), mp.mpf(dimension - 1) / 2
        alpha = kappa + beta
        log_normalizer = (
            (alpha + beta) * mp.log(2)
            + beta * mp.log(mp.pi)
            + mp.loggamma(alpha)
            - mp.loggamma(alpha + beta)
        )
        mean_log = mp.log(2) + mp.digamma(alpha) - mp.digamma(alpha + beta)
        return kappa * mp.log(2) - log_normalizer, log_normalizer - kappa * mean_log


@pytest.mark.thorough
@pytest.mark.parametrize("dimension", [2, 10, 20, 32, 784])
def test_density_and_entropy_where_it_is_narrow(dimension):
    direction = jnp.eye(dimension)[1]
    law = PowerSpherical(direction, jnp.asarray(CONCENTRATIONS))
    peaks, entropies = np.asarray(law.log_prob(direction)), np.asarray(law.entropy())
    for kappa, peak, entropy in zip(CONCENTRATIONS, peaks, entropies, strict=True):
        for found, wanted in zip((peak, entropy), exact(dimension, float(kappa)), strict=True):
            assert abs(float(found) - wanted) <= 2e-6 * max(1, abs(wanted)), (kappa, found, wanted)


def test_density_all_the_way_round():
    angles = np.array([1e-4, 1e-2, 1.0, 3.0, 3.14])
    points = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], -1), jnp.float32)
    law = PowerSpherical(jnp.array([1.0, 0.0]), 100.0)
    found = law.log_prob(points) - law.log_prob(law.mode)
    # 1 + cos = 2 cos(angle / 2)^2.
    wanted = [float(200 * mp.log(mp.cos(mp.mpf(angle) / 2))) for angle in angles]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dimension", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("concentration", [0.5, 20.0, 1e4])
def test_pathwise_gradients(dimension, concentration):
    """The mean cosine is kappa / (kappa + d - 1); 5 errors fail once in a million, 12 times."""
    direction, draws = jnp.eye(dimension)[0], 5000

    def gap(kappa):
        z = PowerSpherical(direction, kappa).sample(jax.random.key(3), (draws,))
        return 0.5 * ((z - direction[None]) ** 2).sum(-1)

    kappa = jnp.float32(concentration)
    value, slope = jax.jit(partial(jax.jvp, gap))((kappa,), (jnp.float32(1.0),))
    assert bool(jnp.isfinite(slope).all())
    total = concentration + dimension - 1
    for found, wanted in ((value, (dimension - 1) / total), (slope, -(dimension - 1) / total**2)):
        error = float(found.std()) / draws**0.5
        assert abs(float(found.mean()) - wanted) <= 5 * error


@pytest.mark.thorough
def test_pathwise_gradients_are_finite_where_the_cosine_rounds_to_one():
    def total(kappa):
        return PowerSpherical(jnp.eye(3)[0], kappa).sample(jax.random.key(4), (2000,)).sum(-1)

    _, slope = jax.jvp(total, (jnp.float32(1e8),), (jnp.float32(1.0),))
    assert bool(jnp.isfinite(slope).all())
