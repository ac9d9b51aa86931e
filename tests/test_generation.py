"""From codes to words: search, sampling, great circles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from small_models import WORDS, small_config, small_corpus

from spherical_vae.data.batch import END_ID, UNKNOWN_ID
from spherical_vae.generation.decoding import (
    WordChoice,
    decode_sentences,
    great_circle,
    likely_words,
    sentence_text,
    straight_line,
    word_scores,
)
from spherical_vae.models.vae import VAE, build_vae, call, init_params

GREEDY = WordChoice(0.0, unknown=True)


def prepared(inputless):
    config = small_config(decoder__inputless=inputless)
    model = build_vae(config, WORDS)
    params = jax.tree.map(lambda leaf: 3 * leaf, init_params(model, 0))
    z = jax.random.normal(jax.random.key(1), (3, 4))
    return model, params, z / jnp.linalg.norm(z, axis=1, keepdims=True), jnp.zeros((3, 0))


@pytest.mark.parametrize("inputless", [True, False])
def test_greedy_takes_the_likeliest_word_each_time(inputless):
    model, params, z, conditions = prepared(inputless)
    ids = decode_sentences(model, params, z, conditions, jax.random.key(0), GREEDY, 6)
    states = call(model, params, VAE.start, z, 6)
    previous, ended = jnp.full(3, END_ID), np.zeros(3, bool)
    for place in range(6):
        states, logits = call(model, params, VAE.step, states, z, conditions, previous)
        best = np.where(ended, END_ID, logits.argmax(axis=1))
        np.testing.assert_array_equal(ids[:, place], best)
        previous, ended = jnp.asarray(best), ended | (best == END_ID)


def written_words(choice, rows=4000):
    """Returns the first words that are written from one code, and the model's logits of them."""
    model, params, z, conditions = prepared(True)
    many = jnp.broadcast_to(z[:1], (rows, 4))
    told = jnp.zeros((rows, 0))
    ids = decode_sentences(model, params, many, told, jax.random.key(2), choice, 1)
    states = call(model, params, VAE.start, z, 6)
    _, logits = call(model, params, VAE.step, states, z, conditions, jnp.full(3, END_ID))
    return np.asarray(ids)[:, 0], np.asarray(logits, np.float64)[0]


def is_sampled_from(words, expected):
    """Whether each of 12 words is within five standard errors: no, once in 150,000 seeds."""
    found = np.bincount(words, minlength=WORDS) / len(words)
    error = 5 * np.sqrt(expected * (1 - expected) / len(words)) + 1e-4
    return bool((np.abs(found - expected) <= error).all())


def test_sampled_first_words_follow_the_model():
    words, logits = written_words(WordChoice(0.7, unknown=True))
    assert is_sampled_from(words, softmax(logits / 0.7))
    # Power: the model at temperature 1 is told apart.
    assert not is_sampled_from(words, softmax(logits))


def test_without_the_unknown_word_the_others_keep_their_proportions():
    words, logits = written_words(WordChoice())
    # Power: the model writes it, too often to be missed.
    assert not is_sampled_from(words, softmax(logits))
    logits[UNKNOWN_ID] = -np.inf
    assert is_sampled_from(words, softmax(logits))


def test_without_the_unknown_word_the_likeliest_other_is_taken():
    model, params, z, conditions = prepared(True)
    params["decoder"]["words"]["bias"] = params["decoder"]["words"]["bias"].at[UNKNOWN_ID].set(50)
    arguments = (model, params, z, conditions, jax.random.key(0))
    assert (np.asarray(decode_sentences(*arguments, GREEDY, 6)) == UNKNOWN_ID).all()
    others = decode_sentences(*arguments, WordChoice(0.0), 6)
    params["decoder"]["words"]["bias"] = params["decoder"]["words"]["bias"].at[UNKNOWN_ID].set(-50)
    np.testing.assert_array_equal(others, decode_sentences(*arguments, GREEDY, 6))


def test_nucleus_sampling():
    words, logits = written_words(WordChoice(2.0, 0.6, unknown=True))
    weights = softmax(logits / 2.0)
    order = np.argsort(-weights)
    size = next(n for n in range(1, WORDS + 1) if weights[order[:n]].sum() >= 0.6)
    assert 1 < size < WORDS - 1
    weights[order[size:]] = 0
    assert is_sampled_from(words, weights / weights.sum())
    # Power: one word fewer or more is told apart.
    assert set(words) == set(order[:size])


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        (WordChoice(unknown=True), [0, 1, 2, 3]),
        (WordChoice(), [1, 2, 3]),
        # Of 0.4, 0.3, 0.2 and 0.1, in another order.
        (WordChoice(top_p=0.39, unknown=True), [2]),
        (WordChoice(top_p=0.41, unknown=True), [0, 2]),
        (WordChoice(top_p=0.69, unknown=True), [0, 2]),
        (WordChoice(top_p=0.71, unknown=True), [0, 2, 3]),
        (WordChoice(top_p=0.91, unknown=True), [0, 1, 2, 3]),
        (WordChoice(top_p=1e-46, unknown=True), [2]),
        # Of 4/7, 2/7 and 1/7, once the unknown word is excluded.
        (WordChoice(top_p=0.58), [2, 3]),
        (WordChoice(top_p=0.56), [2]),
        # Of 16, 9, 4 and 1 in 30.
        (WordChoice(0.5, top_p=0.52, unknown=True), [2]),
        (WordChoice(0.5, top_p=0.82, unknown=True), [0, 2]),
        (WordChoice(0.5, top_p=0.97, unknown=True), [0, 1, 2, 3]),
    ],
)
def test_words_that_are_kept(choice, kept):
    logits = jnp.log(jnp.array([[0.3, 0.1, 0.4, 0.2]])) + 5
    scores = np.asarray(word_scores(logits, choice))[0]
    assert np.flatnonzero(scores > -np.inf).tolist() == kept
    # What is kept is in the proportions of the temperature.
    expected = np.asarray(logits)[0] / choice.temperature
    np.testing.assert_allclose(scores[kept] - scores[2], (expected - expected[2])[kept], atol=1e-5)


def test_a_nucleus_of_equally_likely_words_is_the_smallest():
    alike = word_scores(jnp.zeros((1, 1000)), WordChoice(top_p=0.0205, unknown=True))
    assert np.isfinite(alike).sum() == 21
    logits = jnp.array([[1.0, 2.0, 1.0, 1.0, 1.0]])  # 0.40 and four times 0.15
    kept = np.isfinite(word_scores(logits, WordChoice(top_p=0.5, unknown=True)))
    assert kept.sum() == 2
    assert kept[0, 1]


def test_a_nucleus_of_one_keeps_the_unlikeliest_word():
    # Of probability 2e-9: in float32 the others have probability 1 together.
    assert np.isfinite(word_scores(jnp.array([[0.0, -20.0]]), WordChoice(unknown=True))).all()


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 2e-38, 1e38, 1e300])
def test_extreme_temperatures(temperature):
    scores = word_scores(jnp.array([[90.0, 30.0, 10.0, 20.0]]), WordChoice(temperature))
    expected = [0, 1, 0, 0] if temperature < 1 else [0, 1 / 3, 1 / 3, 1 / 3]
    np.testing.assert_allclose(jax.nn.softmax(scores)[0], expected, atol=1e-6)


def test_choices_share_a_program():
    model, params, z, conditions = prepared(True)
    before = decode_sentences._cache_size()
    for choice in (WordChoice(), WordChoice(0.5), WordChoice(0.0, 0.3, True)):
        decode_sentences(model, params, z, conditions, jax.random.key(0), choice, 5)
    assert decode_sentences._cache_size() == before + 1


def test_after_the_end_there_are_only_end_marks():
    model, params, z, _ = prepared(False)
    many = jnp.tile(z, (100, 1))
    ids = np.asarray(
        decode_sentences(
            model, params, many, jnp.zeros((300, 0)), jax.random.key(3), WordChoice(), 12
        )
    )
    ended = np.cumsum(ids == END_ID, axis=1) > 0
    assert ended.any()
    assert (ids[ended] == END_ID).all()


def test_texts():
    vocabulary = small_corpus().vocabulary
    assert sentence_text(np.array([4, 3, END_ID, END_ID]), vocabulary) == "w4 w3"
    assert sentence_text(np.array([4, 3]), vocabulary) == "w4 w3"
    assert likely_words(np.arange(WORDS) / 10, vocabulary).startswith("w11 w10 w9 ")
    assert likely_words(np.where(np.arange(WORDS) == 5, 0.0, -np.inf), vocabulary) == "w5"


@pytest.mark.parametrize("dimension", [2, 3, 50])
def test_great_circle(dimension):
    ends = np.random.default_rng(dimension).normal(size=(2, dimension))
    start, end = jnp.asarray(ends / np.linalg.norm(ends, axis=1, keepdims=True), jnp.float32)
    points = np.asarray(great_circle(start, end, 9), np.float64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(points[[0, -1]], [start, end], atol=1e-6)
    # Constant speed along the shorter arc: equal angles, which add up to the angle of the ends.
    steps = np.arccos(np.clip((points[1:] * points[:-1]).sum(axis=1), -1, 1))
    np.testing.assert_allclose(steps, np.arccos(np.clip(start @ end, -1, 1)) / 8, atol=1e-4)


@pytest.mark.parametrize("miss", [0.0, 1e-6, 1e-3])
def test_great_circle_to_the_other_side(miss):
    start = jnp.array([0.6, 0.0, 0.8])
    end = jnp.stack([-start, -start + miss * jnp.array([0.0, 1.0, 0.0])])
    end = end / jnp.linalg.norm(end, axis=-1, keepdims=True)
    points = np.asarray(great_circle(jnp.stack([start, start]), end, 5), np.float64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(points[-1], end, atol=1e-6)
    np.testing.assert_allclose((points[1:] * points[:-1]).sum(-1), 0.5**0.5, atol=1e-3)


@pytest.mark.parametrize("dimension", [2, 4, 50])
def test_great_circle_from_a_point_to_itself(dimension):
    # What rounding leaves of the difference is parallel to some of them, if it is compiled.
    points = np.random.default_rng(0).normal(size=(1000, dimension)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    path = jax.jit(great_circle, static_argnums=2)(points, points, 3)
    np.testing.assert_allclose(path, np.stack([points] * 3), atol=2e-6)


def test_straight_line():
    points = straight_line(jnp.zeros(2), jnp.array([1.0, 2.0]), 3)
    np.testing.assert_allclose(points, [[0, 0], [0.5, 1], [1, 2]])


def test_shared_noise_writes_the_same_from_the_same_code():
    model, params, z, _ = prepared(True)
    same = jnp.broadcast_to(z[:1], (5, 4))
    told = jnp.zeros((5, 0))
    key, choice = jax.random.key(4), WordChoice()
    shared = decode_sentences(model, params, same, told, key, choice, 8, True)
    np.testing.assert_array_equal(shared, jnp.broadcast_to(shared[:1], shared.shape))
    apart = decode_sentences(model, params, same, told, key, choice, 8, False)
    assert (np.asarray(apart) != np.asarray(apart)[:1]).any()
