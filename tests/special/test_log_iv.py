"""log I_v against mpmath: 4 units in the last place of max(1, |value|), around its zero too."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import oracle
import pytest

from spherical_vae.special import log_iv
from spherical_vae.system.errors import UserError

pytestmark = pytest.mark.optimized

QUICK_ORDERS = (0.0, 0.5, 2.0, 11.5, 2047.0)
ALL_ORDERS = (0.0, 1e-3, 0.3, 0.5, 1.0, 1.4, 1.5, 2.0, 3.0, 5.0, 7.3, 11.5, 24.0, 49.5, 99.0, 500.0)


def points(order: float, dtype: str, random_points: int) -> np.ndarray:
    random = np.random.default_rng(int(10 * order))
    everywhere = 10.0 ** random.uniform(-6, 6, random_points)
    # The zero lies near 0.66 v; the terms of the formula cancel most around it.
    around_zero = (0.663 * order + 0.5) * (1 + random.uniform(-0.6, 1.2, 2 * random_points))
    return np.concatenate([10.0 ** np.arange(-6, 7.0), everywhere, around_zero]).astype(dtype)


def check(order: float, dtype: str, random_points: int) -> None:
    x = points(order, dtype, random_points)
    with jax.enable_x64(dtype == "float64"):
        values = np.asarray(log_iv(order, jnp.asarray(x)))
    assert values.dtype == dtype
    exact = [oracle.log_iv(order, float(point)) for point in x]
    errors = [
        float(abs(mp.mpf(float(value)) - e) / max(1, abs(e)))
        for value, e in zip(values, exact, strict=True)
    ]
    assert max(errors) <= 4 * np.finfo(dtype).eps, (x[np.argmax(errors)], max(errors))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", QUICK_ORDERS)
def test_within_four_units_in_the_last_place(order, dtype):
    check(order, dtype, random_points=15)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [*ALL_ORDERS, 2047.0, 5000.25])
def test_within_four_units_in_the_last_place_everywhere(order, dtype):
    check(order, dtype, random_points=60)


def test_limits_and_derivatives():
    assert log_iv(0, 0.0) == 0.0 or abs(float(log_iv(0, 0.0))) <= 4 * np.finfo("float32").eps
    # An order that float32 would round to 0 is one above it.
    assert log_iv(2.5, 0.0) == log_iv(1e-300, jnp.float32(0.0)) == -jnp.inf
    x = jnp.array([0.3, 7.0, 900.0])
    slope = jax.vmap(jax.grad(lambda t: log_iv(1.5, t)))(x)
    exact = [float(mp.diff(lambda t: oracle.log_iv(1.5, t), float(t))) for t in x]
    np.testing.assert_allclose(slope, exact, rtol=1e-6)
    curvature = jax.vmap(jax.grad(jax.grad(lambda t: log_iv(1.5, t))))(x)
    exact = [float(mp.diff(lambda t: oracle.log_iv(1.5, t), float(t), 2)) for t in x]
    # At x = 900 the two parts of the curvature cancel to a third of their size twice over.
    np.testing.assert_allclose(curvature, exact, rtol=2e-4)


@pytest.mark.parametrize("order", [-1.0, float("nan"), float("inf")])
def test_bad_order_is_named(order):
    with pytest.raises(UserError, match="order must be"):
        log_iv(order, 1.0)
