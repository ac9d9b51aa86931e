"""What a record says of one training: by which command, from which text, how far, how well."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.starts import in_all
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.runs.run_directory import RunDirectory
from spherical_vae.runs.trained_model import TrainedModel

# Of a run that diverged: it is not chosen, and cannot be measured.
NO_DEV = {"best_step": None, "dev_perplexity": None, "dev_kl_nats": None}


def training_record(
    command: str,
    config: ConfigDict,
    scale: str,
    corpus: str,
    trained: TrainedModel | None,
    curve: Sequence[Mapping[str, Any]],
    starts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns the record of one training.

    Args:
      command: that repeats it.
      config: its own, whole.
      scale: smoke, cpu or full.
      corpus: its name.
      trained: None where there is no checkpoint, because it diverged.
      curve: of `dev_curve`.
      starts: of `starts.timed`.
    """
    record = {
        "command": command,
        "address": address(config),
        "seed": config.seed,
        "corpus": corpus,
        "scale": scale,
    }
    if trained is None:
        return {**record, **NO_DEV, **in_all(starts)}
    best = next(point for point in curve if point["step"] == trained.step)
    return {
        **record,
        "best_step": trained.step,
        "last_step": trained.last_step,
        "tokens_seen": trained.tokens_seen,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.params)),
        "dev_perplexity": best["perplexity"],
        "dev_kl_nats": best["kl_nats"],
        **in_all(starts),
    }


def dev_curve(directory: RunDirectory) -> list[dict[str, Any]]:
    """Returns the evaluations on dev that a run, or a replica, has logged, oldest first."""
    return [r for r in MetricsLog(directory.metrics_path).records() if r["split"] == "valid"]
