"""Transformations of JAX: many devices, vmap with names, scan, remat, export of symbolic shapes."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import SUPPORT, environment, run

from spherical_vae.distributions import PowerSpherical, VonMisesFisher, von_mises_fisher
from spherical_vae.random import threefry

DIRECTION, KAPPA = jnp.eye(6)[:4], jnp.array([0.0, 1.0, 50.0, 1e4])
METHODS = von_mises_fisher.METHODS


@pytest.mark.thorough
def test_eight_devices_give_the_numbers_of_one():
    script = SUPPORT / "distributions_on_eight_devices.py"
    run([sys.executable, "-W", "error", script], environment(8))


@pytest.mark.thorough
@pytest.mark.parametrize("method", METHODS)
def test_vmap_with_a_name_scan_and_remat(method):
    keys = jax.random.split(jax.random.key(0), 4)

    def draw(key, direction, kappa):
        return von_mises_fisher.sample(key, direction, kappa, (), method)

    single = jnp.stack([draw(*x) for x in zip(keys, DIRECTION, KAPPA, strict=True)])

    def with_sum(key, direction, kappa):
        z = draw(key, direction, kappa)
        return z, jax.lax.psum(z, "rows")

    z, total = jax.vmap(with_sum, axis_name="rows")(keys, DIRECTION, KAPPA)
    np.testing.assert_allclose(z, single, atol=1e-6)
    np.testing.assert_allclose(total[0], single.sum(0), atol=1e-6)
    _, scanned = jax.lax.scan(lambda c, x: (c, draw(*x)), None, (keys, DIRECTION, KAPPA))
    np.testing.assert_allclose(scanned, single, atol=1e-6)

    def total_of(kappa, call):
        return call(keys[0], DIRECTION, kappa)[:, 0].sum()

    plain = jax.grad(total_of)(KAPPA, draw)
    np.testing.assert_allclose(jax.grad(total_of)(KAPPA, jax.checkpoint(draw)), plain, rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimension", [2, 50])
def test_samplers_are_exported_with_a_symbolic_batch(method, dimension):
    (batch,) = jax.export.symbolic_shape("batch")

    def draw(words, direction, kappa):
        key = jax.random.wrap_key_data(words)
        return von_mises_fisher.sample(key, direction, kappa, (3,), method)

    shapes = (
        jax.ShapeDtypeStruct((2,), jnp.uint32),
        jax.ShapeDtypeStruct((batch, dimension), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.float32),
    )
    exported = jax.export.export(jax.jit(draw))(*shapes)
    words = jax.random.key_data(jax.random.key(3))
    for rows in (1, 5):
        direction = jnp.stack([jnp.eye(dimension)[1]] * rows)
        arguments = words, direction, jnp.linspace(1.0, 9.0, rows)
        np.testing.assert_allclose(exported.call(*arguments), draw(*arguments), atol=1e-6)


@pytest.mark.thorough
def test_densities_and_fit_are_exported_with_a_symbolic_batch():
    (batch,) = jax.export.symbolic_shape("batch")
    value, mean = jnp.eye(5)[:3, None], jnp.eye(5)
    shapes = (
        jax.ShapeDtypeStruct((batch, 1, 5), jnp.float32),
        jax.ShapeDtypeStruct((5, 5), jnp.float32),
    )

    def power(value, mean):
        return PowerSpherical(mean, jnp.ones(5), validate_args=False).log_prob(value)

    for density in (lambda v, m: von_mises_fisher.log_prob(v, m, jnp.ones(5)), power):
        exported = jax.export.export(jax.jit(density))(*shapes)
        np.testing.assert_allclose(exported.call(value, mean), density(value, mean), rtol=1e-6)
    rows = jax.ShapeDtypeStruct((batch, 5), jnp.float32)
    fit = jax.export.export(jax.jit(von_mises_fisher.fit))(rows)
    values = VonMisesFisher(mean[0], 9.0).sample(jax.random.key(0), (20,))
    for found, expected in zip(fit.call(values), von_mises_fisher.fit(values), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_row_numbers_of_symbolic_sizes():
    (batch,) = jax.export.symbolic_shape("batch")

    def numbers(x):
        return threefry.row_numbers((2, x.shape[0], 3))

    exported = jax.export.export(jax.jit(numbers))(jax.ShapeDtypeStruct((batch,), jnp.float32))
    np.testing.assert_array_equal(exported.call(jnp.zeros(4)).ravel(), np.arange(24))


def test_a_power_spherical_law_built_by_vmap_can_be_used():
    built = jax.vmap(PowerSpherical)(DIRECTION, KAPPA)
    expected = PowerSpherical(DIRECTION, KAPPA)
    np.testing.assert_array_equal(
        built.sample(jax.random.key(0), (2,)), expected.sample(jax.random.key(0), (2,))
    )
    np.testing.assert_array_equal(built.log_prob(DIRECTION), expected.log_prob(DIRECTION))
    rows = jax.vmap(lambda law, key: law.sample(key))(built, jax.random.split(jax.random.key(1), 4))
    np.testing.assert_allclose(jnp.linalg.norm(rows, axis=-1), 1.0, atol=1e-6)


@pytest.mark.parametrize("kind", [VonMisesFisher, PowerSpherical])
def test_invalid_constants_within_jit_raise(kind):
    for direction, kappa, named in (
        (np.array([2.0, 0.0, 0.0]), 1.0, "mean_direction"),
        (jnp.array([1.0, 0.0, 0.0]), -1.0, "concentration"),
    ):
        with pytest.raises(ValueError, match=f"invalid {named}"):
            jax.jit(lambda d=direction, k=kappa: kind(d, k, validate_args=True).log_prob(d))()
