"""Closed forms against mpmath, over dimension and concentration, in both float types."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracle import reference

from spherical_vae import special
from spherical_vae.errors import UserError

# Bars of the project: relative error of KL, A and dKL/dkappa.
BAR = {"float32": 5e-7, "float64": 1e-12}
QUICK_DIMENSIONS = (2, 3, 5, 50, 4096)
ALL_DIMENSIONS = (2, 3, 4, 5, 6, 8, 12, 16, 25, 32, 50, 64, 100, 200, 500, 784, 1000, 2048, 4096)


def concentrations(dimension: int, dtype: str, random_points: int) -> np.ndarray:
    """Decades and half decades up to 1e6, and log-uniform random points."""
    random = 10.0 ** np.random.default_rng(dimension).uniform(-4, 6, random_points)
    return np.concatenate([10.0 ** np.arange(-4, 6.25, 0.5), random]).astype(dtype)


def largest_error(values: jax.Array, exact: list) -> float:
    pairs = zip(np.asarray(values, np.float64), exact, strict=True)
    return float(max(abs((mp.mpf(value) - e) / e) for value, e in pairs))


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", QUICK_DIMENSIONS)
def test_closed_forms_meet_the_bar(dimension, dtype):
    check_grid(dimension, dtype, random_points=20)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", ALL_DIMENSIONS)
def test_closed_forms_meet_the_bar_everywhere(dimension, dtype):
    check_grid(dimension, dtype, random_points=300)


def test_uniform_law_is_exact():
    assert special.kl_to_uniform(50, 0.0) == 0.0
    assert special.bessel_ratio(50, 0.0) == 0.0
    assert special.entropy(50, 0.0) == np.float32(special.log_sphere_area(50))


@pytest.mark.parametrize("dimension", [1, 0, -3])
def test_bad_dimension_is_named(dimension):
    with pytest.raises(UserError, match=r"dimension must be"):
        special.kl_to_uniform(dimension, 1.0)
