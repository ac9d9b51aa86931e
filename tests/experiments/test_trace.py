"""A traced training is the same training, and its trace the same however often it was stopped."""

import json

import jax
import numpy as np
import pytest
from small_models import quick_to_compile, small_config, small_corpus

from spherical_vae.data.batch import Batch
from spherical_vae.experiments import fig2
from spherical_vae.experiments.measures.trace import Trace, read_trace, train_traced
from spherical_vae.models.latents.latent import kl_nats, latent_hyperparameters, mean_codes
from spherical_vae.models.vae import VAE, call
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.errors import UserError
from spherical_vae.training.trainer import train_model

STEPS, EVERY = 12, 3


class Killed(Exception):
    """What stands for a kill."""


class KilledTrace(Trace):
    """Dies after validation of step 6 was measured and traced, before that step is saved."""

    def __call__(self, step, params):
        super().__call__(step, params)
        if step == 6:
            raise Killed


def train_killed(config, corpus, run):
    return train_model(config, corpus, run, after_evaluation=KilledTrace(config, corpus, run))


def config_of(kind):
    return small_config(
        encoder__kind="bag_of_words",
        decoder__kind="bag_of_words",
        data__buckets=1,
        latent__kind=kind,
        latent__dimension=3,
        train__steps=STEPS,
        train__evaluate_every=EVERY,
        train__log_every=EVERY,
    )


def train(train_it, config, folder):
    with quick_to_compile(), open_run(folder, config) as run:
        return train_it(config, small_corpus("bags"), run)


@pytest.mark.parametrize("kind", [pytest.param("gaussian", marks=pytest.mark.slow), "vmf"])
def test_tracing_changes_no_training_and_stopping_no_trace(kind, tmp_path):
    config = config_of(kind)
    plain = train(train_model, config, tmp_path / "plain")
    traced = train(train_traced, config, tmp_path / "traced")
    jax.tree.map(np.testing.assert_array_equal, plain.params, traced.params)
    trace = read_trace(tmp_path / "traced")
    assert [point["step"] for point in trace["points"]] == list(range(0, STEPS + 1, EVERY))

    with pytest.raises(Killed):
        train(train_killed, config, tmp_path / "killed")
    assert read_trace(tmp_path / "killed")["points"][-1]["step"] == 6
    train(train_traced, config, tmp_path / "killed")
    assert read_trace(tmp_path / "killed") == trace


@pytest.mark.parametrize("kind", ["gaussian", "vmf"])
def test_points_are_the_posterior_of_the_example(kind, tmp_path):
    config = config_of(kind)
    trained = train(train_traced, config, tmp_path)
    trace = read_trace(tmp_path)
    valid = trained.corpus.splits["valid"]
    end = valid.offsets[1]
    assert trace["tokens"] == valid.counts[:end].sum()
    (point,) = (p for p in trace["points"] if p["step"] == trained.step)
    ids = valid.ids[None, :end]
    nothing = np.zeros(1, np.int32)
    columns = (ids, valid.counts[None, :end], nothing, nothing)
    batch = Batch(*map(jax.numpy.asarray, columns))
    hyper = latent_hyperparameters(config.latent)
    pair = call(trained.model, trained.params, VAE.encode, batch, hyper)
    posterior = pair.posterior
    np.testing.assert_allclose(point["mean"], mean_codes(posterior)[0], atol=2e-5)
    kl = kl_nats(pair, posterior.mean[None])
    np.testing.assert_allclose(point["kl_nats"], kl[0], atol=2e-5)
    if kind == "vmf":
        assert np.linalg.norm(point["mean"]) == pytest.approx(1, abs=1e-4)
        assert point["concentration"] == config.latent.concentration
    else:
        deviation = np.sqrt(posterior.variance[0])
        np.testing.assert_allclose(point["deviation"], deviation, atol=2e-5)
    # The point before training is not that of the end.
    assert trace["points"][0]["mean"] != point["mean"]


def test_a_run_without_a_trace_is_refused(tmp_path):
    with pytest.raises(UserError, match="was trained without a trace"):
        read_trace(tmp_path)


@pytest.mark.parametrize("kappa", [0.5, 6.0, 100.0])
def test_the_cap_holds_its_share(kappa):
    """Against a sum over a fine grid of the density of mu.z in R^3, exp(kappa w)."""
    w = np.linspace(-1, 1, 200_001)
    density = np.exp(kappa * (w - 1))
    share = density[w > fig2.cap_cosine(kappa)].sum() / density.sum()
    assert share == pytest.approx(fig2.INSIDE, abs=2e-3)


def point(step, mean, **spread):
    return {"step": step, "mean": mean, **spread, "kl_nats": 1.25}


def test_the_figure_is_drawn_from_whatever_rows_were_run(tmp_path):
    from spherical_vae.experiments.rendering.plots import save

    wide, narrow, kappa = (
        {"deviation": [1.0, 1.0]},
        {"deviation": [0.5, 1.0]},
        {"concentration": 9.0},
    )
    paths_of = {
        "Gaussian": [point(0, [0.1, 0.2], **wide), point(5, [1.0, 0.2], **narrow)],
        "vMF": [point(0, [1.0, 0.0, 0.0], **kappa), point(5, [0.6, 0.0, 0.8], **kappa)],
    }
    rows = [
        {"name": name, "facts": {"model": name}, "runs": [{"trace": {"points": p, "tokens": 7}}]}
        for name, p in paths_of.items()
    ]
    for given in (rows, rows[:1], []):
        paths = save(fig2.draw(json.loads(json.dumps({"rows": given}))), tmp_path, "figure")
        assert all(path.stat().st_size > 1000 for path in paths)
    assert fig2.remarks({"rows": rows})[0] == (
        "Gaussian: KL of this example (7 tokens) 1.25 nats before training, 1.25 after step 5."
    )
