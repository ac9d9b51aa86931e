"""From codes to words: search, sampling, great circles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import WORDS, small_config, small_corpus

from spherical_vae.data.corpus import END_ID
from spherical_vae.generation import (
    decode_sentences,
    great_circle,
    likely_words,
    sentence_text,
    straight_line,
)
from spherical_vae.vae import VAE, build_vae, call, init_params

pytestmark = pytest.mark.usefixtures("quick_to_compile")


def prepared(inputless):
    config = small_config(decoder__inputless=inputless)
    model = build_vae(config, WORDS)
    params = jax.tree.map(lambda leaf: 3 * leaf, init_params(model, 0))
    z = jax.random.normal(jax.random.key(1), (3, 4))
    return model, params, z / jnp.linalg.norm(z, axis=1, keepdims=True), jnp.zeros((3, 0))


@pytest.mark.parametrize("inputless", [True, False])
def test_greedy_takes_the_likeliest_word_each_time(inputless):
    model, params, z, conditions = prepared(inputless)
    ids = decode_sentences(model, params, z, conditions, jax.random.key(0), jnp.float32(0), 6)
    states = call(model, params, VAE.start, z)
    previous, ended = jnp.full(3, END_ID), np.zeros(3, bool)
    for place in range(6):
        states, logits = call(model, params, VAE.step, states, z, conditions, previous)
        best = np.where(ended, END_ID, logits.argmax(axis=1))
        np.testing.assert_array_equal(ids[:, place], best)
        previous, ended = jnp.asarray(best), ended | (best == END_ID)


def test_sampled_first_words_follow_the_model():
    model, params, z, conditions = prepared(True)
    rows, temperature = 4000, 0.7
    many = jnp.broadcast_to(z[:1], (rows, 4))
    ids = decode_sentences(
        model, params, many, jnp.zeros((rows, 0)), jax.random.key(2), jnp.float32(temperature), 1
    )
    states = call(model, params, VAE.start, z)
    _, logits = call(model, params, VAE.step, states, z, conditions, jnp.full(3, END_ID))
    expected = np.asarray(jax.nn.softmax(logits[0] / temperature))
    found = np.bincount(np.asarray(ids)[:, 0], minlength=WORDS) / rows
    # Five standard errors in 12 words: fails by chance once in 150,000 seeds.
    error = 5 * np.sqrt(expected * (1 - expected) / rows) + 1e-4
    assert (np.abs(found - expected) <= error).all()
    # Power: the model at temperature 1 is told apart.
    assert (np.abs(found - np.asarray(jax.nn.softmax(logits[0]))) > error).any()


def test_after_the_end_there_are_only_end_marks():
    model, params, z, _ = prepared(False)
    many = jnp.tile(z, (100, 1))
    ids = np.asarray(
        decode_sentences(
            model, params, many, jnp.zeros((300, 0)), jax.random.key(3), jnp.float32(1), 12
        )
    )
    ended = np.cumsum(ids == END_ID, axis=1) > 0
    assert ended.any()
    assert (ids[ended] == END_ID).all()


def test_texts():
    vocabulary = small_corpus().vocabulary
    assert sentence_text(np.array([4, 3, END_ID, END_ID]), vocabulary) == "w4 w3"
    assert sentence_text(np.array([4, 3]), vocabulary) == "w4 w3"
    assert likely_words(np.arange(WORDS) / 10, vocabulary, 2) == "w11 w10"


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


def test_great_circle_from_a_point_to_itself():
    point = jnp.array([0.6, 0.8])
    np.testing.assert_allclose(great_circle(point, point, 3), jnp.tile(point, (3, 1)), atol=1e-6)


def test_straight_line():
    points = straight_line(jnp.zeros(2), jnp.array([1.0, 2.0]), 3)
    np.testing.assert_allclose(points, [[0, 0], [0.5, 1], [1, 2]])


def test_shared_noise_writes_the_same_from_the_same_code():
    model, params, z, _ = prepared(True)
    same = jnp.broadcast_to(z[:1], (5, 4))
    told = jnp.zeros((5, 0))
    key, temperature = jax.random.key(4), jnp.float32(1)
    shared = decode_sentences(model, params, same, told, key, temperature, 8, True)
    np.testing.assert_array_equal(shared, jnp.broadcast_to(shared[:1], shared.shape))
    apart = decode_sentences(model, params, same, told, key, temperature, 8, False)
    assert (np.asarray(apart) != np.asarray(apart)[:1]).any()
