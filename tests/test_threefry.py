"""Random bits by position: the words of JAX's Threefry, and numbers that pass as what they are.

Each statistical test states its rate of false alarms; the seed is fixed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from spherical_vae.distributions import von_mises_fisher
from spherical_vae.random import threefry

pytestmark = pytest.mark.optimized

COUNT = 200_000


def test_words_are_those_of_jax():
    words = jax.random.key_data(jax.random.key(7))
    row = jnp.array([0, 1, 2**31, 2**32 - 1, 123456789], jnp.uint32)
    column = jnp.array([2**32 - 1, 0, 5, 17, 2**30], jnp.uint32)
    got = jax.jit(threefry.threefry_words)(words, row, column)
    expected = threefry_2x32(words, jnp.concatenate([row, column]))
    np.testing.assert_array_equal(jnp.concatenate(got), expected)


def test_words_meet_a_published_vector():
    # The known answer of Random123 for Threefry-2x32 with 20 rounds and pi as counter and key.
    words = jnp.array([0x13198A2E, 0x03707344], jnp.uint32)
    row, column = jnp.uint32([0x243F6A88]), jnp.uint32([0x85A308D3])
    first, second = threefry.threefry_words(words, row, column)
    assert (int(first[0]), int(second[0])) == (0xC4923A9C, 0x483DF7A0)


@pytest.mark.parametrize("shape", [(COUNT,), (COUNT // 8, 8), (4, COUNT // 100, 25)])
def test_uniform_numbers(shape):
    values = np.asarray(threefry.uniform(jax.random.key(0), shape))
    assert values.shape == shape
    # False alarms: 1e-5. The test has power: a power of 1.02 fails it.
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-5
    assert stats.kstest(values.ravel() ** 1.02, "uniform").pvalue < 1e-5
    assert 0 < values.min() < values.max() < 1
    # No number is drawn twice but by chance: among 200,000 of 2^23 that is 2,366 times, +- 49.
    pairs = values.size - len(np.unique(values))
    assert abs(pairs - 2366) < 5 * 49


@pytest.mark.parametrize("columns", [5, 25])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_normal_numbers(columns, dtype):
    with jax.enable_x64(True):
        shape = (COUNT // columns, columns)
        drawn = threefry.normal_of_variance_half(jax.random.key(0), shape, dtype)
    assert drawn.dtype == dtype
    values = np.asarray(drawn).ravel() * 2**0.5
    # False alarms: 1e-5 each.
    assert stats.kstest(values, "norm").pvalue > 1e-5
    assert abs(stats.kurtosis(values)) < 4.5 * (24 / COUNT) ** 0.5
    # The test has power: a scale that is off by 3% fails it.
    assert stats.kstest(1.03 * values, "norm").pvalue < 1e-5


def test_the_two_numbers_of_a_block_are_independent():
    row = threefry.row_numbers((COUNT,))
    words = jax.random.key_data(jax.random.key(1))
    parts = threefry.unit_intervals(words, row, jnp.zeros_like(row), jnp.float32)
    values = np.stack(parts, -1) - 0.5
    # Correlations of values and of squares, at 4.5 standard errors: false alarms at 7e-6 each.
    bound = 4.5 / COUNT**0.5
    assert abs(np.corrcoef(values.T)[0, 1]) < bound
    assert abs(np.corrcoef((values**2).T)[0, 1]) < bound


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_uniform_numbers_stay_inside(dtype):
    with jax.enable_x64(True):
        words = jax.random.key_data(jax.random.key(3))
        row = threefry.row_numbers((COUNT,))
        parts = threefry.unit_intervals(words, row, jnp.zeros_like(row), dtype)
        for values in map(np.asarray, parts):
            assert values.dtype == dtype
            assert 0 < values.min() < values.max() < 1
            assert stats.kstest(values, "uniform").pvalue > 1e-5


@pytest.mark.parametrize("columns", [7, pytest.param(40, marks=pytest.mark.slow)])
def test_a_row_does_not_hang_on_the_number_of_rows(columns):
    key = jax.random.key(4)
    few, many = (threefry.normal_of_variance_half(key, (n, columns)) for n in (3, 100))
    np.testing.assert_array_equal(few, many[:3])
    direction = jnp.eye(columns)[0]
    for method in von_mises_fisher.METHODS:
        few, many = (von_mises_fisher.sample(key, direction, 20.0, (n,), method) for n in (3, 300))
        np.testing.assert_allclose(few, many[:3], rtol=1e-6, atol=1e-6)


def test_keys_of_other_kinds_and_raw_words():
    raw = jax.random.key_data(jax.random.key(5))
    np.testing.assert_array_equal(
        threefry.normal_of_variance_half(raw, (4, 3)),
        threefry.normal_of_variance_half(jax.random.key(5), (4, 3)),
    )
    other = threefry.normal_of_variance_half(jax.random.key(5, impl="rbg"), (COUNT // 4, 4))
    assert stats.kstest(np.asarray(other).ravel() * 2**0.5, "norm").pvalue > 1e-5


def test_too_many_rows_are_refused():
    with pytest.raises(ValueError, match=r"more rows than the 2\*\*32"):
        jax.eval_shape(lambda: threefry.row_numbers((2**20, 2**13)))
