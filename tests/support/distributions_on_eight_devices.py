"""Samplers, densities and special functions on eight devices: the same numbers as on one.

A program of its own for test_devices.py, as devices are counted when JAX starts.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from spherical_vae import special
from spherical_vae.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    VonMisesFisher,
    von_mises_fisher,
)

ROWS, DIMENSION = 16, 6
DIRECTION = jnp.roll(jnp.eye(ROWS, DIMENSION), 1, axis=1) + 0.1
DIRECTION = DIRECTION / jnp.linalg.norm(DIRECTION, axis=-1, keepdims=True)
KAPPA = jnp.linspace(0.5, 50.0, ROWS)
KEY = jax.random.key(0)


def same(found, expected):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5), found, expected
    )


def over_rows(mesh, function, *sharded):
    """`function` of rows, each device with its own; arguments that are not `sharded` are shared."""
    specs = tuple(P("x") if is_sharded else P() for is_sharded in sharded)
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P("x")))


def summed(function):
    """The value and the gradients in both parameters of the sum of squares."""
    return jax.value_and_grad(lambda *x: (function(*x) ** 2).sum(), argnums=(0, 1))


def check_densities(mesh):
    value = DIRECTION[::-1]
    kinds = {"vmf": von_mises_fisher.log_prob, "power": power_density}
    for density in kinds.values():
        for rows in ((True, False, False), (False, True, True)):
            arguments = [
                x if row else x[3] for x, row in zip((value, DIRECTION, KAPPA), rows, strict=True)
            ]
            call = jax.value_and_grad(lambda *x, f=density: f(*x).sum(), argnums=(0, 1, 2))
            split = over_rows(mesh, density, *rows)
            found = jax.value_and_grad(lambda *x, f=split: f(*x).sum(), (0, 1, 2))(*arguments)
            same(found, call(*arguments))
        pairs = over_rows(mesh, lambda v, m, k, f=density: f(v[:, None], m, k), True, False, False)
        same(pairs(value, DIRECTION, KAPPA), density(value[:, None], DIRECTION, KAPPA))


def power_density(value, direction, kappa):
    return PowerSpherical(direction, kappa, validate_args=False).log_prob(value)


def check_special(mesh):
    for name in set(special.__all__) - {"log_sphere_area"}:
        x = KAPPA / 51.0 if name == "inverse_bessel_ratio" else KAPPA
        function = partial(getattr(special, name), DIMENSION)
        split = over_rows(mesh, function, True)
        same(
            jax.value_and_grad(lambda t, f=split: f(t).sum())(x),
            jax.value_and_grad(lambda t, f=function: f(t).sum())(x),
        )


def check_samples(mesh):
    for method in von_mises_fisher.METHODS:
        for rows in ((True, False), (False, True)):
            parameters = [
                x if row else x[3] for x, row in zip((DIRECTION, KAPPA), rows, strict=True)
            ]

            # The key is the same on all devices: what each draws is what it would draw alone.
            def draw(direction, kappa, method=method):
                return von_mises_fisher.sample(KEY, direction, kappa, (), method)

            found = summed(over_rows(mesh, draw, *rows))(*parameters)
            apart = [
                [
                    x[2 * i : 2 * i + 2] if row else x
                    for x, row in zip(parameters, rows, strict=True)
                ]
                for i in range(8)
            ]
            same(found[0], sum(summed(draw)(*part)[0] for part in apart))
            gradients = [summed(draw)(*part)[1] for part in apart]
            for i, row in enumerate(rows):
                parts = [gradient[i] for gradient in gradients]
                same(found[1][i], jnp.concatenate(parts) if row else sum(parts))

        # And a key of its own on each.
        def own(direction, kappa, method=method):
            key = jax.random.fold_in(KEY, jax.lax.axis_index("x"))
            return von_mises_fisher.sample(key, direction, kappa, (), method)

        z = over_rows(mesh, own, False, False)(DIRECTION[:2], KAPPA[0])
        expected = [
            von_mises_fisher.sample(jax.random.fold_in(KEY, i), DIRECTION[:2], KAPPA[0], (), method)
            for i in range(8)
        ]
        same(z, jnp.concatenate(expected))


def check_classes(mesh):
    for kind in (VonMisesFisher, PowerSpherical):

        def moments(direction, kappa, kind=kind):
            law = kind(direction, kappa)
            return law.entropy()[:, None] + law.mean + law.variance

        same(over_rows(mesh, moments, True, True)(DIRECTION, KAPPA), moments(DIRECTION, KAPPA))
    draw = over_rows(mesh, lambda m, k: PowerSpherical(m, k).sample(KEY), True, True)
    z = draw(DIRECTION, KAPPA)
    same(z[:2], PowerSpherical(DIRECTION[:2], KAPPA[:2]).sample(KEY))

    def uniform(x):
        return x + HypersphericalUniform(DIMENSION, (2,)).sample(KEY)

    assert over_rows(mesh, uniform, True)(jnp.zeros((ROWS, DIMENSION))).shape == DIRECTION.shape
    fitted = jax.shard_map(
        lambda z: jax.tree.map(lambda x: x[None], von_mises_fisher.fit(z)),
        mesh=mesh,
        in_specs=P("x"),
        out_specs=P("x"),
    )
    same(jax.jit(fitted)(DIRECTION)[1][0], von_mises_fisher.fit(DIRECTION[:2])[1])


def check_pmap():
    direction, kappa = DIRECTION[:8], KAPPA[:8]
    for method in von_mises_fisher.METHODS:
        draw = partial(von_mises_fisher.sample, KEY, method=method)
        single = jnp.stack([draw(m, k) for m, k in zip(direction, kappa, strict=True)])
        same(jax.pmap(draw, axis_name="i")(direction, kappa), single)


def check_explicit_axes():
    """A mesh whose axes are part of the type of an array."""
    with jax.set_mesh(jax.make_mesh((8,), ("x",), axis_types=(AxisType.Explicit,))):
        direction, kappa = jax.device_put(DIRECTION, P("x")), jax.device_put(KAPPA, P("x"))
        for method in von_mises_fisher.METHODS:
            for arguments in ((direction, KAPPA[3]), (DIRECTION[3], kappa)):

                def draw(m, k, method=method):
                    return von_mises_fisher.sample(KEY, m, k, (3,), method)

                found = jax.jit(summed(draw))(*arguments)
                same(found, summed(draw)(*(np.asarray(x) for x in arguments)))
        same(jax.jit(von_mises_fisher.fit)(direction), von_mises_fisher.fit(DIRECTION))
        density = jax.jit(von_mises_fisher.log_prob)(DIRECTION[:, None], direction, kappa)
        same(density, von_mises_fisher.log_prob(DIRECTION[:, None], DIRECTION, KAPPA))


if __name__ == "__main__":
    assert jax.device_count() == 8
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    check_samples(mesh)
    check_densities(mesh)
    check_special(mesh)
    check_classes(mesh)
    check_pmap()
    check_explicit_axes()
