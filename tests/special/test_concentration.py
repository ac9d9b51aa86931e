"""Closed forms against mpmath, over dimension and concentration, in both float types."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracle import reference

from spherical_vae import special
from spherical_vae.special.cosine_law import concentration_series
from spherical_vae.system.errors import UserError

pytestmark = pytest.mark.optimized

# Bars of the project: relative error of KL, A and dKL/dkappa.
BAR = {"float32": 5e-7, "float64": 1e-12}
QUICK_DIMENSIONS = (2, 50, 4096)
ALL_DIMENSIONS = (2, 3, 4, 5, 6, 8, 12, 16, 25, 32, 50, 64, 100, 200, 500, 784, 1000, 2048, 4096)


def concentrations(dimension: int, dtype: str, random_points: int) -> np.ndarray:
    """Decades and half decades up to 1e6, and log-uniform random points."""
    random = 10.0 ** np.random.default_rng(dimension).uniform(-4, 6, random_points)
    return np.concatenate([10.0 ** np.arange(-4, 6.25, 0.5), random]).astype(dtype)


def largest_error(values: jax.Array, exact: list, least: float = 0.0) -> float:
    """The largest error relative to the exact value, or to `least` where that is more."""
    pairs = zip(np.asarray(values, np.float64), exact, strict=True)
    return float(max(abs(mp.mpf(value) - e) / max(abs(e), least) for value, e in pairs))


def check_grid(dimension: int, dtype: str, random_points: int) -> None:
    points = concentrations(dimension, dtype, random_points)
    exact = [reference(dimension, float(kappa)) for kappa in points]
    with jax.enable_x64(dtype == "float64"):
        kappa = jnp.asarray(points)
        assert kappa.dtype == dtype

        def kl(x: jax.Array) -> jax.Array:
            return special.kl_to_uniform(dimension, x)

        got = {
            "ratio": special.bessel_ratio(dimension, kappa),
            "ratio_complement": special.bessel_ratio_complement(dimension, kappa),
            "ratio_derivative": special.bessel_ratio_derivative(dimension, kappa),
            "kl": kl(kappa),
            "kl_derivative": jax.vmap(jax.grad(kl))(kappa),
        }
        for name, values in got.items():
            assert values.dtype == dtype
            error = largest_error(values, [getattr(r, name) for r in exact])
            assert error <= BAR[dtype], (name, error)
        # Those that pass through 0: relative to 1 there.
        for function in (special.log_density_at_mode, special.entropy):
            wanted = [getattr(r, function.__name__) for r in exact]
            error = largest_error(function(dimension, kappa), wanted, least=1.0)
            assert error <= BAR[dtype], (function.__name__, error)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", QUICK_DIMENSIONS)
def test_closed_forms_meet_the_bar(dimension, dtype):
    check_grid(dimension, dtype, random_points=20)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", ALL_DIMENSIONS)
def test_closed_forms_meet_the_bar_everywhere(dimension, dtype):
    check_grid(dimension, dtype, random_points=60)


@pytest.mark.parametrize(("dimension", "length"), [(2, 140), (7, 60), (51, 32), (100_000, 27)])
def test_series_end_where_noise_begins(dimension, length):
    """Trailing noise of the fit would be summed at each evaluation."""
    assert all(len(series) <= length for series in concentration_series(float(dimension)))


def test_uniform_law_is_exact():
    assert special.kl_to_uniform(50, 0.0) == 0.0
    assert special.bessel_ratio(50, 0.0) == 0.0
    assert special.entropy(50, 0.0) == np.float32(special.log_sphere_area(50))


@pytest.mark.parametrize("dimension", [1, 0, -3])
def test_bad_dimension_is_named(dimension):
    with pytest.raises(UserError, match=r"dimension must be"):
        special.kl_to_uniform(dimension, 1.0)


@pytest.mark.thorough
def test_no_nan_up_to_the_second_derivative():
    kappa = jnp.array([0.0, 1e-30, 1e-6, 1.0, 1e6, 1e12], jnp.float32)
    for dimension in (2, 4096):
        for function in (
            special.kl_to_uniform,
            special.bessel_ratio,
            special.log_normalizer,
            special.log_density_at_mode,
            special.entropy,
        ):

            def value(x, function=function, dimension=dimension):
                return function(dimension, x)

            first = jax.grad(value)
            for f in (value, first, jax.grad(first)):
                assert bool(jnp.isfinite(jax.vmap(f)(kappa)).all()), (function, dimension)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_second_derivative_of_the_divergence(dtype):
    # d2 KL = A' + kappa A''; A'' from the Riccati equation that A obeys, in mpmath.
    tolerance = {"float32": 5e-5, "float64": 1e-9}[dtype]
    for dimension in (2, 50):
        kappa = np.array([1e-2, 1.0, 30.0, 1e3], dtype)
        exact = []
        for point in kappa:
            with mp.workdps(50):
                k, r = mp.mpf(float(point)), reference(dimension, float(point))
                second = -2 * r.ratio * r.ratio_derivative - (dimension - 1) * (
                    r.ratio_derivative / k - r.ratio / k**2
                )
                exact.append(r.ratio_derivative + k * second)
        with jax.enable_x64(dtype == "float64"):
            curvature = jax.grad(jax.grad(lambda x, d=dimension: special.kl_to_uniform(d, x)))
            got = np.asarray(jax.vmap(curvature)(jnp.asarray(kappa)), np.float64)
        scale = np.array([float(reference(dimension, float(k)).ratio_derivative) for k in kappa])
        error = np.abs(got - np.array([float(e) for e in exact])) / scale
        assert error.max() < tolerance, (dimension, error)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", [2, 50])
def test_inverse_round_trip(dimension, dtype):
    with jax.enable_x64(dtype == "float64"):
        eps = float(jnp.finfo(dtype).eps)
        length = jnp.concatenate(
            [
                jnp.asarray(10.0 ** np.arange(-6, 0, 0.5), dtype),
                jnp.linspace(0.01, 0.99, 50, dtype=dtype),
                1 - jnp.asarray(10.0 ** np.arange(-1, np.log10(eps), -0.5), dtype),
            ]
        )
        back = special.bessel_ratio(dimension, special.inverse_bessel_ratio(dimension, length))
        assert float(jnp.max(jnp.abs(back / length - 1))) <= 4 * eps
        assert float(special.inverse_bessel_ratio(dimension, 0.0)) == 0.0
        assert float(special.inverse_bessel_ratio(dimension, 1.0)) == jnp.inf
        slope = jax.grad(lambda r: special.inverse_bessel_ratio(dimension, r))(jnp.asarray(0.5))
        kappa = special.inverse_bessel_ratio(dimension, 0.5)
        expected = 1 / special.bessel_ratio_derivative(dimension, kappa)
        np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_outside_the_domain_is_not_a_number():
    assert jnp.isnan(special.kl_to_uniform(5, -1.0))
    assert jnp.isnan(special.inverse_bessel_ratio(5, 1.5))
