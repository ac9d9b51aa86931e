"""The flags of JAX that a user may have set: the same values, samples and gradients under each."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions.kl import kl_divergence

from spherical_vae import special
from spherical_vae.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    VonMisesFisher,
    von_mises_fisher,
)

# Flags of a group are set together: each raises, or changes numbers, where it is not heeded.
FLAGS = {
    "x64, NaNs": lambda: (jax.enable_x64(True), jax.debug_nans(True)),
    "promotion, ranks": lambda: (
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ),
    "device, transfers": lambda: (
        jax.default_device(jax.devices()[-1]),
        jax.transfer_guard("disallow"),
    ),
    "no jit": lambda: (jax.disable_jit(),),
}


@contextlib.contextmanager
def under(flags):
    with contextlib.ExitStack() as stack:
        for flag in FLAGS[flags]():
            stack.enter_context(flag)
        yield


def everything(key, mean, kappa, share):
    """Every public function, as (name, call, arguments); arrays in, arrays out."""
    laws = {
        "vmf": lambda m, k: VonMisesFisher(m, k, validate_args=False),
        "wood": lambda m, k: VonMisesFisher(m, k, method="wood", validate_args=False),
        "power": lambda m, k: PowerSpherical(m, k, validate_args=False),
    }
    for name, law in laws.items():
        yield f"{name} sample", lambda m, k, f=law: f(m, k).sample(key, (2,)), (mean, kappa)
        yield f"{name} entropy", lambda m, k, f=law: f(m, k).entropy(), (mean, kappa)
        yield f"{name} density", lambda m, k, f=law: f(m, k).log_prob(mean[::-1]), (mean, kappa)
        yield f"{name} pairs", lambda m, k, f=law: f(m, k).log_prob(mean[:, None]), (mean, kappa)
    for name in set(special.__all__) - {"log_sphere_area"}:
        x = share if name == "inverse_bessel_ratio" else kappa
        yield name, lambda k, name=name: getattr(special, name)(5, k), (x,)
    for method in von_mises_fisher.METHODS:
        yield (
            f"sample {method}",
            lambda m, k, method=method: von_mises_fisher.sample(key, m, k, (2,), method),
            (mean, kappa),
        )
    yield "log_prob", von_mises_fisher.log_prob, (mean, mean[::-1], kappa)
    yield "fit", lambda z: von_mises_fisher.fit(z)[1], (mean + 0.5,)
    yield "uniform", lambda z: HypersphericalUniform(5, validate_args=False).log_prob(z), (mean,)


def numbers():
    direction = jnp.eye(5)[:3] + 0.2
    direction = direction / jnp.linalg.norm(direction, axis=-1, keepdims=True)
    kappa = jnp.array([0.5, 6.0, 80.0])
    return jax.random.key(0), direction, kappa, kappa / 90.0


def gradients(call, arguments):
    total = jax.jit(
        jax.grad(lambda *x: (call(*x) ** 2).sum(), argnums=tuple(range(len(arguments))))
    )
    return total(*arguments)


@pytest.fixture(scope="module")
def expected():
    key, *arrays = numbers()
    return {
        name: (call(*arguments), gradients(call, arguments))
        for name, call, arguments in everything(key, *arrays)
    }


@pytest.mark.thorough
@pytest.mark.parametrize(
    "flags",
    [pytest.param(name, marks=pytest.mark.slow) if name == "no jit" else name for name in FLAGS],
)
def test_every_public_function(flags, expected):
    # What the user has made before: arrays of float32, and the arguments on the device.
    inputs = numbers()
    cases = list(everything(*inputs))
    for name, call, arguments in cases:
        values, slopes = expected[name]
        with under(flags):
            found = call(*arguments)
            # Backward passes of JAX itself make constants: compiled, they are part of the program.
            found_slopes = None if flags == "no jit" else gradients(call, arguments)
        np.testing.assert_allclose(found, values, rtol=2e-5, atol=2e-5, err_msg=name)
        assert found.dtype == values.dtype
        if found_slopes is not None:
            for x, y in zip(found_slopes, slopes, strict=True):
                np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4, err_msg=name)


@pytest.mark.thorough
@pytest.mark.parametrize("flags", ["x64, NaNs", "promotion, ranks"])
def test_classes_that_are_validated_and_divergences(flags):
    _, mean, kappa, _ = numbers()
    with under(flags):
        laws = [VonMisesFisher(mean, kappa), PowerSpherical(mean, kappa)]
        for p in laws:
            assert p.log_prob(mean[0]).shape == p.log_prob(mean).shape == (3,)
            assert p.log_prob(np.asarray(mean)[:, None]).shape == (3, 3)
            for q in (*laws, HypersphericalUniform(5)):
                assert bool((kl_divergence(p, q) >= -1e-5).all())
                assert bool((kl_divergence(q, p) >= -1e-5).all())


def test_python_numbers_pass_the_transfer_guard():
    key, mean, *_ = numbers()
    with jax.transfer_guard("disallow"):
        z = von_mises_fisher.sample(key, np.asarray(mean), 5.0)
        density = von_mises_fisher.log_prob(z, [1, 0, 0, 0, 0], 5)
        entropy = special.entropy(5, 5.0)
    assert bool(jnp.isfinite(density).all())
    assert bool(jnp.isfinite(entropy))
