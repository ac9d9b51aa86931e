"""Summaries of a split against hand-made ones: perplexities, active units, mutual information."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spherical_vae.distributions import HypersphericalUniform, VonMisesFisher
from spherical_vae.evaluation import measures, metrics
from spherical_vae.evaluation.evaluator import padded_slots
from spherical_vae.evaluation.measures import mutual_information_nats
from spherical_vae.models.latents.gaussian import diagonal_normal
from spherical_vae.models.latents.latent import posterior_means, prior_deviations


def example_nats(tokens, slots=None, paper_words=None):
    tokens = np.asarray(tokens)
    reconstruction = np.linspace(10.0, 20.0, len(tokens))
    kl = np.full(len(tokens), 2.0)
    iw = reconstruction + 1.5
    return metrics.ExampleNats(
        reconstruction,
        kl,
        iw,
        tokens,
        np.asarray(tokens if slots is None else slots, float),
        paper_words,
    )


def test_perplexity_is_of_sums_not_a_mean_of_perplexities():
    summary = metrics.summarise(example_nats([5, 10, 3]))
    assert summary["tokens"] == 18
    assert summary["nll_nats"] == pytest.approx(17.0)
    assert summary["perplexity"] == pytest.approx(np.exp(51 / 18))
    assert summary["iw_perplexity"] == pytest.approx(np.exp(49.5 / 18))


def test_documents_are_averaged_by_document():
    nats = example_nats([5, 10, 3])
    per_document = np.exp(((nats.reconstruction_nats + 2) / [5, 10, 3]).mean())
    assert metrics.summarise_documents(nats)["document_perplexity"] == pytest.approx(per_document)


def test_paper_units():
    """Nats a slot, times the mean words of a sentence."""
    nats = example_nats([5, 10, 3], slots=[10.0, 10.0, 10.0], paper_words=7.0)
    summary = metrics.summarise(nats)
    assert summary["perplexity"] == pytest.approx(np.exp(51 / 30))
    assert summary["nll_nats"] == pytest.approx(51 / 30 * 7)
    assert summary["kl_nats"] == pytest.approx(6 / 30 * 7)


def test_padded_slots_of_sorted_batches():
    np.testing.assert_array_equal(padded_slots(np.array([7, 2, 3, 9]), 2), [9, 3, 3, 9])


def test_active_units_are_counted_at_unit_prior_variance():
    """On the raw sphere of 200 dimensions a coordinate's variance is at most 0.005 on average."""
    dimension = 200
    directions = np.random.default_rng(0).normal(size=(5000, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    active, ratio = metrics.latent_use(directions, np.full(dimension, dimension**-0.5))
    assert active == dimension
    # 5,000 draws of 200 coordinates: a Wishart ratio of D / (1 + D/N).
    assert ratio == pytest.approx(dimension / (1 + dimension / 5000), rel=0.01)
    assert metrics.latent_use(directions, np.ones(directions.shape[1]))[0] == 0
    line = np.outer(np.linspace(-1, 1, 50), np.eye(6)[2])
    assert metrics.latent_use(line, np.ones(6)) == (1, pytest.approx(1.0))
    assert metrics.latent_use(np.ones((9, 4)), np.ones(4)) == (0, 0.0)
    assert metrics.latent_use(np.zeros((9, 0)), np.ones(0)) == (0, 0.0)


def vmf_posterior(directions, concentration):
    return VonMisesFisher(
        jnp.asarray(directions, jnp.float32), jnp.full(len(directions), jnp.float32(concentration))
    )


def test_a_direction_without_concentration_is_no_active_unit():
    directions = np.random.default_rng(2).normal(size=(400, 25))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for concentration, units in ((0.0, 0), (1.0, 0), (100.0, 25)):
        posterior = vmf_posterior(directions, concentration)
        deviations = prior_deviations(HypersphericalUniform(25))
        assert metrics.latent_use(posterior_means(posterior), deviations)[0] == units


def test_mutual_information_of_codes_that_say_nothing_and_everything():
    size, dimension = 100, 8
    same = np.tile(np.eye(dimension)[:1], (size, 1))
    untold = mutual_information_nats(vmf_posterior(same, 50.0), jax.random.key(0))
    assert untold.mean() == pytest.approx(0, abs=1e-3)
    apart = np.random.default_rng(1).normal(size=(size, dimension))
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    told = mutual_information_nats(vmf_posterior(apart, 1e5), jax.random.key(0))
    assert told.mean() == pytest.approx(np.log(size), abs=1e-2)


def test_mutual_information_of_two_clusters_is_one_bit():
    means = np.repeat([[-20.0, 0.0], [20.0, 0.0]], 70, axis=0)
    posterior = diagonal_normal(jnp.asarray(means, jnp.float32), jnp.ones((140, 2)))
    estimate = mutual_information_nats(posterior, jax.random.key(1)).mean()
    assert estimate == pytest.approx(np.log(2), abs=1e-3)


@pytest.mark.parametrize("most", [2000, 1000])
def test_mutual_information_against_quadrature(most, monkeypatch):
    """Two overlapping Gaussians on a line; the reference integrates h(mixture) - h(part)."""
    monkeypatch.setattr(measures, "INFORMATION_EXAMPLES", most)
    posterior = diagonal_normal(jnp.array([[-1.0], [1.0]] * 1000), jnp.ones((2000, 1)))
    x = np.linspace(-12, 12, 20001)
    density = (np.exp(-0.5 * (x - 1) ** 2) + np.exp(-0.5 * (x + 1) ** 2)) / 2 / np.sqrt(2 * np.pi)
    reference = -np.trapezoid(density * np.log(density), x) - 0.5 * np.log(2 * np.pi * np.e)
    # The log ratio of a draw has a standard deviation below 0.5: five standard errors.
    terms = mutual_information_nats(posterior, jax.random.key(2))
    assert len(terms) == most
    assert terms.mean() == pytest.approx(reference, abs=5 * 0.5 / np.sqrt(most))
    assert abs(terms.mean() - np.log(2)) > 5 * 0.5 / np.sqrt(most)
