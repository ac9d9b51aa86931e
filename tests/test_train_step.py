"""The step: parts that combine freely, one compilation, filler that weighs nothing, NaN noticed."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from small_models import WORDS, on_device, sentences, small_config

from spherical_vae.models.latents.latent import kl_nats
from spherical_vae.models.vae import VAE, build_vae, init_params
from spherical_vae.objectives.bounds import ElboTerms
from spherical_vae.training.optimizer import averaging_weight, build_optimizer
from spherical_vae.training.step import (
    MAX_LOG_MULTIPLIER,
    charged_nats,
    hyperparameters,
    init_state,
    make_train_step,
    with_first_decoder,
)


def hyper(learning_rate=0.05, dropout_rate=0.0, concentration=6.0, kl_weight=1.0, seed=1):
    config = small_config(seed=seed, dropout_rate=dropout_rate, latent__concentration=concentration)
    return hyperparameters(config, learning_rate, kl_weight)


@functools.cache
def program(settings):
    """The first state, the compiled step and its traces, of a configuration as JSON."""
    config = ConfigDict(json.loads(settings))
    model = build_vae(config, WORDS)
    optimizer = build_optimizer(config.optimizer)
    step, traces = make_train_step(model, optimizer, config), []

    def traced(*arguments):
        traces.append(1)
        return step(*arguments)

    return init_state(init_params(model, 0), optimizer, config), jax.jit(traced), traces


def prepared(**overrides):
    state, step, _ = program(small_config(**overrides).to_json(sort_keys=True))
    return state, step


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


PLAIN = {"optimizer__name": "sgd", "optimizer__clip_norm": 0.0}
# Quick to compile, for what has nothing to do with sentences.
BAGS = {"encoder__kind": "bag_of_words", "decoder__kind": "bag_of_words"}
COMBINATIONS = [
    {"encoder__kind": "lstm", "latent__kind": "none", "decoder__inputless": False},
    pytest.param(
        {"encoder__kind": "lstm", "latent__kind": "gaussian", "condition_on_bag": True},
        marks=pytest.mark.slow,
    ),
    pytest.param(
        {"encoder__kind": "bag_of_words", "latent__kind": "vmf", "decoder__inputless": False},
        marks=pytest.mark.slow,
    ),
    {
        "encoder__kind": "bag_of_words",
        "latent__kind": "learned_vmf",
        "decoder__kind": "bag_of_words",
    },
    pytest.param(
        {"encoder__kind": "lstm", "latent__kind": "vmf", "decoder__kind": "bag_of_words"},
        marks=pytest.mark.thorough,
    ),
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
    batch = sentences(rows=4)
    totals = []
    for _ in range(30):
        before = state.sums
        state = step(state, batch, hyper(dropout_rate=0.1))
        totals.append(float(state.sums.reconstruction_nats - before.reconstruction_nats))
    assert int(state.step) == 30
    assert int(state.sums.first_bad_step) == -1
    assert np.mean(totals[-5:]) < np.mean(totals[:5]) - 1


@pytest.mark.thorough
def test_bfloat16_is_in_the_products_alone():
    """The state stays float32, and a step differs from one in float32 by rounding."""
    batch = sentences(rows=4)
    after = {}
    for dtype in ("float32", "bfloat16"):
        state, step = prepared(
            compute__dtype=dtype, decoder__inputless=False, optimizer__name="sgd"
        )
        after[dtype] = step(state, batch, hyper())
    start, wide, narrow = (
        flat(params) for params in (state.params, after["float32"].params, after["bfloat16"].params)
    )
    assert narrow.dtype == np.float32
    assert 0 < np.abs(narrow - wide).max() < 0.05 * np.abs(wide - start).max()


# Every part of the step that a setting adds.
EVERYTHING = {
    "decoder__inputless": False,
    "decoder__tied_embeddings": True,
    "dropout_mask": "sentence",
    "state_dropout_rate": 0.2,
    "word_dropout_rate": 0.2,
    "optimizer__average_decay": 0.5,
    "rate__target_nats": 1.0,
    "rate__autoencoder_epochs": 1,
}


# Its bookkeeping of parameters, without what takes long to compile.
BARE = {
    **BAGS,
    "decoder__tied_embeddings": False,
    "dropout_mask": "step",
    "optimizer__name": "sgd",
}


def test_one_compilation_for_all_hyperparameters():
    state, step, traces = program(small_config(**EVERYTHING).to_json(sort_keys=True))
    batch = sentences(rows=4)
    moved, before = [], None
    names = ("dropout_rate", "state_dropout_rate", "word_dropout_rate")
    for rates in ((0.1, 0.1, 0.1), (0.5, 0.1, 0.1), (0.1, 0.5, 0.1), (0.1, 0.1, 0.9)):
        config = small_config(**dict(zip(names, rates, strict=True)))
        after = step(state, batch, hyperparameters(config, 0.1, 1.0, 7 * len(moved)))
        moved.append(flat(after.params))
        before = before or len(traces)
    for i in range(1, 5):
        state = step(state, batch, hyper(0.1 / i, 0.1 * i, 2.0 * i, 1 / i, i))
    assert len(traces) == before
    # Each of them does something.
    assert min(np.abs(one - moved[0]).max() for one in moved[1:]) > 1e-4


@pytest.mark.parametrize("average_from", [0, 3])
def test_the_average_is_that_of_the_recursion(average_from):
    """0.9 of the newest, then less and less: max(1 - decay, 9 / (10 + steps))."""
    decay = EVERYTHING["optimizer__average_decay"]
    state, step = prepared(**EVERYTHING)
    batch = sentences(rows=4)
    state = state._replace(step=jnp.int32(average_from))
    config = small_config()
    expected = flat(state.params).astype(np.float64)
    np.testing.assert_array_equal(flat(state.evaluated), flat(state.params))
    for done in range(20):
        state = step(state, batch, hyperparameters(config, 0.05, 1.0, average_from))
        share = max(1 - decay, 9 / (10 + done))
        assert float(averaging_weight(decay, jnp.int32(done))) == pytest.approx(share, rel=1e-6)
        expected += share * (flat(state.params) - expected)
    np.testing.assert_allclose(flat(state.evaluated), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - flat(state.params)).max() > 1e-2


def test_free_nats_are_those_computed_by_hand():
    kl = jnp.array([0.5, 3.0, 1.0, 100.0])
    factors = jnp.array([[0.25, 0.25], [2.5, 0.5], [1.0, 0.0], [50.0, 50.0]])
    terms = ElboTerms(jnp.zeros(4), kl, factors)
    real = jnp.array([1.0, 1.0, 1.0, 0.0])  # the last only fills the batch

    def charged(**settings):
        rate = small_config(**{f"rate__{key}": value for key, value in settings.items()}).rate
        return np.asarray(charged_nats(terms, real, rate))[:3]

    np.testing.assert_array_equal(charged(), [0.5, 3.0, 1.0])
    np.testing.assert_array_equal(charged(free_nats=2.0), [2.0, 3.0, 2.0])
    # Means of the factors are 1.25 and 0.25; each is charged half of the free nats at least.
    each = charged(free_nats=2.0, free_nats_per="factor")
    np.testing.assert_allclose(each, 1.25 + 1.0, rtol=1e-6)
    each = charged(free_nats=0.1, free_nats_per="factor")
    np.testing.assert_allclose(each, 1.5, rtol=1e-6)
    each = charged(free_nats=20.0, free_nats_per="factor")
    np.testing.assert_allclose(each, 20.0, rtol=1e-6)


def test_a_model_without_a_latent_is_charged_nothing_by_factor():
    """As a baseline beside a model with free nats per factor."""
    batch = sentences(rows=4)
    after = []
    for rate in ({}, FACTORS):
        state, step = prepared(**BAGS, **PLAIN, **rate, latent__kind="none")
        after.append(flat(step(state, batch, hyper()).params))
    np.testing.assert_array_equal(*after)


FACTORS = {"rate__free_nats": 100.0, "rate__free_nats_per": "factor"}


@pytest.mark.parametrize(
    ("latent", "free"),
    [
        ({"latent__kind": "gaussian"}, {"rate__free_nats": 100.0}),
        ({"latent__kind": "gaussian"}, FACTORS),
        pytest.param(
            {"latent__kind": "product_vmf", "latent__spheres": 2},
            FACTORS,
            marks=pytest.mark.thorough,
        ),
    ],
    ids=str,
)
def test_what_is_free_has_no_gradient(latent, free):
    """A step with more free nats than there are is a step without the KL."""
    batch = sentences(rows=4)
    after = []
    for weight, rate in ((0.0, {}), (1.0, free), (1.0, {})):
        state, step = prepared(**BAGS, **latent, **PLAIN, **rate)
        after.append(flat(step(state, batch, hyper(kl_weight=weight)).params))
    np.testing.assert_allclose(after[1], after[0], rtol=1e-5, atol=1e-7)
    assert np.abs(after[2] - after[0]).max() > 1e-4


def test_the_multiplier_moves_by_the_excess_and_only_where_it_acts():
    rate = {"rate__target_nats": 1.0, "rate__target_step": 0.25}
    state, step = prepared(**BAGS, **rate, latent__kind="gaussian")
    batch = sentences(rows=4)
    after = step(state, batch, hyper())
    excess = float(after.sums.kl_nats) / 4 / 1.0 - 1
    assert abs(excess) < 1
    assert float(after.log_multiplier) == pytest.approx(0.25 * excess, rel=1e-5)
    assert float(step(state, batch, hyper(kl_weight=0.0)).log_multiplier) == 0
    # A target that is out of reach does not end in an overflow.
    edge = np.copysign(np.float32(MAX_LOG_MULTIPLIER), excess)
    far = step(state._replace(log_multiplier=jnp.asarray(edge)), batch, hyper())
    assert float(far.log_multiplier) == edge
    assert int(far.sums.first_bad_step) == -1
    # It multiplies the KL: the same step as with such a weight.
    doubled = state._replace(log_multiplier=jnp.log(2.0))
    np.testing.assert_allclose(
        flat(step(doubled, batch, hyper(kl_weight=0.4)).params),
        flat(step(state, batch, hyper(kl_weight=0.8)).params),
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize(
    ("settings", "embedded"),
    [
        pytest.param(EVERYTHING, ["word_embeddings"], marks=pytest.mark.thorough, id="adam"),
        pytest.param(EVERYTHING | BARE, [], id="sgd"),
    ],
)
def test_a_new_decoder_leaves_the_rest(settings, embedded):
    initial, step = prepared(**settings)
    optimizer = build_optimizer(small_config(**settings).optimizer)
    state = initial
    for seed in range(3):
        state = step(state, sentences(rows=4, seed=seed), hyper())
    found = with_first_decoder(state, optimizer)
    for mine, old, new in (
        (found.params, state.params, initial.params),
        (found.average, state.average, initial.average),
    ):
        parts = {"encoder", "latent", "decoder", *embedded}
        assert mine.keys() == old.keys() == parts
        for part in mine:
            wanted, other = (new, old) if part == "decoder" else (old, new)
            jax.tree.map(np.testing.assert_array_equal, mine[part], wanted[part])
            assert (flat(mine[part]) != flat(other[part])).any()
    jax.tree.map(np.testing.assert_array_equal, found.opt_state, initial.opt_state)
    assert int(found.step) == 3
    assert float(found.log_multiplier) == float(state.log_multiplier) != 0
    jax.tree.map(np.testing.assert_array_equal, found.sums, state.sums)


@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_what_the_decoder_reads_rests_in_the_autoencoder_phase(tied):
    """Its words only if it shares them: otherwise they are the encoder's too."""
    labels = {"data__label_classes": 2, "label_embedding_size": 3}
    settings = EVERYTHING | labels | {"decoder__tied_embeddings": tied}
    state, step = prepared(**settings)
    config = small_config(**settings)
    for phase in (False, True):
        after = step(state, sentences(rows=4), hyperparameters(config, 0.1, 0.0, 0, phase))
        resting = {"label_embeddings", *["word_embeddings"] * tied} if phase else set()
        rests = {p for p in state.params if (flat(state.params[p]) == flat(after.params[p])).all()}
        assert rests == resting


def test_seed_and_step_decide_the_noise():
    state, step = prepared(**EVERYTHING)
    batch = sentences(rows=4)

    def params(seed, state=state):
        return flat(step(state, batch, hyper(dropout_rate=0.3, seed=seed)).params)

    np.testing.assert_array_equal(params(1), params(1))
    assert (params(1) != params(2)).any()
    assert (params(1) != params(1, state._replace(step=jnp.int32(5)))).any()


@pytest.mark.parametrize(
    ("nats_per", "protocol"), [("example", "honest"), ("token", "honest"), ("token", "paper")]
)
def test_filler_rows_weigh_nothing(nats_per, protocol):
    # Without a latent nothing is drawn, so that the shape of the batch leaves no trace.
    state, step = prepared(
        train__nats_per=nats_per,
        train__protocol=protocol,
        latent__kind="none",
        encoder__kind="bag_of_words",
        **PLAIN,
    )
    batch = sentences(rows=4)
    filler = on_device(
        batch._replace(
            ids=np.pad(batch.ids, ((0, 2), (0, 0))),
            counts=np.pad(batch.counts, ((0, 2), (0, 0))),
            labels=np.pad(batch.labels, (0, 2)),
            index=np.pad(batch.index, (0, 2), constant_values=-1),
        )
    )
    plain = step(state, batch, hyper())
    padded = step(state, filler, hyper())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        (plain.params, plain.sums),
        (padded.params, padded.sums),
    )


@pytest.mark.parametrize("kind", ["lstm", "bag_of_words"])
def test_what_the_loss_is_divided_by(kind):
    overrides = {
        "encoder__kind": "bag_of_words",
        "decoder__kind": kind,
        "latent__kind": "none",
        **PLAIN,
    }
    batch = sentences(rows=4)

    def moved(**more):
        state, step = prepared(**overrides, **more)
        after = step(state, batch, hyper()).params
        return np.linalg.norm(flat(after) - flat(state.params))

    tokens = int(batch.counts.sum())
    assert batch.ids.size > tokens  # pads do not count
    each = moved(train__nats_per="example")
    for protocol in ("honest", "paper"):
        moved_less = moved(train__nats_per="token", train__protocol=protocol)
        assert moved_less == pytest.approx(each * 4 / tokens, rel=1e-4)


def test_the_kl_counts_by_its_weight():
    """The same draws for every weight: what a step of SGD moves is a line in the weight."""
    settings = {**BAGS, "latent__kind": "gaussian", **PLAIN}
    state, step = prepared(**settings)
    batch = sentences(rows=4)

    def moved(weight):
        return flat(step(state, batch, hyper(kl_weight=weight)).params) - flat(state.params)

    def kl(params):
        pair = model.apply({"params": params}, batch, hyper().latent, method=VAE.encode)
        return kl_nats(pair, pair.posterior.mean[None]).mean()

    model = build_vae(small_config(**settings), WORDS)
    gradient = flat(jax.jit(jax.grad(kl))(state.params))
    pull = moved(1.0) - moved(0.0)
    rate = float(hyper().learning_rate)
    np.testing.assert_allclose(pull, -rate * gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved(0.25) - moved(0.0), 0.25 * pull, rtol=1e-4, atol=1e-6)
    assert np.abs(pull).max() > 1e-4


def test_first_bad_step_is_remembered():
    state, step = prepared(**EVERYTHING)
    batch = sentences(rows=4)
    state = step(state, batch, hyper())
    for rate in (np.nan, 0.1, 0.1):
        state = step(state, batch, hyper(learning_rate=rate))
    assert int(state.sums.first_bad_step) == 2  # the step after the update that broke it
