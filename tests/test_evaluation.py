"""The evaluator gives every example its own numbers, whatever batch it was in."""

import dataclasses

import jax
import numpy as np
import pytest
from small_models import small_config, small_corpus

from paper.measures.tight import take
from spherical_vae.data.batches import corpus_boundaries, evaluation_batches
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.measures import build_evaluator, measure_model
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.models.vae import VAE, build_vae, init_params
from spherical_vae.parallel.sharding import evaluation_mesh
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.errors import UserError

BAGS = {"encoder__kind": "bag_of_words", "decoder__kind": "bag_of_words"}


@pytest.mark.parametrize(("kind", "parts"), [("sequences", {}), ("bags", BAGS)])
def test_posteriors_are_in_the_order_of_the_split(kind, parts):
    """Batches go by length: table 6 sets each code beside the words of its own sentence."""
    config, corpus = small_config(data__buckets=3, **parts), small_corpus(kind)
    model = build_vae(config, len(corpus.vocabulary))
    params = init_params(model, 0)
    test, boundaries = corpus.splits["test"], corpus_boundaries(corpus, 3)
    widths = [batch.ids.shape[1] for batch in evaluation_batches(test, 4, boundaries)]
    assert len(set(widths)) > 1
    hyper = latent_hyperparameters(config.latent)
    found = Evaluator(model, config, corpus).latent_pair(params, "test").posterior.mean
    encode = jax.jit(
        lambda batch: (
            model.apply({"params": params}, batch, hyper, method=VAE.encode).posterior.mean
        )
    )
    for i in range(len(test)):
        (alone,) = evaluation_batches(take(test, np.asarray([i])), 1, boundaries[-1:])
        np.testing.assert_allclose(found[i], encode(alone)[0], rtol=1e-4, atol=1e-5)
    distances = np.linalg.norm(np.asarray(found)[:, None] - np.asarray(found), axis=-1)
    # So that hardly another would do: bags may be the same twice.
    assert (np.sort(distances, axis=1)[:, 1] > 1e-3).sum() >= 8


def measured(config, corpus, protocol):
    model = build_vae(config, len(corpus.vocabulary))
    mesh = evaluation_mesh(config.evaluation.batch_size)
    trained = TrainedModel(config, corpus, model, init_params(model, 0), 1, 1, 1, mesh)
    return measure_model(build_evaluator(trained), trained, "test", protocol=protocol)


def test_the_papers_units_are_those_of_its_code():
    """Slots of batches of 20 sorted by length, whatever ours are, times the mean words of train."""
    config, corpus = small_config(latent__kind="none"), small_corpus(examples=50)
    train = corpus.splits["train"]
    some = take(train, np.arange(33))
    corpus = dataclasses.replace(corpus, splits={**corpus.splits, "test": some})
    found, _ = measured(config, corpus, "paper")
    honest, nats = measured(config, corpus, "honest")
    lengths = sorted(map(int, np.diff(some.offsets)))
    slots = 20 * lengths[19] + 13 * lengths[32]
    # Without a code its nats are the honest ones.
    total = nats.nll_nats.sum()
    assert found["perplexity"] == pytest.approx(np.exp(total / slots), rel=1e-5)
    words = np.diff(train.offsets).mean() - 1
    assert words != pytest.approx(np.mean(lengths) - 1, rel=1e-3)
    assert found["nll_nats"] == pytest.approx(total / slots * words, rel=1e-5)
    assert found["perplexity"] < honest["perplexity"]


@pytest.mark.thorough
def test_the_averaged_latent_is_charged_for_what_it_carries():
    honest, _ = measured(small_config(), small_corpus(), "honest")
    found, _ = measured(small_config(), small_corpus(), "averaged")
    assert found["kl_nats"] > 1.3 * honest["kl_nats"]
    assert found["nll_nats"] == pytest.approx(found["reconstruction_nats"] + found["kl_nats"])
    assert found["iw_nll_nats"] is found["importance_samples"] is None
    assert "a bound on log p(x)" in found["note"]


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(UserError, match="averaged"):
        measured(small_config(latent__kind="gaussian"), small_corpus(), "averaged")
