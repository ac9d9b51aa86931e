"""Measures the replicas of a sweep on a split, all by one compiled evaluation."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.run_directory import RunDirectory
from spherical_vae.runs.trained_model import TrainedReplica
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.training.sweep_results import ReplicaResult, SweepResults, finite


@settings_of_models()
def measure(
    trained: Sequence[TrainedReplica],
    split: str,
    *,
    seed: int = 0,
    protocol: str = "honest",
    importance_samples: int | None = None,
    keep_in: RunDirectory | None = None,
) -> SweepResults:
    """Measures each replica that did not diverge, at its best step on dev.

    Args:
      trained: of one sweep.
      split: name of the split.
      seed: of the draws; the same for all replicas.
      protocol: "honest", "paper" or "averaged".
      importance_samples: of the importance-weighted bound; None for the configured number.
      keep_in: the sweep's directory, where each result is written as soon as it is there, and from
        where it is taken if it is; None for neither.

    Raises:
      UserError: no replica can be measured, or a kept result is damaged.
    """
    models = [one.model for one in trained if one.model is not None and one.diverged_step is None]
    if not models:
        raise UserError(
            "every replica diverged, or was never finite on dev; try a smaller "
            "config.optimizer.learning_rate or config.optimizer.clip_norm, in a new --workdir"
        )
    config = models[0].config.copy_and_resolve_references()
    with config.unlocked():
        if importance_samples is not None:
            config.evaluation.importance_samples = importance_samples
    evaluator = Evaluator(models[0].model, config, models[0].corpus, models[0].mesh)

    def result_of(one: TrainedReplica) -> dict[str, Any] | None:
        if one.model is None or one.diverged_step is not None:
            return None
        file = None if keep_in is None else keep_in.replica(one.replica.name).evaluation_path
        samples = config.evaluation.importance_samples if protocol == "honest" else None
        kept = None if file is None else _kept(file, split, one.model.step, samples)
        if kept is not None:
            return kept
        print(f"{one.replica.name}: measuring {split}", file=sys.stderr)
        result, _ = evaluator.report(
            one.model.params,
            split,
            root_key(seed, Purpose.EVALUATE),
            hyper=latent_hyperparameters(one.model.config.latent),
            protocol=protocol,
        )
        result = finite(result | {"step": one.model.step, "seed": seed})
        if file is not None:
            write_atomically(file, json.dumps(result, allow_nan=False) + "\n")
        return result

    results = [
        ReplicaResult(one.replica.name, one.replica.settings, one.diverged_step, result_of(one))
        for one in trained
    ]
    draws = f"; IW: {config.evaluation.importance_samples} draws" if protocol == "honest" else ""
    title = (
        f"{models[0].corpus.name}, {split}: nats per example, protocol {protocol}{draws}; "
        "each replica at its best step on dev"
    )
    return SweepResults(title, results)


def _kept(file: Path, split: str, step: int, samples: int | None) -> dict[str, Any] | None:
    """Returns the result in a file, or None where there is none of that split, step and samples."""
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        found = (result["split"], result["step"], result.get("importance_samples"))
        return result if found == (split, step, samples) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is no result of an evaluation; remove it") from None
