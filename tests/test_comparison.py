"""The main job's table: a baseline that diverges takes no other row with it."""

import numpy as np
from small_models import small_config, small_corpus

from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.errors import DivergedError
from spherical_vae.training import comparison
from spherical_vae.training.comparison import Row, compare


def test_a_baseline_that_diverges_is_said_to(tmp_path, monkeypatch):
    corpus = small_corpus()
    size = len(corpus.splits["test"])

    def measured(config, corpus, run):
        if config.latent.kind == "gaussian":
            raise DivergedError("the loss became NaN", "diverged in step 3")
        nats = np.linspace(1.0, 2.0, size)
        tokens = np.full(size, 4)
        return Row(config.latent.kind, 9, ExampleNats(nats, nats, nats, tokens, tokens * 1.0)), None

    monkeypatch.setattr(comparison, "_train_and_measure", measured)
    monkeypatch.setattr(comparison, "sample_texts", lambda trained: [])
    config = small_config(baselines=("none", "gaussian"))
    with open_run(tmp_path, config) as run:
        lines = compare(config, corpus, run).splitlines()
    assert "Gaussian            diverged in step 3" in lines
    assert [line.split()[0] for line in lines if line.startswith(("none ", "vmf "))] == [
        "none", "vmf", "vmf", "vmf",
    ]  # fmt: skip
    assert not any("against Gaussian" in line for line in lines)
