"""Divergences of power spherical laws against quadrature over the sphere in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions.kl import kl_divergence
from scipy import integrate
from scipy.special import digamma, gammaln, i0, ive, roots_legendre
from test_power_spherical import exact

from spherical_vae import special
from spherical_vae.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher

pytestmark = pytest.mark.optimized


def mean_log_half(dimension, law, kappa, cosine):
    """E log((1 + nu . z) / 2): panels in the angle, adaptive quadrature around it."""

    def log_density(angle):
        if law is VonMisesFisher:
            return kappa * (np.cos(angle) - 1)
        return 2 * kappa * np.log(np.cos(angle / 2))

    def around(angle):
        a, b = 1 + cosine * np.cos(angle), np.sqrt(1 - cosine**2) * np.sin(angle)
        values = integrate.quad(
            lambda x: np.log((a + b * np.cos(x)) / 2) * np.sin(x) ** (dimension - 3), 0, np.pi
        )[0]
        return values / integrate.quad(lambda x: np.sin(x) ** (dimension - 3), 0, np.pi)[0]

    nodes, weights = roots_legendre(12)
    kink = np.pi - np.arccos(cosine)
    width = 2 / np.sqrt(kappa + dimension)
    edges = np.unique(np.clip([0, width, 2 * width, 4 * width, kink, np.pi], 0, np.pi))
    angle = (edges[:-1, None] + np.diff(edges)[:, None] * (nodes + 1) / 2).ravel()
    weight = (np.diff(edges)[:, None] * weights).ravel()
    weight *= np.exp(log_density(angle)) * np.sin(angle) ** (dimension - 2)
    return (weight * [around(x) for x in angle]).sum() / weight.sum()


@pytest.mark.parametrize("dimension", [3, 4, 5, 10])
def test_power_spherical_divergences(dimension):
    cosine, kappa_p, kappa_q = 0.4, 7.0, 20.0
    mu = jnp.eye(dimension)[0]
    nu = cosine * mu + (1 - cosine**2) ** 0.5 * jnp.eye(dimension)[1]
    peak = float(exact(dimension, kappa_q)[0])
    for kind in (PowerSpherical, VonMisesFisher):
        p, q = kind(mu, kappa_p), PowerSpherical(nu, kappa_q)
        expected = (
            -float(p.entropy()) - peak - kappa_q * mean_log_half(dimension, kind, kappa_p, cosine)
        )
        np.testing.assert_allclose(kl_divergence(p, q), expected, rtol=3e-6)


def test_the_circle():
    """On the circle the mean over what is around the angle is of two points, 1 and -1."""
    angle = (np.arange(400_000) + 0.5) * (2 * np.pi / 400_000)
    mu, nu = jnp.array([1.0, 0.0]), jnp.array([-0.6, 0.8])
    points = np.stack([np.cos(angle), np.sin(angle)], -1)
    for kind in (PowerSpherical, VonMisesFisher):
        p, q = kind(mu, 3.0), PowerSpherical(nu, 2.0)
        log_p, log_q = (np.asarray(x.log_prob(points.astype(np.float32)), float) for x in (p, q))
        mass = np.exp(log_p) * (2 * np.pi / 400_000)
        finite = np.isfinite(log_q)
        expected = (mass * (log_p - log_q))[finite].sum()
        np.testing.assert_allclose(kl_divergence(p, q), expected, rtol=1e-4)


@pytest.mark.parametrize("kappa", [pytest.param(1.0, marks=pytest.mark.thorough), 7.0, 20.0])
def test_near_directions_on_the_circle(kappa):
    """By the Fourier series of log((1 + cos x) / 2): -2 log 2 - 2 sum_k (-1)^k cos(k x) / k.

    The mean of cos(k x) under a vMF law is I_k / I_0 of its concentration.
    """
    k = np.arange(1, 200)
    ratios = ive(k, kappa) / ive(0, kappa)
    signs = (-1.0) ** k
    to_uniform = kappa * ratios[0] - np.log(i0(kappa))
    normalizer = gammaln(5.5) - gammaln(6.0) - 0.5 * np.log(np.pi)
    mean = -2 * np.log(2) - 2 * (signs / k * ratios).sum()
    law = VonMisesFisher(jnp.array([1.0, 0.0]), kappa)

    def divergence(angle):
        nu = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        return kl_divergence(law, PowerSpherical(nu, 5.0, validate_args=False))

    np.testing.assert_allclose(divergence(0.0), to_uniform + normalizer - 5.0 * mean, rtol=3e-6)
    for angle in (1e-4, 1e-2):
        slope = -5.0 * (2 * signs * ratios * np.sin(k * angle)).sum()
        np.testing.assert_allclose(jax.grad(divergence)(angle), slope, rtol=0.03, atol=3e-4)


@pytest.mark.parametrize("dimension", [pytest.param(3, marks=pytest.mark.thorough), 1000])
def test_of_a_power_spherical_law_to_a_vmf_nothing_large_is_subtracted(dimension):
    """The log area of the sphere, -2033 nats in 1000 dimensions, is in neither."""
    mu = jnp.eye(dimension)[0]
    with jax.enable_x64(True):
        laws = PowerSpherical(mu.astype(float), 10.0), VonMisesFisher(mu.astype(float), 12.0)
        expected = float(kl_divergence(*laws))
        # The same in its parts, entropy and cross entropy.
        mode = special.log_density_at_mode(dimension, 12.0)
        parts = -laws[0].entropy() - mode + 12.0 * (1 - laws[0].mean[0])
        np.testing.assert_allclose(expected, float(parts), rtol=1e-8)
    found = kl_divergence(PowerSpherical(mu, 10.0), VonMisesFisher(mu, 12.0))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_of_equals_it_is_zero_and_of_neighbours_accurate():
    mu = jnp.eye(20)[:3]
    kappa = jnp.array([1e-3, 30.0, 1e5])
    p = PowerSpherical(mu, kappa)
    np.testing.assert_array_equal(kl_divergence(p, p), jnp.zeros(3))
    # To second order it is half the variance of log((1 + w) / 2) times the squared step.
    for step in (1e-3, -1e-3):
        with jax.enable_x64(True):
            k = jnp.asarray(kappa, jnp.float64)
            wide = PowerSpherical(jnp.asarray(mu, jnp.float64), k)
            # -kappa times it is the derivative of the entropy.
            variance = (
                -jax.vmap(
                    jax.grad(lambda x: PowerSpherical(jnp.eye(20, dtype=x.dtype)[0], x).entropy())
                )(k)
                / k
            )
            assert wide.entropy().dtype == jnp.float64
        other = PowerSpherical(mu, kappa * (1 + step))
        expected = 0.5 * np.asarray(variance) * (np.asarray(kappa) * step) ** 2
        np.testing.assert_allclose(kl_divergence(other, p), expected, rtol=2e-3)


@pytest.mark.thorough
def test_gradients_of_a_divergence():
    @jax.jit
    def divergence(angle, kappa):
        nu = jnp.array([jnp.cos(angle), jnp.sin(angle), 0.0, 0.0])
        return kl_divergence(PowerSpherical(jnp.eye(4)[0], kappa), PowerSpherical(nu, 5.0))

    gradient = jax.jit(jax.grad(divergence, (0, 1)))
    with jax.enable_x64(True):
        for angle in (0.3, 2.9):
            point = (jnp.float64(angle), jnp.float64(3.0))
            steps = np.eye(2) * 1e-5
            for step, slope in zip(steps, gradient(*point), strict=True):
                ends = [divergence(*(np.array(point) + sign * step)) for sign in (1, -1)]
                np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)
    slopes = gradient(0.0, 5.0)
    np.testing.assert_allclose(slopes, (0.0, 0.0), atol=1e-6)


@pytest.mark.parametrize("kind", [PowerSpherical, VonMisesFisher])
@pytest.mark.parametrize(
    "dimension", [2, *(pytest.param(d, marks=pytest.mark.thorough) for d in (3, 50))]
)
def test_gradients_of_opposite_directions(dimension, kind):
    nu, aside = jnp.eye(dimension)[:2]

    def divergence(mu):
        return kl_divergence(kind(mu, 5.0, validate_args=False), PowerSpherical(nu, 5.0))

    gradient = jax.jit(jax.grad(divergence))
    # Aside it is 0 by symmetry, and against what they miss, since nearer is better.
    slopes = np.stack([gradient(-nu + miss * aside) for miss in (0.0, 1e-4, 1e-2)])
    assert np.isfinite(slopes).all()
    np.testing.assert_array_equal(slopes[0, 1:], 0.0)
    assert slopes[2, 1] < 0


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [PowerSpherical, VonMisesFisher])
@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_slope_at_large_concentrations(dimension, kind):
    """What is left is the entropy's, that of a normal law: the slope of (d - 1) / 2 log kappa."""
    mu, nu = jnp.eye(dimension)[:2]
    kappa = 10.0 ** jnp.arange(4.0, 13.0)

    def divergence(kappa):
        return kl_divergence(kind(mu, kappa, validate_args=False), PowerSpherical(nu, 3.0))

    slope = jax.jit(jax.vmap(jax.grad(divergence)))(kappa)
    np.testing.assert_allclose(slope * kappa, (dimension - 1) / 2, rtol=5e-3)


@pytest.mark.parametrize("kind", [PowerSpherical, VonMisesFisher])
@pytest.mark.parametrize("concentration", [1e12, 1e19, 1e30])
def test_a_concentrated_law_opposite_to_a_mode(kind, concentration):
    """It is a normal law around the antipode, where 1 + nu . z is half the squared distance."""
    nu = jnp.eye(5)[0]
    p, q = kind(-nu, concentration), PowerSpherical(nu, 5.0)
    variance = (1.0 if kind is VonMisesFisher else 2.0) / concentration
    mean_log = np.log(variance / 4) + np.log(2) + digamma(2.0)  # of a chi square with 4 degrees
    expected = -float(p.entropy()) - float(q.log_prob(nu)) - 5.0 * mean_log
    np.testing.assert_allclose(kl_divergence(p, q), expected, rtol=1e-5)


def test_of_point_masses():
    """At inf all mass is at one point: it has a divergence of 0 from itself, of inf from others."""
    mu, nu, uniform = jnp.eye(4)[0], jnp.eye(4)[1], HypersphericalUniform(4)
    kinds = [PowerSpherical, VonMisesFisher]
    for kind in kinds:
        point = kind(mu, jnp.inf)
        assert kl_divergence(point, uniform) == kl_divergence(uniform, point) == jnp.inf
        for other in kinds:
            np.testing.assert_array_equal(kl_divergence(point, other(mu, 3.0)), jnp.inf)
            np.testing.assert_array_equal(kl_divergence(other(mu, 3.0), point), jnp.inf)
            both = other(jnp.stack([mu, nu, -mu]), jnp.inf)
            np.testing.assert_array_equal(kl_divergence(point, both), [0.0, jnp.inf, jnp.inf])
            invalid = other(mu, jnp.nan, validate_args=False)
            assert jnp.isnan(kl_divergence(point, invalid))


@pytest.mark.parametrize("q", [PowerSpherical, VonMisesFisher])
@pytest.mark.parametrize(
    "p", [PowerSpherical, pytest.param(VonMisesFisher, marks=pytest.mark.thorough)]
)
def test_slope_at_a_point_mass(p, q):
    mu, nu = jnp.eye(4)[:2]

    def divergence(kappa):
        return kl_divergence(p(mu, kappa, validate_args=False), q(nu, 3.0))

    assert jax.jit(jax.grad(divergence))(jnp.inf) == 0.0


def test_uniform_against_power():
    q = PowerSpherical(jnp.eye(5)[1], jnp.array([0.0, 2.0, 80.0]))
    uniform = HypersphericalUniform(5)
    as_power = PowerSpherical(jnp.eye(5)[0], 0.0)
    np.testing.assert_allclose(kl_divergence(uniform, q), kl_divergence(as_power, q), rtol=2e-6)
