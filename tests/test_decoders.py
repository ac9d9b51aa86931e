"""What every decoder owes: exact log-likelihoods, whatever the number of draws and the padding."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import WORDS, repad, rows_of, sentences, small_config

from spherical_vae.data.batch import END_ID, UNKNOWN_ID, Batch
from spherical_vae.models.decoders import build_decoder
from spherical_vae.models.layers import DropoutRates

# All that a sentence decoder can leave out in training.
DROPS = {
    "decoder__inputless": False,
    "dropout_mask": "sentence",
    "state_dropout_rate": 0.2,
    "word_dropout_rate": 0.3,
}
# Embeddings have 5 entries here.
TIED = {"decoder__tied_embeddings": True, "decoder__hidden_size": 5}
LSTM_VARIANTS = [
    {"decoder__kind": "lstm", "decoder__inputless": True},
    {"decoder__kind": "lstm", "decoder__inputless": False},
    {"decoder__kind": "lstm", "decoder__inputless": False, "decoder__layers": 2},
    TIED,
    {"decoder__tied_embeddings": True, "decoder__inputless": False},
    DROPS | TIED | {"decoder__layers": 2},
]
VARIANTS = [
    *LSTM_VARIANTS,
    {"decoder__kind": "bag_of_words", "decoder__layers": 0},
    {"decoder__kind": "bag_of_words", "decoder__layers": 1},
    {"decoder__kind": "bag_of_words", "decoder__layers": 1, "decoder__skip": True},
]
DIMENSION, CONDITIONS, DRAWS = 4, 3, 2


def prepared(overrides, batch, words=WORDS):
    decoder = build_decoder(small_config(**overrides), words)
    rows = batch.ids.shape[0]
    z = jax.random.normal(jax.random.key(0), (DRAWS, rows, DIMENSION))
    conditions = jax.random.normal(jax.random.key(1), (rows, CONDITIONS))
    embeddings = jax.random.normal(jax.random.key(2), (words, 5))
    variables = jax.jit(decoder.init)(jax.random.key(3), z, conditions, batch, embeddings)
    # Some parameters start at 0, where they would show nothing.
    variables = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(4), leaf.shape), variables
    )
    return decoder, variables, z, conditions, embeddings


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_draws_are_decoded_apart(overrides):
    batch = sentences()
    decoder, variables, z, conditions, embeddings = prepared(overrides, batch)
    apply = jax.jit(decoder.apply)
    together = apply(variables, z, conditions, batch, embeddings)
    assert together.shape == (DRAWS, 6)
    for draw in range(DRAWS):
        alone = apply(variables, z[draw : draw + 1], conditions, batch, embeddings)
        np.testing.assert_allclose(together[draw], alone[0], rtol=1e-5)
    wider = apply(variables, z, conditions, repad(batch, 11), embeddings)
    np.testing.assert_allclose(together, wider, rtol=1e-5)
    row = apply(variables, z[:, 2:3], conditions[2:3], rows_of(batch, [2]), embeddings)
    np.testing.assert_allclose(together[:, 2:3], row, rtol=1e-5)


@pytest.mark.parametrize("overrides", LSTM_VARIANTS, ids=str)
def test_scoring_equals_stepping(overrides):
    batch = sentences(rows=3)
    decoder, variables, z, conditions, embeddings = prepared(overrides, batch)
    scored = jax.jit(decoder.apply)(variables, z[:1], conditions, batch, embeddings)[0]
    states = decoder.apply(variables, z[0], 9, method="start")
    step = jax.jit(lambda *args: decoder.apply(variables, *args, method="step"))
    previous, total = jnp.full(3, END_ID), np.zeros(3)
    for place in range(batch.ids.shape[1]):
        states, logits = step(states, z[0], conditions, previous, embeddings)
        log_probs = np.asarray(jax.nn.log_softmax(logits))
        previous = batch.ids[:, place]
        total += log_probs[np.arange(3), previous] * batch.counts[:, place]
    np.testing.assert_allclose(scored, total, rtol=1e-5)


@pytest.mark.parametrize("overrides", LSTM_VARIANTS, ids=str)
def test_sentences_up_to_a_length_have_total_probability_below_one(overrides):
    """All sentences of 4 words at most over 3 words; the rest of the mass is on longer ones."""
    words, longest = 3, 4
    rows = []
    for length in range(1, longest + 1):
        for head in itertools.product([0, 2], repeat=length - 1):
            rows.append([*head, END_ID] + [0] * (longest - length))
    ids = np.asarray(rows, np.int32)
    ends = (ids == END_ID).argmax(axis=1)
    counts = (np.arange(longest) <= ends[:, None]).astype(np.int32)
    zeros = jnp.zeros(len(rows), jnp.int32)
    batch = Batch(jnp.asarray(ids), jnp.asarray(counts), zeros, zeros)
    decoder, variables, z, conditions, embeddings = prepared(overrides, batch, words)

    def total(batch: Batch) -> float:
        size = len(batch.ids)
        same_z = jnp.broadcast_to(z[:1, :1], (1, size, DIMENSION))
        same_conditions = jnp.broadcast_to(conditions[:1], (size, CONDITIONS))
        scores = jax.jit(decoder.apply)(variables, same_z, same_conditions, batch, embeddings)
        return float(np.exp(scores).sum())

    # What is missing is exactly the mass of four words that are not the end, in every order.
    open_ids = jnp.asarray(list(itertools.product([0, 2], repeat=longest)), jnp.int32)
    nothing = jnp.zeros(len(open_ids), jnp.int32)
    rest = Batch(open_ids, jnp.ones_like(open_ids), nothing, nothing)
    assert total(batch) < 1
    np.testing.assert_allclose(total(batch) + total(rest), 1, rtol=1e-5)


def rates(units=0.0, state=0.0, words=0.0):
    return DropoutRates(*map(jnp.float32, (units, state, words)))


def in_training(decoder, dropout, batch, key=7):
    """A function of what `prepared` gives: the scores with these rates."""

    @jax.jit
    def score(variables, z, conditions, embeddings):
        rngs = {"dropout": jax.random.key(key)}
        return decoder.apply(variables, z, conditions, batch, embeddings, dropout, rngs=rngs)

    return score


def test_nothing_is_left_out_in_evaluation_or_at_rates_of_zero():
    batch = sentences()
    decoder, *arguments = prepared(DROPS, batch)
    variables, z, conditions, embeddings = arguments
    plain, *_ = prepared({"decoder__inputless": False}, batch)
    expected = plain.apply(variables, z, conditions, batch, embeddings)
    # No key is asked for.
    found = decoder.apply(variables, z, conditions, batch, embeddings)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(
        in_training(decoder, rates(), batch)(*arguments), expected, rtol=1e-5
    )
    for one in (rates(units=0.5), rates(state=0.5), rates(words=0.5)):
        found = in_training(decoder, one, batch)(*arguments)
        assert np.abs(found - expected).max() > 1e-2


def test_word_dropout_replaces_previous_words_and_not_what_comes_before_the_first():
    batch = sentences(rows=3)
    decoder, *arguments = prepared(DROPS, batch)
    variables, z, conditions, embeddings = arguments
    # At a rate of 1 every previous word is the unknown one.
    found = in_training(decoder, rates(words=1.0), batch)(*arguments)
    for draw in range(DRAWS):
        states = decoder.apply(variables, z[draw], 9, method="start")
        step = jax.jit(lambda *args: decoder.apply(variables, *args, method="step"))
        previous, total = jnp.full(3, END_ID), np.zeros(3)
        for place in range(batch.ids.shape[1]):
            states, logits = step(states, z[draw], conditions, previous, embeddings)
            log_probs = np.asarray(jax.nn.log_softmax(logits))
            total += log_probs[np.arange(3), batch.ids[:, place]] * batch.counts[:, place]
            previous = jnp.full(3, UNKNOWN_ID)
        np.testing.assert_allclose(found[draw], total, rtol=1e-5)


def test_word_dropout_has_its_rate():
    words = 1002
    ids = jnp.arange(2, words, dtype=jnp.int32)[None]  # every word once
    batch = Batch(ids, jnp.ones_like(ids), jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
    decoder, variables, z, conditions, embeddings = prepared(DROPS, batch, words)
    score = in_training(decoder, rates(words=0.3), batch)
    read = jax.grad(lambda e: score(variables, z, conditions, e).sum())(embeddings)
    # A word that was not read leaves no gradient in its embedding; the last is never read.
    dropped = ~np.asarray(read).any(axis=1)[2:-1]
    # Five standard errors: fails by chance once in 1.7 million seeds.
    assert abs(dropped.mean() - 0.3) < 5 * np.sqrt(0.21 / dropped.size)


def test_a_state_that_is_left_out_is_not_fed_back():
    batch = sentences()
    decoder, variables, *rest = prepared(DROPS, batch)
    # All of 84 entries are left out but once in 12,000 seeds.
    found = in_training(decoder, rates(state=1 - 1e-6), batch)(variables, *rest)
    cut = dict(variables["params"])
    kernel = cut["layer_0"]["recurrent_kernel"]
    cut["layer_0"] = cut["layer_0"] | {"recurrent_kernel": jnp.zeros_like(kernel)}
    expected = decoder.apply({"params": cut}, rest[0], rest[1], batch, rest[2])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("mask", ["step", "sentence"])
def test_a_sentence_has_one_mask_of_its_outputs(mask):
    batch = sentences(rows=1, longest=40, seed=3)
    steps = int(batch.counts.sum())
    assert steps > 25
    overrides = {"dropout_mask": mask, "decoder__hidden_size": 60}
    decoder, variables, z, conditions, embeddings = prepared(overrides, batch)
    score = in_training(decoder, rates(units=0.5), batch)

    def total(kernel):
        words = variables["params"]["words"] | {"kernel": kernel}
        params = variables["params"] | {"words": words}
        return score({"params": params}, z[:1], conditions, embeddings).sum()

    gradient = np.asarray(jax.grad(total)(variables["params"]["words"]["kernel"]))
    unused = (~gradient.any(axis=1)).mean()
    if mask == "step":
        # One of 60 units is left out at all steps once in 500,000 seeds.
        assert unused == 0
    else:
        # Five standard errors: fails by chance once in 1.7 million seeds.
        assert abs(unused - 0.5) < 5 * np.sqrt(0.25 / 60)


def test_tied_embeddings_are_taught_by_input_and_output():
    """Their gradient is that of the embeddings and of a kernel of its own, together."""
    batch = sentences()
    standard = {"decoder__inputless": False, "decoder__hidden_size": 5}
    tied, variables, z, conditions, embeddings = prepared(standard | TIED, batch)
    untied, *_ = prepared(standard, batch)

    def total(decoder, embeddings, kernel=None):
        params = variables["params"]
        if kernel is not None:
            params = params | {"words": params["words"] | {"kernel": kernel}}
        return decoder.apply({"params": params}, z, conditions, batch, embeddings).sum()

    found = jax.jit(jax.grad(partial(total, tied)))(embeddings)
    sides = jax.jit(jax.grad(partial(total, untied), argnums=(0, 1)))(embeddings, embeddings.T)
    np.testing.assert_allclose(found, sides[0] + sides[1].T, rtol=1e-4, atol=1e-5)
    assert min(np.abs(side).max() for side in sides) > 1e-2


def test_documents_are_products_over_tokens():
    batch = Batch(
        jnp.array([[2, 5, 0]]), jnp.array([[3, 1, 0]]), jnp.zeros(1, int), jnp.zeros(1, int)
    )
    decoder, variables, z, conditions, embeddings = prepared(
        {"decoder__kind": "bag_of_words"}, batch
    )
    scores = decoder.apply(variables, z, conditions, batch, embeddings)
    words = decoder.apply(variables, z, conditions, method="word_log_probs")
    np.testing.assert_allclose(np.exp(words).sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(scores, 3 * words[..., 2] + words[..., 5], rtol=1e-5)


@pytest.mark.parametrize(
    "changed", [{"compute__logits_at_once": 1}, {"compute__recompute_gates": True}], ids=str
)
def test_less_memory_changes_nothing(changed):
    batch = sentences()
    decoder, variables, *rest = prepared(LSTM_VARIANTS[2], batch)
    other, *_ = prepared(LSTM_VARIANTS[2] | changed, batch)

    def total(decoder, variables):
        return decoder.apply(variables, rest[0], rest[1], batch, rest[2]).sum()

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        *(jax.jit(jax.value_and_grad(partial(total, d)))(variables) for d in (decoder, other)),
    )


def test_inputless_does_not_see_the_words():
    batch = sentences(rows=1, longest=5)
    for overrides, sees in ((LSTM_VARIANTS[0], False), (LSTM_VARIANTS[1], True)):
        decoder, variables, z, conditions, embeddings = prepared(overrides, batch)
        swapped = batch._replace(ids=batch.ids.at[0, 0].set(batch.ids[0, 0] % 10 + 2))
        # Score the second word on: the first is masked out, so only its effect as input is left.
        masked = batch.counts.at[0, 0].set(0)
        apply = jax.jit(decoder.apply)
        scores = [
            apply(variables, z, conditions, b._replace(counts=masked), embeddings)
            for b in (batch, swapped)
        ]
        assert (np.abs(scores[0] - scores[1]).max() > 1e-5) == sees
