"""Training, evaluation and samplers are lowered for every platform, whatever this machine has.

Lowering is not running: it finds operations that a platform lacks and code that asks where it is,
not what a kernel computes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from small_models import WORDS, on_device, sentences, small_config

from spherical_vae.distributions import von_mises_fisher
from spherical_vae.generation.decoding import WordChoice, decode_sentences
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.models.vae import VAE, build_vae, call, init_params
from spherical_vae.objectives.bounds import elbo_terms, importance_weighted_nats
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.training.calls import multi_step
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import abstract_state, hyperparameters, make_train_step

PLATFORMS = ("cpu", "cuda", "tpu")
BAGS = {"encoder__kind": "bag_of_words", "decoder__kind": "bag_of_words"}
STANDARD = {"decoder__inputless": False}


def assert_lowered(function, *arguments, **static):
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    exported = jax.export.export(jax.jit(partial(function, **static)), platforms=PLATFORMS)(*shapes)
    assert exported.platforms == PLATFORMS
    # Without it a program would be bound to the platform that happens to be here.
    program = exported.mlir_module()
    assert program
    # Accelerators round the factors of float32 products unless they are told not to.
    products = [line for line in program.splitlines() if "stablehlo.dot" in line]
    assert [line for line in products if "[HIGHEST, HIGHEST]" not in line] == []


def built(**overrides):
    config = small_config(**overrides)
    return config, build_vae(config, WORDS), on_device(sentences())


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({"latent__sampler": "wood", **STANDARD}, id="sentences, wood"),
        pytest.param({"latent__kind": "learned_vmf", **BAGS}, id="documents, learned"),
        pytest.param({"latent__kind": "gaussian", **BAGS}, id="gaussian", marks=pytest.mark.slow),
        pytest.param({"latent__kind": "none"}, id="none", marks=pytest.mark.slow),
        pytest.param(
            {"latent__kind": "learned_vmf", "encoder__bidirectional": True, **STANDARD},
            id="sentences, learned",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_train_steps_are_lowered(overrides):
    config, model, batch = built(**overrides)
    optimizer = build_optimizer(config.optimizer)
    step = multi_step(make_train_step(model, optimizer, config))
    assert_lowered(
        step, abstract_state(model, optimizer, config), batch, hyperparameters(config, 0.1)
    )


def test_evaluation_is_lowered():
    config, model, batch = built()
    params = init_params(model, 0)
    key, hyper = root_key(0, Purpose.EVALUATE), latent_hyperparameters(config.latent)

    def measure(params, batch, key, hyper):
        terms = elbo_terms(model, params, batch, key, hyper=hyper)
        bound = importance_weighted_nats(model, params, batch, key, hyper=hyper, samples=6, chunk=4)
        return terms, bound, call(model, params, VAE.encode, batch, hyper)

    def plain(params, batch, words, hyper):
        return jax.tree.leaves(measure(params, batch, jax.random.wrap_key_data(words), hyper))

    assert_lowered(plain, params, batch, jax.random.key_data(key), hyper)


def test_generation_is_lowered():
    config, model, _ = built(**STANDARD)
    params = init_params(model, 0)

    def write(params, z, words, *choice):
        key, conditions = jax.random.wrap_key_data(words), jnp.zeros((3, 0))
        return decode_sentences(model, params, z, conditions, key, WordChoice(*choice), 5)

    z = jnp.ones((3, config.latent.dimension))
    choice = (jnp.float32(1.0), jnp.float32(0.9), jnp.bool_(False))
    assert_lowered(write, params, z, jnp.zeros(2, jnp.uint32), *choice)


@pytest.mark.parametrize("sampler", ["transport", "wood"])
def test_samplers_are_lowered(sampler):
    def draw(words, direction, kappa):
        key = jax.random.wrap_key_data(words)
        return von_mises_fisher.sample(key, direction, kappa, sample_shape=(5,), method=sampler)

    direction = jnp.zeros(50).at[0].set(1.0)
    assert_lowered(draw, jnp.zeros(2, jnp.uint32), direction, jnp.float32(80.0))


def test_a_product_that_may_be_rounded_is_found():
    with pytest.raises(AssertionError, match="dot_general"):
        assert_lowered(lambda x: x @ x, jnp.ones((3, 3)))


def test_what_a_platform_lacks_is_found():
    def of_the_cpu_only(x):
        return jax.ffi.ffi_call("no_such_kernel", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)

    with pytest.raises(Exception, match="no_such_kernel"):
        assert_lowered(of_the_cpu_only, jnp.ones(3))
