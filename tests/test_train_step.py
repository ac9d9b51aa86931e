"""The step: parts that combine freely, one compilation, filler that weighs nothing, NaN noticed."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import WORDS, on_device, sentences, small_config

from spherical_vae.latents.latent import kl_nats
from spherical_vae.optim import build_optimizer
from spherical_vae.train_step import hyperparameters, init_state, make_train_step
from spherical_vae.vae import VAE, build_vae, init_params

pytestmark = pytest.mark.usefixtures("quick_to_compile")


def hyper(learning_rate=0.05, dropout_rate=0.0, concentration=6.0, kl_weight=1.0, seed=1):
    config = small_config(seed=seed, dropout_rate=dropout_rate, latent__concentration=concentration)
    return hyperparameters(config, learning_rate, kl_weight)


def prepared(**overrides):
    config = small_config(**overrides)
    model = build_vae(config, WORDS)
    optimizer = build_optimizer(config.optimizer)
    state = init_state(init_params(model, 0), optimizer, config)
    return state, make_train_step(model, optimizer, config)


COMBINATIONS = [
    {"encoder__kind": "lstm", "latent__kind": "none", "decoder__inputless": False},
    {"encoder__kind": "lstm", "latent__kind": "gaussian", "condition_on_bag": True},
    {"encoder__kind": "bag_of_words", "latent__kind": "vmf", "decoder__inputless": False},
    {
        "encoder__kind": "bag_of_words",
        "latent__kind": "learned_vmf",
        "decoder__kind": "bag_of_words",
    },
    {"encoder__kind": "lstm", "latent__kind": "vmf", "decoder__kind": "bag_of_words"},
    {
        "encoder__bidirectional": True,
        "encoder__layers": 2,
        "decoder__layers": 3,
        "decoder__inputless": False,
        "condition_on_bag": True,
        "data__label_classes": 3,
        "label_embedding_size": 2,
        "latent__sampler": "wood",
        "train__samples": 2,
        "train__nats_per": "token",
        "train__protocol": "paper",
    },
]


@pytest.mark.parametrize("overrides", COMBINATIONS, ids=str)
def test_parts_combine_and_learn(overrides):
    state, step = prepared(**overrides)
    step = jax.jit(step)
    batch = sentences(rows=4)
    totals = []
    for _ in range(30):
        before = state.sums
        state = step(state, batch, hyper(dropout_rate=0.1))
        totals.append(float(state.sums.reconstruction_nats - before.reconstruction_nats))
    assert int(state.step) == 30
    assert int(state.sums.first_bad_step) == -1
    assert np.mean(totals[-5:]) < np.mean(totals[:5]) - 1


def test_bfloat16_is_in_the_products_alone():
    """The state stays float32, and a step differs from one in float32 by rounding."""
    batch = sentences(rows=4)
    after = {}
    for dtype in ("float32", "bfloat16"):
        state, step = prepared(
            compute__dtype=dtype, decoder__inputless=False, optimizer__name="sgd"
        )
        after[dtype] = jax.jit(step)(state, batch, hyper())
    start, wide, narrow = (
        jax.flatten_util.ravel_pytree(params)[0]
        for params in (state.params, after["float32"].params, after["bfloat16"].params)
    )
    assert narrow.dtype == jnp.float32
    assert 0 < np.abs(narrow - wide).max() < 0.05 * np.abs(wide - start).max()


def test_one_compilation_for_all_hyperparameters():
    state, step = prepared()
    traces = []

    @jax.jit
    def counted(*args):
        traces.append(1)
        return step(*args)

    batch = sentences(rows=4)
    for i in range(1, 5):
        state = counted(state, batch, hyper(0.1 / i, 0.1 * i, 2.0 * i, 1 / i, i))
    assert len(traces) == 1


def test_seed_and_step_decide_the_noise():
    state, step = prepared()
    step = jax.jit(step)
    batch = sentences(rows=4)

    def params(seed, state=state):
        return step(state, batch, hyper(dropout_rate=0.3, seed=seed)).params

    same = jax.tree.map(np.array_equal, params(1), params(1))
    assert all(jax.tree.leaves(same))
    other = jax.tree.map(np.array_equal, params(1), params(2))
    assert not all(jax.tree.leaves(other))
    later = jax.tree.map(np.array_equal, params(1), params(1, state._replace(step=jnp.int32(5))))
    assert not all(jax.tree.leaves(later))


@pytest.mark.parametrize(
    ("nats_per", "protocol"), [("example", "honest"), ("token", "honest"), ("token", "paper")]
)
def test_filler_rows_weigh_nothing(nats_per, protocol):
    # Without a latent nothing is drawn, so that the shape of the batch leaves no trace.
    state, step = prepared(
        train__nats_per=nats_per,
        train__protocol=protocol,
        latent__kind="none",
        optimizer__name="sgd",
        optimizer__clip_norm=0.0,
    )
    batch = sentences(rows=3)
    filler = on_device(
        batch._replace(
            ids=np.pad(batch.ids, ((0, 2), (0, 0))),
            counts=np.pad(batch.counts, ((0, 2), (0, 0))),
            labels=np.pad(batch.labels, (0, 2)),
            index=np.pad(batch.index, (0, 2), constant_values=-1),
        )
    )
    plain = jax.jit(step)(state, batch, hyper())
    padded = jax.jit(step)(state, filler, hyper())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        (plain.params, plain.sums),
        (padded.params, padded.sums),
    )


@pytest.mark.parametrize("kind", ["lstm", "bag_of_words"])
def test_what_the_loss_is_divided_by(kind):
    """By padded slots for the paper's sentences, as its code does; documents have none."""
    overrides = {
        "encoder__kind": kind,
        "decoder__kind": kind,
        "latent__kind": "none",
        "optimizer__name": "sgd",
        "optimizer__clip_norm": 0.0,
    }
    batch = sentences(rows=4)

    def moved(**more):
        state, step = prepared(**overrides, **more)
        after = jax.jit(step)(state, batch, hyper()).params
        flat = [jax.flatten_util.ravel_pytree(p)[0] for p in (state.params, after)]
        return float(jnp.linalg.norm(flat[1] - flat[0]))

    tokens, slots = int(batch.counts.sum()), batch.ids.size
    assert slots > tokens
    each = moved(train__nats_per="example")
    assert moved(train__nats_per="token") == pytest.approx(each * 4 / tokens, rel=1e-4)
    expected = each * 4 / (slots if kind == "lstm" else tokens)
    paper = moved(train__nats_per="token", train__protocol="paper")
    assert paper == pytest.approx(expected, rel=1e-4)


def test_the_kl_counts_by_its_weight():
    """The same draws for every weight: what a step of SGD moves is a line in the weight."""
    state, step = prepared(latent__kind="gaussian", optimizer__name="sgd", optimizer__clip_norm=0.0)
    batch = sentences(rows=4)
    step = jax.jit(step)

    def moved(weight):
        params = step(state, batch, hyper(kl_weight=weight)).params
        return jax.flatten_util.ravel_pytree(params)[0] - before

    before = jax.flatten_util.ravel_pytree(state.params)[0]

    def kl(params):
        pair = model.apply({"params": params}, batch, hyper().latent, method=VAE.encode)
        return kl_nats(pair, pair.posterior.mean[None]).mean()

    model = build_vae(small_config(latent__kind="gaussian"), WORDS)
    gradient = jax.flatten_util.ravel_pytree(jax.grad(kl)(state.params))[0]
    pull = moved(1.0) - moved(0.0)
    rate = float(hyper().learning_rate)
    np.testing.assert_allclose(pull, -rate * gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved(0.25) - moved(0.0), 0.25 * pull, rtol=1e-4, atol=1e-6)
    assert np.abs(pull).max() > 1e-4


def test_first_bad_step_is_remembered():
    state, step = prepared()
    step = jax.jit(step)
    batch = sentences(rows=4)
    state = step(state, batch, hyper())
    for rate in (np.nan, 0.1, 0.1):
        state = step(state, batch, hyper(learning_rate=rate))
    assert int(state.sums.first_bad_step) == 2  # the step after the update that broke it
