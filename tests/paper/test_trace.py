"""A traced training is the same training, and its points are the posterior of the example."""

import jax
import numpy as np
import pytest
from small_models import small_config, small_corpus

from paper.measures.trace import Tracer, read_trace
from spherical_vae.data.batch import Batch
from spherical_vae.models.latents.latent import kl_nats, latent_hyperparameters, mean_codes
from spherical_vae.models.vae import VAE, call
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.errors import UserError
from spherical_vae.training.trainer import train_model

STEPS, EVERY = 6, 3


def trained(kind, folder, traced=True):
    config = small_config(
        encoder__kind="bag_of_words",
        decoder__kind="bag_of_words",
        data__buckets=1,
        latent__kind=kind,
        latent__dimension=3,
        train__steps=STEPS,
        train__evaluate_every=EVERY,
        train__log_every=EVERY,
    )
    corpus = small_corpus("bags")
    with open_run(folder, config) as run:
        tracer = Tracer(config, corpus, folder) if traced else None
        return train_model(config, corpus, run, after_evaluation=tracer)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["vmf", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_points_are_the_posterior_of_the_example(kind, tmp_path):
    model = trained(kind, tmp_path / "traced")
    if kind == "vmf":
        plain = trained(kind, tmp_path / "plain", traced=False)
        jax.tree.map(np.testing.assert_array_equal, plain.params, model.params)
    trace = read_trace(tmp_path / "traced")
    assert [point.step for point in trace.points] == list(range(0, STEPS + 1, EVERY))
    valid = model.corpus.splits["valid"]
    end = valid.offsets[1]
    assert trace.tokens == valid.counts[:end].sum()
    (point,) = (p for p in trace.points if p.step == model.step)
    nothing = np.zeros(1, np.int32)
    columns = (valid.ids[None, :end], valid.counts[None, :end], nothing, nothing)
    batch = Batch(*map(jax.numpy.asarray, columns))
    hyper = latent_hyperparameters(model.config.latent)
    pair = call(model.model, model.params, VAE.encode, batch, hyper)
    posterior = pair.posterior
    np.testing.assert_allclose(point.mean, mean_codes(posterior)[0], atol=2e-5)
    np.testing.assert_allclose(point.kl_nats, kl_nats(pair, posterior.mean[None])[0], atol=2e-5)
    if kind == "vmf":
        assert np.linalg.norm(point.mean) == pytest.approx(1, abs=1e-4)
        assert point.concentration == model.config.latent.concentration
    else:
        np.testing.assert_allclose(point.deviation, np.sqrt(posterior.variance[0]), atol=2e-5)
    # The point before training is not that of the end.
    assert trace.points[0].mean != point.mean


def test_a_run_without_a_trace_is_refused(tmp_path):
    with pytest.raises(UserError, match="was trained without a trace"):
        read_trace(tmp_path)
