"""The law of the cosine against quadrature, where the dimension costs nothing.

The samplers draw tan(theta / 2), so that is what is tested: cosines rounded to float32 fail a
Kolmogorov-Smirnov test at large concentration whatever drew them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, roots_legendre

from spherical_vae import special
from spherical_vae.distributions import sampling
from spherical_vae.random import threefry

pytestmark = pytest.mark.optimized

# Two-sided false-alarm rate of each Kolmogorov-Smirnov test.
FAILURE_RATE = 1e-5
DIMENSIONS = (2, 3, 4, 5, 8, 25, 50, 100, 1000)
CONCENTRATIONS = (0.0, 1e-3, 1.0, 35.0, 80.0, 500.0, 5000.0, 1e5)


def exact_cdf(dimension: int, concentration: float, log_tan_half: np.ndarray) -> np.ndarray:
    """Integrates the density of x = log tan(theta / 2) from its definition, in float64."""
    nodes, weights = roots_legendre(8)
    grid, width = np.linspace(-30.0, 30.0, 12001, retstep=True)

    def log_density(x):
        # 1 - cos(theta) = 2 / (1 + exp(-2 x)); sin(theta) = 1 / cosh(x).
        return -concentration * 2.0 / (1.0 + np.exp(-2.0 * x)) - (dimension - 1) * np.logaddexp(
            x, -x
        )

    highest = log_density(grid).max()

    def masses(left, lengths):
        points = left[:, None] + lengths[:, None] * (nodes + 1) / 2
        return np.exp(log_density(points) - highest) @ weights * lengths / 2

    below = np.concatenate([[0.0], np.cumsum(masses(grid[:-1], np.full(len(grid) - 1, width)))])
    panel = np.clip(np.searchsorted(grid, log_tan_half) - 1, 0, len(grid) - 2)
    return (below[panel] + masses(grid[panel], log_tan_half - grid[panel])) / below[-1]


def draw_log_tan_half(method, dimension, concentration, count, seed):
    """Draws from the scalar law with the sampler's own scalar parts: O(count) at any dimension."""
    key_along, key_length, key_rejection = jax.random.split(jax.random.key(seed), 3)
    # A normal vector of variance 1/2: half the chi-squared law is the gamma law.
    along = jax.random.normal(key_along, (count,)) * 0.5**0.5
    length = jnp.sqrt(jax.random.gamma(key_length, (dimension - 1) / 2, (count,)))
    tangent = sampling.SplitNormal(along, length, along[:, None])
    kappa = jnp.float32(concentration)
    if method == "transport" and sampling.transport_is_exact(dimension):
        tan_half = sampling.transport_tan_half(dimension, tangent, kappa)
    else:
        words, rows = threefry.key_words(key_rejection), threefry.row_numbers((count,))
        tan_half = sampling.wood_tan_half(dimension, words, rows, tangent, kappa)
    return np.log(np.asarray(tan_half, np.float64))


def check_law(method, dimension, concentration, count):
    values = draw_log_tan_half(method, dimension, concentration, count, seed=dimension)
    cdf = exact_cdf(dimension, concentration, np.sort(values))
    ranks = np.arange(1, count + 1) / count
    distance = max(np.max(ranks - cdf), np.max(cdf - ranks + 1 / count))
    assert distance < stats.kstwobign.isf(FAILURE_RATE) / count**0.5, distance


@pytest.mark.parametrize("method", ["transport", "wood"])
@pytest.mark.parametrize("dimension", [pytest.param(2, marks=pytest.mark.thorough), 3, 50])
def test_law_of_the_cosine(dimension, method):
    for concentration in (0.0, 35.0, 1e5):
        check_law(method, dimension, concentration, count=50_000)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["transport", "wood"])
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_law_of_the_cosine_everywhere(dimension, concentration, method):
    check_law(method, dimension, concentration, count=1_000_000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", [3, 5, 50, 1000])
def test_transport_carries_quantiles_to_quantiles(dimension, dtype):
    """No draws: the distribution function at the image of a variate, against the variate's."""
    bar = 2e-12 if dtype == "float64" else 1e-6 if dimension <= 200 else 3e-6
    along = (np.linspace(-5, 5, 2001) / np.sqrt(2)).astype(dtype)
    length, above = np.zeros_like(along), ndtr(-np.sqrt(2) * along.astype(float))
    if dimension == 3:
        # There it is the cosine of the whole normal vector.
        cosine = along / np.float32(4)
        along, length = cosine, np.sqrt(1 - cosine**2)
        above = (1 - cosine.astype(float)) / 2
    with jax.enable_x64(dtype == "float64"):
        tangent = sampling.SplitNormal(jnp.asarray(along), jnp.asarray(length), None)
        for concentration in (0.0, 1e-2, 1.0, 35.0, 1e3, 1e6):
            kappa = jnp.asarray(concentration, dtype)
            image = np.asarray(sampling.transport_tan_half(dimension, tangent, kappa), float)
            found = exact_cdf(dimension, float(kappa), np.log(image))
            assert np.abs(found - above).max() < bar, concentration


def test_the_test_has_power():
    # A sampler whose dimension is off by one, and one whose concentration is off by 5%.
    def distance(dimension, concentration):
        values = draw_log_tan_half("transport", 25, 35.0, 50_000, seed=1)
        return stats.kstest(values, lambda x: exact_cdf(dimension, concentration, x)).pvalue

    assert distance(25, 35.0) > FAILURE_RATE
    assert distance(26, 35.0) < FAILURE_RATE
    assert distance(25, 36.75) < FAILURE_RATE


def cosine_slopes(method, dimension, concentration, count, seed=0):
    """d(1 - cosine)/dkappa of draws at mean direction e_1."""
    direction = jnp.eye(dimension)[0]

    def gap(kappa):
        z = sampling.sample_with_tan_half(method, (count,), jax.random.key(seed), direction, kappa)
        tan_half = z[1]
        return 2.0 * tan_half**2 / (1.0 + tan_half**2)

    kappa = jnp.float32(concentration)
    return np.asarray(jax.jvp(gap, (kappa,), (jnp.ones_like(kappa),))[1], np.float64)


@pytest.mark.parametrize("method", ["transport", "wood"])
def test_pathwise_derivative_and_a_planted_bias(method):
    # 4 standard errors: false alarms at 6e-5. A bias of 1% of the derivative must be beyond them.
    slopes = cosine_slopes(method, 25, 35.0, 200_000)
    exact = -float(special.bessel_ratio_derivative(25, 35.0))
    error = slopes.std() / len(slopes) ** 0.5
    assert abs(slopes.mean() - exact) <= 4 * error
    assert abs(1.01 * slopes.mean() - exact) > 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("method", ["transport", "wood"])
@pytest.mark.parametrize("dimension", [2, 3, 4, 5, 8, 25, 100])
def test_pathwise_derivative_everywhere(dimension, method):
    for concentration in CONCENTRATIONS:
        slopes = cosine_slopes(method, dimension, concentration, 1_000_000)
        exact = -float(special.bessel_ratio_derivative(dimension, concentration))
        assert abs(slopes.mean() - exact) <= 4.5 * slopes.std() / len(slopes) ** 0.5
