"""What every encoder owes: a vector that depends on its example alone."""

import jax
import numpy as np
import pytest
from small_models import WORDS, repad, rows_of, sentences, small_config

from spherical_vae.models.encoders import build_encoder
from spherical_vae.models.encoders.lstm import reverse_sentences

VARIANTS = [
    {"encoder__kind": "lstm"},
    {"encoder__kind": "lstm", "encoder__layers": 2},
    {"encoder__kind": "lstm", "encoder__bidirectional": True},
    {"encoder__kind": "lstm", "encoder__bidirectional": True, "encoder__layers": 2},
    {"encoder__kind": "lstm", "encoder__pooling": "mean_max"},
    {"encoder__kind": "lstm", "encoder__pooling": "mean_max", "encoder__bidirectional": True},
    {"encoder__kind": "bag_of_words", "encoder__layers": 2},
    {"encoder__kind": "bag_of_words", "encoder__counts": "raw"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_same_example_in_another_batch(variant):
    encoder = build_encoder(small_config(**variant), WORDS)
    embeddings = jax.random.normal(jax.random.key(0), (WORDS, 5))
    batch = sentences()
    variables = jax.jit(encoder.init)(jax.random.key(1), batch, embeddings)
    apply = jax.jit(encoder.apply)
    together = apply(variables, batch, embeddings)
    wider = apply(variables, repad(batch, 13), embeddings)
    np.testing.assert_allclose(together, wider, rtol=1e-5, atol=1e-6)
    for row in range(len(batch.ids)):
        alone = apply(variables, rows_of(batch, [row]), embeddings)
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_word_is_read(variant):
    encoder = build_encoder(small_config(**variant), WORDS)
    embeddings = jax.random.normal(jax.random.key(0), (WORDS, 5))
    batch = sentences(rows=1, longest=6, seed=3)
    variables = jax.jit(encoder.init)(jax.random.key(1), batch, embeddings)
    apply = jax.jit(encoder.apply)
    before = apply(variables, batch, embeddings)
    for place in range(int(batch.counts.sum())):
        other = 2 + (batch.ids[0, place] + 1) % (WORDS - 2)
        changed = batch.ids.at[0, place].set(other)
        after = apply(variables, batch._replace(ids=changed), embeddings)
        assert np.abs(before - after).max() > 1e-4, f"word {place} has no effect"


def test_filler_rows_stay_finite():
    for variant in VARIANTS:
        encoder = build_encoder(small_config(**variant), WORDS)
        embeddings = jax.random.normal(jax.random.key(0), (WORDS, 5))
        batch = sentences()
        empty = batch._replace(ids=batch.ids * 0, counts=batch.counts * 0)
        variables = jax.jit(encoder.init)(jax.random.key(1), batch, embeddings)
        assert np.isfinite(jax.jit(encoder.apply)(variables, empty, embeddings)).all()


def test_reverse_sentences():
    values = np.arange(4, dtype=np.float32)[:, None, None] + np.zeros((4, 2, 1), np.float32)
    turned = reverse_sentences(jax.numpy.asarray(values), jax.numpy.array([3, 4]))
    np.testing.assert_array_equal(turned[:3, 0, 0], [2, 1, 0])
    np.testing.assert_array_equal(turned[:, 1, 0], [3, 2, 1, 0])
