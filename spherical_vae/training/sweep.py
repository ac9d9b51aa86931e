"""A sweep from beginning to end: several runs trained at once, then measured, in one table."""

import json
import os
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from spherical_vae.config.validation import validate
from spherical_vae.data import load_corpus
from spherical_vae.data.corpus import Corpus
from spherical_vae.runs.run_directory import RunDirectory, open_run
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.training.sweep_evaluation import measure
from spherical_vae.training.sweep_results import SweepResults
from spherical_vae.training.sweep_settings import Replica, Value, build_replicas, settings_by_name
from spherical_vae.training.sweep_trainer import SweepTrainer


def train_sweep(
    config: ConfigDict,
    settings: Sequence[Mapping[str, Value]],
    workdir: str | os.PathLike[str],
    split: str = "test",
) -> SweepResults:
    """Trains one model with several settings at once, or goes on with it, and measures the best.

    Args:
      config: what the replicas have in common; `baselines` must be empty.
      settings: one mapping for each replica from dotted keys to values, all with the same keys, out
        of `sweep_settings.SWEEPABLE`; `sweep_settings.parse_sweep` makes products of axes.
      workdir: where the sweep lives; one that was interrupted goes on from there.
      split: what the best step of each replica on dev is measured on; once, and kept.

    Returns:
      A result for each replica, in the order of `settings`, and mean and spread over seeds.

    Raises:
      UserError: bad input, or another sweep in `workdir`.
      loop.Interrupted: SIGTERM or SIGINT came; the state is saved.
    """
    validate(config)
    replicas = build_replicas(config, settings)
    corpus = load_corpus(config.data)
    with open_run(workdir, config, settings_by_name(replicas)) as run:
        return train_and_measure(config, replicas, corpus, run, split)


def train_and_measure(
    config: ConfigDict,
    replicas: Sequence[Replica],
    corpus: Corpus,
    run: RunDirectory,
    split: str = "test",
) -> SweepResults:
    """Does what `train_sweep` does, in a directory that is open and locked."""
    trained = SweepTrainer(config, replicas, corpus, run).train()
    results = measure(trained, split, keep_in=run)
    table = json.dumps(results.to_json(), indent=2, allow_nan=False)
    write_atomically(run.results_path, table + "\n")
    return results
