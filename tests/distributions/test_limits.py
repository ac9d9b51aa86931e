"""The ends of the concentration: 0, the largest numbers and inf, at the mode and opposite to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from spherical_vae import special
from spherical_vae.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    VonMisesFisher,
    von_mises_fisher,
)

pytestmark = pytest.mark.optimized

KINDS = [VonMisesFisher, PowerSpherical]
MODE = np.eye(5, dtype=np.float32)[1]
VALUES = np.stack([MODE, -MODE, np.eye(5, dtype=np.float32)[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_concentration_zero_is_the_uniform_law(kind):
    law, uniform = kind(MODE, 0.0), HypersphericalUniform(5)
    np.testing.assert_allclose(law.log_prob(VALUES), uniform.log_prob(VALUES), rtol=1e-6)
    np.testing.assert_allclose(law.entropy(), uniform.entropy(), rtol=1e-6)
    np.testing.assert_allclose(law.mean, uniform.mean, atol=1e-7)
    np.testing.assert_allclose(law.variance, uniform.variance, rtol=1e-6)


@pytest.mark.parametrize(("kind", "share"), [(VonMisesFisher, 5.0), (PowerSpherical, 4.0)])
def test_a_small_concentration_keeps_the_digits_of_the_mean(kind, share):
    # The mean's length is concentration / D, of the power spherical concentration / (D - 1).
    for concentration in (1e-30, 1e-7):
        mean = kind(MODE, concentration).mean
        np.testing.assert_allclose(mean, concentration / share * MODE, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_concentration_inf_is_a_point_mass(kind):
    law = kind(MODE, jnp.inf)
    np.testing.assert_array_equal(law.log_prob(VALUES), [jnp.inf, -jnp.inf, -jnp.inf])
    assert law.entropy() == -jnp.inf
    np.testing.assert_array_equal(law.mean, MODE)
    np.testing.assert_array_equal(law.variance, np.zeros(5))
    np.testing.assert_array_equal(law.sample(jax.random.key(0), (3,)), np.stack([MODE] * 3))
    # All pairs by products find the equal ones too.
    pairs = kind(np.stack([VALUES[0], VALUES[2]]), jnp.inf).log_prob(VALUES[:, None])
    expected = np.full((3, 2), -np.inf)
    expected[0, 0] = expected[2, 1] = np.inf
    np.testing.assert_array_equal(pairs, expected)


@pytest.mark.parametrize(
    "concentration", [1e10, pytest.param(1e20, marks=pytest.mark.thorough), 8e37]
)
def test_large_concentrations_approach_a_normal_law(concentration):
    # In the tangent space of the mode, with variance 1 / kappa (vMF) and 2 / kappa.
    for kind, scale in ((VonMisesFisher, 1.0), (PowerSpherical, 2.0)):
        law = kind(MODE, concentration)
        variance = scale / concentration
        peak = -2.0 * (np.log(2 * np.pi) + np.log(variance))
        np.testing.assert_allclose(law.log_prob(MODE), peak, rtol=1e-5)
        np.testing.assert_allclose(law.entropy(), 2.0 - peak, rtol=1e-5)
        # Along the mode it is that of half the sum of four squares, which may be less than the
        # smallest number.
        expected = np.where(MODE == 1, 2.0 * variance**2, variance)
        np.testing.assert_allclose(law.variance, expected, rtol=1e-5, atol=1e-37)
        across = jnp.delete(law.sample(jax.random.key(0), (4000,)), 1, axis=-1)
        # 16,000 squares: 5 standard errors are 5.6%.
        if concentration < 1e30:
            np.testing.assert_allclose((across / variance**0.5).var(), 1.0, rtol=0.056)
    opposite = VonMisesFisher(MODE, concentration).log_prob(-MODE)
    np.testing.assert_allclose(opposite, -2.0 * concentration, rtol=1e-6)


@pytest.mark.parametrize("method", von_mises_fisher.METHODS)
@pytest.mark.parametrize("dimension", [2, 3, 4, 5])
def test_samples_at_both_ends(dimension, method):
    direction = jnp.eye(dimension)[0]
    kappa = jnp.array([0.0, 8e37, jnp.inf])

    def draw(kappa):
        return von_mises_fisher.sample(jax.random.key(0), direction, kappa, (4,), method)

    z, slope = jax.jvp(draw, (kappa,), (jnp.ones(3),))
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(z[:, 1], jnp.stack([direction] * 4), atol=1e-15)
    np.testing.assert_array_equal(z[:, 2], jnp.stack([direction] * 4))
    assert bool(jnp.isfinite(slope).all())
    np.testing.assert_array_equal(slope[:, 2], 0.0)


@pytest.mark.thorough
def test_on_the_sphere_no_sample_is_nan():
    """Row 824,327 of this key is so near the antipode that its probability is rounded to 1."""

    def cosines(kappa):
        law = VonMisesFisher(jnp.eye(3)[2], kappa)
        return law.sample(jax.random.key(5), (824_328,))[-1, 2]

    slope = jax.jit(jax.value_and_grad(cosines))
    for kappa in (8.0, 9.0, 20.0, 1e4, jnp.inf):
        cosine, change = slope(kappa)
        # Its quantile is U < 1e-7, and w = 1 + log(U + (1 - U) exp(-2 kappa)) / kappa.
        assert -1.0 <= cosine < 1.0 or kappa == jnp.inf
        assert cosine <= 1.0 + float(jnp.log(1e-7 + jnp.exp(-2.0 * kappa)) / kappa)
        assert np.isfinite(change)


def test_special_functions_at_inf():
    limits = {
        special.bessel_ratio: 1.0,
        special.bessel_ratio_complement: 0.0,
        special.bessel_ratio_derivative: 0.0,
        special.kl_to_uniform: np.inf,
        special.entropy: -np.inf,
        special.log_density_at_mode: np.inf,
        special.log_normalizer: -np.inf,
        special.log_iv: np.inf,
    }
    for dimension in (2, 50):
        for function, limit in limits.items():
            assert float(function(dimension, np.inf)) == limit, function
        # Far above the point where 1 - w0^2 once stopped falling.
        complement = special.bessel_ratio_complement(dimension, 1e30)
        np.testing.assert_allclose(complement, (dimension - 1) / 2e30, rtol=1e-5)


def test_opposite_to_the_mode_a_uniform_power_law_has_a_density():
    law = PowerSpherical(MODE, jnp.array([0.0, 1e-3]))
    at_zero, beyond = law.log_prob(-MODE)
    np.testing.assert_allclose(at_zero, -special.log_sphere_area(5), rtol=1e-6)
    assert beyond == -jnp.inf


def test_a_cluster_of_identical_rows_does_not_end_em():
    apart = von_mises_fisher.sample(jax.random.key(0), jnp.eye(5)[0], 20.0, (60,))
    alike = jnp.broadcast_to(apart[0], (40, 5))
    data = jnp.concatenate([apart[1:], alike])
    belongs = jnp.concatenate([jnp.zeros(59), jnp.ones(40)])
    weights = jnp.stack([1.0 - belongs, belongs])
    for _ in range(5):
        direction, kappa = von_mises_fisher.fit(jnp.stack([data, data]), weights)
        assert bool(jnp.isfinite(kappa).all())
        density = von_mises_fisher.log_prob(data[:, None], direction, kappa)
        joint = (density + jnp.log(weights.mean(-1))[None]).T
        weights = jnp.exp(joint - logsumexp(joint, axis=0)[None])
    np.testing.assert_allclose(weights[1], belongs, atol=1e-6)
    assert float(kappa[1]) > 1e12
