"""Swapping exchanges neighbours of one sentence and nothing else."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_config, small_corpus

from paper.measures.swaps import PROBABILITIES, swap_cosines, swap_pairs
from spherical_vae.data.batch import END_ID
from spherical_vae.data.corpus import Split
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.parallel.sharding import data_mesh
from spherical_vae.runs.trained_model import TrainedModel

SENTENCES = st.lists(st.lists(st.integers(2, 9), max_size=9), min_size=1, max_size=8)


def split_of(sentences):
    marked = [[*words, END_ID] for words in sentences]
    offsets = np.cumsum([0, *map(len, marked)])
    return Split(np.concatenate(marked).astype(np.int32), None, offsets.astype(np.int64), None)


def sentences_of(split):
    return [split.ids[a:b].tolist() for a, b in zip(split.offsets, split.offsets[1:], strict=False)]


def swapped(split, probability, seed=0):
    return swap_pairs(split, probability, np.random.default_rng(seed))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SENTENCES, st.floats(0, 1), st.integers(0, 2**16))
def test_words_stay_in_their_sentence_and_move_by_one_place(sentences, probability, seed):
    # Told apart by their place, so that what moved where can be seen.
    named = [[2 + i for i, _ in enumerate(words)] for words in sentences]
    before = split_of(named)
    after = swapped(before, probability, seed)
    for was, now in zip(sentences_of(before), sentences_of(after), strict=True):
        assert sorted(was) == sorted(now)
        assert now[-1] == END_ID
        pairs = [now[i : i + 2] for i in range(0, len(was) - 2, 2)]
        for i, pair in enumerate(pairs):
            kept = [2 + 2 * i, 3 + 2 * i]
            assert pair in (kept, kept[::-1])
        assert (len(was) - 1) % 2 == 0 or now[-2] == was[-2]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SENTENCES, st.integers(0, 2**16))
def test_never_and_always(sentences, seed):
    before = split_of(sentences)
    untouched = before.ids.copy()
    assert sentences_of(swapped(before, 0.0, seed)) == sentences_of(before)
    for words, now in zip(sentences, sentences_of(swapped(before, 1.0, seed)), strict=True):
        turned = [word for i in range(0, len(words), 2) for word in words[i : i + 2][::-1]]
        assert now == [*turned, END_ID]
    np.testing.assert_array_equal(before.ids, untouched)


def test_as_many_pairs_are_swapped_as_asked_and_a_larger_share_has_the_smaller_in_it():
    before = split_of([list(range(2, 12))] * 2_000)
    previous = np.zeros(len(before.ids), bool)
    for probability in (0.2, 0.5, 0.9):
        moved = swapped(before, probability, seed=1).ids != before.ids
        # 10,000 pairs: within 4.5 deviations, which fails once in 50,000 seeds of three each.
        error = np.sqrt(probability * (1 - probability) / 10_000)
        assert moved.sum() / 2 / 10_000 == pytest.approx(probability, abs=4.5 * error)
        assert (previous <= moved).all()
        previous = moved
    assert (swapped(before, 0.5, seed=2).ids != swapped(before, 0.5, seed=1).ids).any()


@pytest.mark.parametrize("kind", ["vmf", "gaussian"])
def test_the_code_of_an_lstm_moves_further_the_more_is_swapped(kind):
    config, corpus = small_config(latent__kind=kind), small_corpus()
    model = build_vae(config, len(corpus.vocabulary))
    # Fresh embeddings are small: enlarged, so that the encoder tells words apart.
    params = init_params(model, 0) | {
        "word_embeddings": 3 * jax.random.normal(jax.random.key(1), (12, config.embedding_size))
    }
    mesh = data_mesh(config.train.batch_size, 1)
    found = swap_cosines(TrainedModel(config, corpus, model, params, 0, 0, 0, mesh))
    assert [swap.probability for swap in found] == list(PROBABILITIES)
    assert found[0].mean_cosine == pytest.approx(1, abs=1e-6)
    assert found[0].standard_error < 1e-6
    assert found[-1].mean_cosine < found[5].mean_cosine < 1 - 1e-4
    assert found[-1].standard_error > 0


def test_a_code_that_does_not_read_the_order_does_not_move():
    """The power of the test above: a bag-of-words encoder on the same sentences."""
    config, corpus = small_config(encoder__kind="bag_of_words"), small_corpus()
    model = build_vae(config, len(corpus.vocabulary))
    mesh = data_mesh(config.train.batch_size, 1)
    trained = TrainedModel(config, corpus, model, init_params(model, 0), 0, 0, 0, mesh)
    found = swap_cosines(trained)
    for swap in found:
        assert swap.mean_cosine == pytest.approx(1, abs=1e-6)
