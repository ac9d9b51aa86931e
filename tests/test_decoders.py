"""What every decoder owes: exact log-likelihoods, whatever the number of draws and the padding."""

import functools
import itertools
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
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


def numpy(tree):
    """So that nothing is computed one operation at a time, each of them compiled."""
    return jax.tree.map(np.asarray, tree)


@functools.cache
def programs(settings, words=WORDS):
    """The decoder of a configuration as JSON, and its scores in evaluation and in training."""
    decoder = build_decoder(ConfigDict(json.loads(settings)), words)

    @jax.jit
    def in_training(variables, z, conditions, batch, embeddings, dropout):
        rngs = {"dropout": jax.random.key(7)}
        return decoder.apply(variables, z, conditions, batch, embeddings, dropout, rngs=rngs)

    return decoder, jax.jit(decoder.apply), in_training


def prepared(overrides, batch, words=WORDS):
    """The three `programs`, and what they are called with."""
    found = programs(small_config(**overrides).to_json(sort_keys=True), words)
    rows = batch.ids.shape[0]
    generator = np.random.default_rng(0)

    def normal(*shape, scale=1.0):
        return (scale * generator.normal(size=shape)).astype(np.float32)

    z, conditions = normal(DRAWS, rows, DIMENSION), normal(rows, CONDITIONS)
    embeddings = normal(words, 5)
    shapes = jax.eval_shape(found[0].init, jax.random.key(3), z, conditions, batch, embeddings)
    # Some parameters start at 0, where they would show nothing.
    variables = jax.tree.map(lambda leaf: normal(*leaf.shape, scale=0.5), shapes)
    return found, (variables, z, conditions, batch, embeddings)


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_draws_and_rows_are_decoded_apart_whatever_the_padding(overrides):
    batch = numpy(sentences())
    (_, score, _), arguments = prepared(overrides, batch)
    variables, z, conditions, _, embeddings = arguments
    together = score(*arguments)
    assert together.shape == (DRAWS, 6)
    for draw, row in itertools.product(range(DRAWS), range(6)):
        one = slice(row, row + 1)
        wider = numpy(repad(rows_of(batch, [row]), 11))
        alone = score(variables, z[draw : draw + 1, one], conditions[one], wider, embeddings)
        np.testing.assert_allclose(together[draw, row], alone[0, 0], rtol=1e-5)


def stepped(decoder, arguments, previous):
    """The scores of sentences by one step after the other, each after the previous word given."""

    @jax.jit
    def total(variables, z, conditions, batch, embeddings, previous):
        def step(states, columns):
            previous, word, count = columns
            states, logits = decoder.apply(
                variables, states, z, conditions, previous, embeddings, method="step"
            )
            log_probs = jax.nn.log_softmax(logits)
            return states, count * jnp.take_along_axis(log_probs, word[:, None], 1)[:, 0]

        states = decoder.apply(variables, z, 9, method="start")
        columns = (previous.T, batch.ids.T, batch.counts.T)
        return jax.lax.scan(step, states, columns)[1].sum(axis=0)

    variables, z, *rest = arguments
    return np.stack([total(variables, each, *rest, previous) for each in z])


@pytest.mark.parametrize("overrides", LSTM_VARIANTS, ids=str)
def test_scoring_equals_stepping(overrides):
    batch = numpy(sentences())
    (decoder, score, _), arguments = prepared(overrides, batch)
    previous = np.insert(batch.ids[:, :-1], 0, END_ID, axis=1)
    found = stepped(decoder, arguments, previous)
    np.testing.assert_allclose(score(*arguments), found, rtol=1e-5)


@pytest.mark.parametrize("overrides", LSTM_VARIANTS, ids=str)
def test_sentences_up_to_a_length_have_total_probability_below_one(overrides):
    """All sentences of 4 words at most over 3 words; the rest of the mass is on longer ones."""
    words, longest = 3, 4
    rows = []
    for length in range(1, longest + 1):
        for head in itertools.product([0, 2], repeat=length - 1):
            rows.append([*head, END_ID] + [0] * (longest - length))
    ends = (np.asarray(rows) == END_ID).argmax(axis=1)
    counts = np.arange(longest) <= ends[:, None]
    # What is missing is exactly the mass of four words that are not the end, in every order.
    rest = list(itertools.product([0, 2], repeat=longest))
    ids = np.asarray([*rows, *rest], np.int32)
    counts = np.concatenate([counts, np.ones((len(rest), longest))]).astype(np.int32)
    zeros = np.zeros(len(ids), np.int32)
    batch = Batch(ids, counts, zeros, zeros)
    (_, score, _), (variables, z, conditions, _, embeddings) = prepared(overrides, batch, words)
    same_z = np.broadcast_to(z[:1, :1], (1, *z.shape[1:]))
    same_conditions = np.broadcast_to(conditions[:1], conditions.shape)
    mass = np.exp(score(variables, same_z, same_conditions, batch, embeddings))[0]
    assert mass[: len(rows)].sum() < 1
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-5)


def rates(units=0.0, state=0.0, words=0.0):
    return DropoutRates(*map(jnp.float32, (units, state, words)))


def test_nothing_is_left_out_in_evaluation_or_at_rates_of_zero():
    batch = numpy(sentences())
    (_, score, in_training), arguments = prepared(DROPS, batch)
    (_, plain, _), _ = prepared({"decoder__inputless": False}, batch)
    expected = np.asarray(plain(*arguments))
    # No key is asked for.
    np.testing.assert_array_equal(score(*arguments), expected)
    np.testing.assert_allclose(in_training(*arguments, rates()), expected, rtol=1e-5)
    for one in (rates(units=0.5), rates(state=0.5), rates(words=0.5)):
        assert np.abs(in_training(*arguments, one) - expected).max() > 1e-2


@pytest.mark.parametrize("layers", [0, 1])
def test_documents_leave_out_units_of_the_hidden_layer_alone(layers):
    overrides = {"decoder__kind": "bag_of_words", "decoder__layers": layers}
    (_, score, in_training), arguments = prepared(overrides, numpy(sentences()))
    moved = np.abs(in_training(*arguments, rates(units=0.5)) - score(*arguments)).max()
    assert moved > 1e-2 if layers else moved < 1e-4


def test_word_dropout_replaces_previous_words_and_not_what_comes_before_the_first():
    batch = numpy(sentences())
    (decoder, _, in_training), arguments = prepared(DROPS, batch)
    # At a rate of 1 every previous word is the unknown one.
    previous = np.full_like(batch.ids, UNKNOWN_ID)
    previous[:, 0] = END_ID
    found = in_training(*arguments, rates(words=1.0))
    np.testing.assert_allclose(found, stepped(decoder, arguments, previous), rtol=1e-5)


def test_word_dropout_has_its_rate():
    words = 1002
    ids = np.arange(2, words, dtype=np.int32)[None]  # every word once
    batch = Batch(ids, np.ones_like(ids), np.zeros(1, np.int32), np.zeros(1, np.int32))
    (*_, in_training), (*arguments, embeddings) = prepared(DROPS, batch, words)
    total = jax.jit(jax.grad(lambda e: in_training(*arguments, e, rates(words=0.3)).sum()))
    read = total(embeddings)
    # A word that was not read leaves no gradient in its embedding; the last is never read.
    dropped = ~np.asarray(read).any(axis=1)[2:-1]
    # Five standard errors: fails by chance once in 1.7 million seeds.
    assert abs(dropped.mean() - 0.3) < 5 * np.sqrt(0.21 / dropped.size)


def test_a_state_that_is_left_out_is_not_fed_back():
    (_, score, in_training), arguments = prepared(DROPS, numpy(sentences()))
    variables, *rest = arguments
    # All of 84 entries are left out but once in 12,000 seeds.
    found = in_training(variables, *rest, rates(state=1 - 1e-6))
    cut = dict(variables["params"])
    kernel = cut["layer_0"]["recurrent_kernel"]
    cut["layer_0"] = cut["layer_0"] | {"recurrent_kernel": np.zeros_like(kernel)}
    np.testing.assert_allclose(found, score({"params": cut}, *rest), rtol=1e-5)


@pytest.mark.parametrize("mask", ["step", "sentence"])
def test_a_sentence_has_one_mask_of_its_outputs(mask):
    batch = numpy(sentences(rows=1, longest=40, seed=3))
    steps = int(batch.counts.sum())
    assert steps > 25
    overrides = {"dropout_mask": mask, "decoder__hidden_size": 60}
    (*_, in_training), (variables, z, *rest) = prepared(overrides, batch)

    def total(kernel):
        words = variables["params"]["words"] | {"kernel": kernel}
        params = variables["params"] | {"words": words}
        return in_training({"params": params}, z[:1], *rest, rates(units=0.5)).sum()

    gradient = np.asarray(jax.jit(jax.grad(total))(variables["params"]["words"]["kernel"]))
    unused = (~gradient.any(axis=1)).mean()
    if mask == "step":
        # One of 60 units is left out at all steps once in 500,000 seeds.
        assert unused == 0
    else:
        # Five standard errors: fails by chance once in 1.7 million seeds.
        assert abs(unused - 0.5) < 5 * np.sqrt(0.25 / 60)


def test_tied_embeddings_are_taught_by_input_and_output():
    """Their gradient is that of the embeddings and of a kernel of its own, together."""
    batch = numpy(sentences())
    standard = {"decoder__inputless": False, "decoder__hidden_size": 5}
    (tied, *_), (*rest, embeddings) = prepared(standard | TIED, batch)
    (untied, *_), _ = prepared(standard, batch)

    def total(decoder, embeddings, kernel, variables, *rest):
        params = variables["params"]
        if kernel is not None:
            params = params | {"words": params["words"] | {"kernel": kernel}}
        return decoder.apply({"params": params}, *rest, embeddings).sum()

    found = jax.jit(jax.grad(partial(total, tied)))(embeddings, None, *rest)
    both = jax.jit(jax.grad(partial(total, untied), argnums=(0, 1)))
    sides = both(embeddings, embeddings.T, *rest)
    sides = [np.asarray(side) for side in sides]
    np.testing.assert_allclose(found, sides[0] + sides[1].T, rtol=1e-4, atol=1e-5)
    assert min(np.abs(side).max() for side in sides) > 1e-2


def test_documents_are_products_over_tokens():
    ids, counts, zeros = np.array([[2, 5, 0]]), np.array([[3, 1, 0]]), np.zeros(1, int)
    batch = Batch(ids, counts, zeros, zeros)
    (decoder, score, _), arguments = prepared({"decoder__kind": "bag_of_words"}, batch)
    word_log_probs = jax.jit(partial(decoder.apply, method="word_log_probs"))
    words = np.asarray(word_log_probs(*arguments[:3]))
    np.testing.assert_allclose(np.exp(words).sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(score(*arguments), 3 * words[..., 2] + words[..., 5], rtol=1e-5)


def test_less_memory_changes_nothing():
    changes = {}, {"compute__logits_at_once": 1}, {"compute__recompute_gates": True}
    found = []
    for changed in changes:
        (_, score, _), arguments = prepared(LSTM_VARIANTS[2] | changed, numpy(sentences()))
        total = jax.jit(jax.value_and_grad(lambda *args, score=score: score(*args).sum()))
        found.append(total(*arguments))
    for other in found[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found[0], other
        )


def test_inputless_does_not_see_the_words():
    batch = numpy(sentences())
    ids, counts = batch.ids.copy(), batch.counts.copy()
    ids[:, 0] = ids[:, 0] % 10 + 2
    # Score the second word on: the first is masked out, so only its effect as input is left.
    counts[:, 0] = 0
    for overrides, sees in ((LSTM_VARIANTS[0], False), (LSTM_VARIANTS[1], True)):
        (_, score, _), (*some, _, embeddings) = prepared(overrides, batch)
        scores = [
            np.asarray(score(*some, batch._replace(ids=words, counts=counts), embeddings))
            for words in (batch.ids, ids)
        ]
        assert ((np.abs(scores[0] - scores[1]) > 1e-5) == sees).all()
