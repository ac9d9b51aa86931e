"""The main job's table: a baseline that diverges takes no other row with it."""

import jax
import numpy as np
from small_models import small_config, small_corpus

from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.models.vae import build_vae
from spherical_vae.parallel.sharding import data_mesh
from spherical_vae.runs.run_directory import open_run
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.errors import DivergedError
from spherical_vae.training import comparison
from spherical_vae.training.comparison import table, train_rows


def test_a_baseline_that_diverges_is_said_to(tmp_path, monkeypatch):
    corpus = small_corpus()
    size = len(corpus.splits["test"])

    def train(config, corpus, run):
        if config.latent.kind == "gaussian":
            raise DivergedError("the loss became NaN", "diverged in step 3")
        model = build_vae(config, len(corpus.vocabulary))
        return TrainedModel(config, corpus, model, {}, 1, 1, 9, data_mesh(jax.device_count()))

    def measure(trained, directory):
        nats, tokens = np.linspace(1.0, 2.0, size), np.full(size, 4)
        return ExampleNats(nats, nats, nats, tokens, tokens * 1.0)

    monkeypatch.setattr(comparison, "train_model", train)
    monkeypatch.setattr(comparison, "measure_test", measure)
    config = small_config(baselines=("none", "gaussian"))
    with open_run(tmp_path, config) as run:
        rows, diverged, trained = train_rows(config, corpus, run)
    assert [row.label for row in rows] == ["unigram", "RNNLM", "vMF"]
    assert diverged == {"Gaussian": "diverged in step 3"}
    assert trained.config is config
    assert [line.split()[0] for line in table(rows)] == ["model", "unigram", "RNNLM", "vMF"]
