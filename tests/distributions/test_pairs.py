"""Densities of all pairs of values and parameters, by matrix products: accuracy and memory."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from spherical_vae import special
from spherical_vae.distributions import PowerSpherical, VonMisesFisher, von_mises_fisher

pytestmark = pytest.mark.optimized


def unit_rows(*shape, seed=0, near=None, spread=1.0):
    rows = np.random.default_rng(seed).normal(size=shape)
    if near is not None:
        rows = near + spread * rows
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", [3, 50, 300])
def test_the_error_is_that_of_the_docstring(dimension, dtype):
    # 1 - cosine from 1e-12 (rows next to a mean) to 2, times a concentration to match.
    means = unit_rows(4, dimension)
    values = np.concatenate(
        [unit_rows(2, dimension, near=means[0], spread=s, seed=3) for s in (1e-6, 1e-3, 0.1, 10.0)]
        + [means[:1], -means[:1]]
    )
    bound = {"float32": 6e-11, "float64": 7e-24}[dtype] * dimension**0.5
    rounding = 8 * float(np.finfo(dtype).eps)
    with jax.enable_x64(dtype == "float64"):
        values, means = jnp.asarray(values, dtype), jnp.asarray(means, dtype)
        for kappa in (1.0, 1e4, 1e8):
            peak = special.log_density_at_mode(dimension, jnp.asarray(kappa, dtype))
            found = von_mises_fisher.log_prob(values[:, None], means, kappa)
            assert found.dtype == dtype
            for (i, j), value in np.ndenumerate(np.asarray(found)):
                with mp.workdps(50):
                    pairs = zip(np.asarray(values[i]), np.asarray(means[j]), strict=True)
                    gap = sum((mp.mpf(float(x)) - mp.mpf(float(y))) ** 2 for x, y in pairs) / 2
                    exact = mp.mpf(float(peak)) - kappa * gap
                    allowed = kappa * bound + rounding * (abs(float(peak)) + kappa * gap)
                    assert abs(mp.mpf(float(value)) - exact) <= allowed, (i, j, kappa)


def test_power_spherical_pairs_agree_with_single_ones():
    means, values = jnp.asarray(unit_rows(4, 20)), jnp.asarray(unit_rows(6, 20, seed=1))
    values = jnp.concatenate([values, -means]).astype(jnp.float32)
    law = PowerSpherical(means.astype(jnp.float32), jnp.array([0.0, 1.0, 50.0, 1e4]))
    rows = [PowerSpherical(law.mean_direction[k], law.concentration[k]) for k in range(4)]
    expected = jnp.stack([row.log_prob(values) for row in rows], -1)
    found = law.log_prob(values[:, None])
    np.testing.assert_array_equal(found == -jnp.inf, expected == -jnp.inf)
    # log(1 + cosine) of the pairs next to the opposite of a mean.
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=3e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "shapes",
    [
        ((5, 1, 7), (3, 7)),
        pytest.param(((2, 3, 1, 7), (4, 7)), marks=pytest.mark.slow),
        pytest.param(((1, 4, 7), (3, 1, 7)), marks=pytest.mark.slow),
    ],
)
def test_gradients_are_those_of_single_pairs(shapes):
    value, mean = (jnp.asarray(unit_rows(*s, seed=i), jnp.float32) for i, s in enumerate(shapes))
    kappa = jnp.linspace(1.0, 40.0, mean.size // 7).reshape(mean.shape[:-1])
    leading = np.broadcast_shapes(value.shape[:-1], mean.shape[:-1])
    cotangent = jnp.asarray(np.random.default_rng(2).normal(size=leading), jnp.float32)

    def pairs(value, mean, kappa):
        return (cotangent * von_mises_fisher.log_prob(value, mean, kappa)).sum()

    def singly(value, mean, kappa):
        value, mean = (jnp.broadcast_to(x, (*leading, 7)) for x in (value, mean))
        kappa = jnp.broadcast_to(kappa, leading)
        return (cotangent * von_mises_fisher.log_prob(value, mean, kappa)).sum()

    for function in (jax.grad, lambda f, argnums: jax.hessian(f, argnums)):
        found, expected = (
            function(f, argnums=(0, 1, 2))(value, mean, kappa) for f in (pairs, singly)
        )
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), found, expected
        )


@pytest.mark.parametrize("kind", [VonMisesFisher, PowerSpherical])
def test_no_array_holds_all_pairs_of_vectors(kind):
    value, mean = jnp.zeros((2000, 1, 300)), jnp.zeros((40, 300))

    def density(value, mean):
        return kind(mean, jnp.ones(40), validate_args=False).log_prob(value)

    def gradient(value, mean):
        return jax.grad(lambda *x: density(*x).sum(), (0, 1))(value, mean)

    for function in (density, gradient):
        compiled = jax.jit(function).lower(value, mean).compile()
        # Products of heads and tails: a few arrays of the size of the values or of the result.
        assert compiled.memory_analysis().temp_size_in_bytes < 8 * value.nbytes


def test_eager_calls_compile_the_whole_density():
    # Op by op, each intermediate array would live in memory: 40 times the values.
    largest = 0
    watch = jax.make_jaxpr(lambda v, m: von_mises_fisher.log_prob_unchecked(v, m, jnp.ones(40)))
    jaxpr = watch(jnp.zeros((2000, 1, 300)), jnp.zeros((40, 300)))
    for equation in jaxpr.eqns:
        largest = max([largest, *(v.aval.size for v in equation.outvars)])
        assert equation.primitive.name in ("jit", "pjit", "broadcast_in_dim"), equation.primitive
    assert largest <= 2000 * 300
