"""The bound with many samples on some examples: tighter, with the right errors."""

import jax
import numpy as np
import pytest
from small_models import small_config, small_corpus

from paper.measures.tight import take, tight_bound
from paper.store import tight_rows
from spherical_vae.data.corpus import Split
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.parallel.sharding import data_mesh
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.trained_model import TrainedModel

SAMPLES = 16


def trained(**changed):
    config, corpus = small_config(**changed), small_corpus()
    model = build_vae(config, len(corpus.vocabulary))
    mesh = data_mesh(config.train.batch_size, 1)
    params = init_params(model, 0)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    # Fresh ones give every word the same probability.
    leaves = [
        leaf + 0.7 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return TrainedModel(config, corpus, model, structure.unflatten(leaves), 0, 0, 0, mesh)


@pytest.mark.parametrize("counted", [False, True])
def test_taken_examples_are_those_of_their_rows(counted):
    ids = np.asarray([3, 1, 4, 5, 1, 1, 2, 1], np.int32)
    split = Split(
        ids,
        ids + 10 if counted else None,
        np.asarray([0, 2, 5, 6, 8]),
        np.asarray([7, 8, 9, 6], np.int32),
    )
    some = take(split, np.asarray([3, 1]))
    assert some.ids.tolist() == [2, 1, 4, 5, 1]
    assert (None if some.counts is None else some.counts.tolist()) == (
        [12, 11, 14, 15, 11] if counted else None
    )
    assert some.offsets.tolist() == [0, 2, 5]
    assert some.labels.tolist() == [6, 8]


@pytest.fixture(scope="module")
def without_a_code():
    """The bound of a model without a code, and the nats of all of test, which are exact."""
    model = trained(latent__kind="none", evaluation__importance_samples=3, data__buckets=1)
    found = tight_bound(model, 50, len(model.corpus.splits["test"]))
    exact = Evaluator(model.model, model.config, model.corpus).nats(
        model.params, "test", root_key(0, Purpose.EVALUATE)
    )
    return found, exact.nll_nats, exact.tokens


def test_the_likelihood_of_a_model_without_a_code_is_exact(without_a_code):
    found, nats, tokens = without_a_code
    assert found.gain_nats == pytest.approx(0, abs=1e-5)
    assert found.iw_nll_nats == pytest.approx(nats.mean(), rel=1e-6)
    assert found.examples == len(nats)
    assert found.tokens == tokens.sum()
    error = nats.std(ddof=1) / np.sqrt(len(nats))
    assert found.iw_nll_nats_standard_error == pytest.approx(error, rel=1e-5)


def test_the_error_of_a_perplexity_is_that_of_a_jackknife(without_a_code):
    """Which leaves out one example after another, and knows nothing of a linear part."""
    found, nats, tokens = without_a_code
    n = len(nats)
    without = np.exp((nats.sum() - nats) / (tokens.sum() - tokens))
    jackknife = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    assert found.iw_perplexity_standard_error == pytest.approx(jackknife, rel=0.2)


def test_examples_are_selected_by_a_seed_of_their_own(without_a_code):
    some = tight_bound(trained(latent__kind="none", seed=1, data__buckets=1), 2, 3)
    _, nats, _ = without_a_code
    rows = tight_rows(len(nats), 3)
    assert some.nats == pytest.approx(nats[rows], abs=2e-3)
    assert some.examples == 3


@pytest.mark.thorough
def test_more_samples_come_closer():
    model = trained(
        latent__kind="vmf",
        latent__concentration=5.0,
        evaluation__importance_samples=1,
        evaluation__chunk=SAMPLES,
        data__buckets=1,
    )
    found = tight_bound(model, SAMPLES, 1000)
    assert found.importance_samples == SAMPLES
    assert found.fewer_importance_samples == 1
    assert found.examples == len(model.corpus.splits["test"])
    nats = {}
    for samples in (1, SAMPLES):
        model.config.evaluation.importance_samples = samples
        nats[samples] = Evaluator(model.model, model.config, model.corpus).nats(
            model.params, "test", root_key(0, Purpose.EVALUATE), importance_weighted=True
        )
    gain = nats[1].iw_nll_nats - nats[SAMPLES].iw_nll_nats
    # Other batches, hence other samples: by NumPy, and within four errors, once in 15,000 seeds.
    assert found.gain_nats == pytest.approx(gain.mean(), abs=4 * gain.std() / np.sqrt(12))
    assert found.gain_nats > 2 * found.gain_nats_standard_error > 0
    # Were it not paired, it would be that of a difference of two means over sentences.
    spread = [n.iw_nll_nats.std(ddof=1) / np.sqrt(12) for n in nats.values()]
    assert found.gain_nats_standard_error < 0.7 * np.hypot(*spread)
