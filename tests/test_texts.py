"""Texts from codes: of given examples, of the prior, and of models that have none."""

import jax
import numpy as np
import pytest
from small_models import WORDS, small_config, small_corpus

from spherical_vae.data.batch import UNKNOWN_ID
from spherical_vae.data.given_texts import encode_texts
from spherical_vae.generation.decoding import WordChoice
from spherical_vae.generation.texts import (
    all_examples,
    interpolation_texts,
    prior_texts,
    reconstruction_texts,
    sample_examples,
)
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.parallel.sharding import evaluation_mesh
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.errors import UserError
from spherical_vae.training.comparison import sample_texts

KEY = jax.random.key(0)
TEXTS = ["w3 w4 w2 w6", "w9 w8 w11"]
GREEDY = WordChoice(0.0)
BAGS = {"encoder__kind": "bag_of_words", "decoder__kind": "bag_of_words"}


def untrained(kind="sequences", **overrides):
    """Returns a model with large random weights, so that what it writes depends on its codes."""
    config = small_config(**overrides)
    config.data.name, config.data.max_length = "text", 9
    model = build_vae(config, WORDS)
    params = jax.tree.map(lambda leaf: 4 * leaf, init_params(model, 0))
    mesh = evaluation_mesh(config.evaluation.batch_size)
    return TrainedModel(config, small_corpus(kind), model, params, 1, 1, 1, mesh)


def given(trained, *texts):
    return all_examples(encode_texts(texts, trained.corpus, trained.config.data).examples)


@pytest.mark.parametrize("kind", ["vmf", "gaussian"])
def test_a_walk_begins_and_ends_where_its_texts_are_reconstructed(kind):
    trained = untrained(latent__kind=kind)
    ends = given(trained, *TEXTS)
    first, *between, last = interpolation_texts(trained, KEY, ends, 5, GREEDY)
    assert [first, last] == [f"[{text}]" for text in TEXTS]
    pairs = reconstruction_texts(trained, KEY, ends, GREEDY)
    assert [original for original, _ in pairs] == TEXTS
    assert [between[0], between[-1]] == [written for _, written in pairs]
    assert between[0] != between[-1]
    # The way back.
    back = interpolation_texts(trained, KEY, given(trained, *reversed(TEXTS)), 5, GREEDY)
    assert back == [last, *reversed(between), first]


def test_a_text_is_reconstructed_as_the_same_example_of_a_split():
    trained = untrained()
    examples = sample_examples(trained.corpus, "test", KEY, 3)
    pairs = reconstruction_texts(trained, KEY, examples, WordChoice(0.8))
    again = given(trained, *(original for original, _ in pairs))
    assert reconstruction_texts(trained, KEY, again, WordChoice(0.8)) == pairs


def test_a_model_without_codes_has_nothing_to_reconstruct_from():
    trained = untrained(latent__kind="none")
    ends, told = given(trained, *TEXTS), r"config.latent.kind is 'none': this model has no codes"
    with pytest.raises(UserError, match=told):
        reconstruction_texts(trained, KEY, ends, GREEDY)
    with pytest.raises(UserError, match=told):
        interpolation_texts(trained, KEY, ends, 3, GREEDY)


def test_without_a_latent_the_bag_of_words_is_a_code():
    trained = untrained(latent__kind="none", condition_on_bag=True)
    first, second = reconstruction_texts(trained, KEY, given(trained, *TEXTS), GREEDY)
    assert first[1] != second[1]


@pytest.mark.thorough
def test_the_main_job_shows_a_walk_if_the_model_has_codes():
    lines = sample_texts(untrained(latent__kind="none"))
    assert len(lines) == 6
    lines = sample_texts(untrained())
    assert len(lines) == 6 + 1 + 9
    assert not any("<unk>" in line for line in lines[:6])


def test_prior_texts_have_the_unknown_word_only_if_it_is_asked_for():
    trained = untrained()
    bias = trained.params["decoder"]["words"]["bias"]
    trained.params["decoder"]["words"]["bias"] = bias.at[UNKNOWN_ID].add(5)
    texts = prior_texts(trained, KEY, 20, WordChoice(), label=0)
    assert not any("<unk>" in text for text in texts)
    texts = prior_texts(trained, KEY, 20, WordChoice(unknown=True), label=0)
    assert sum("<unk>" in text for text in texts) > 10


@pytest.mark.thorough
def test_many_texts_are_written_in_parts():
    trained = untrained()
    texts = prior_texts(trained, KEY, 300, WordChoice(), label=0)
    assert texts[:256] == prior_texts(trained, KEY, 256, WordChoice(), label=0)
    # The others have noise of their own, but on a walk, where all share it.
    assert len(texts) == 300
    assert texts[256:] != texts[:44]
    ends = given(trained, TEXTS[0], TEXTS[0])
    _, *between, _ = interpolation_texts(trained, KEY, ends, 300, WordChoice())
    assert len(set(between)) == 1


def test_likely_words_of_sentences_are_words():
    trained = untrained(**BAGS)
    texts = prior_texts(trained, KEY, 2, WordChoice(), label=0)
    assert all(set(text.split()) == {f"w{i}" for i in range(2, WORDS)} for text in texts)
    texts = prior_texts(trained, KEY, 2, WordChoice(unknown=True), label=0)
    assert all("<unk>" in text and "</s>" not in text for text in texts)


def test_documents_are_reconstructed():
    trained = untrained("bags", **BAGS)
    pairs = reconstruction_texts(trained, KEY, given(trained, "w3 w5 w3 ox", "w9"), WordChoice())
    assert [original for original, _ in pairs] == ["w3 w5", "w9"]
    assert pairs[0][1] != pairs[1][1]


def test_a_split_has_so_many_examples():
    with pytest.raises(UserError, match="--split=valid: it has 12 examples, 13 are needed"):
        sample_examples(small_corpus(), "valid", KEY, 13)
    rows = sample_examples(small_corpus(), "valid", KEY, 12).index
    np.testing.assert_array_equal(np.sort(rows), np.arange(12))
