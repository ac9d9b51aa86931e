"""Measures of a trained model, as `evaluate --json` prints them."""

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.example_file import ExampleFile
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.jax_settings import settings_of_models


def build_evaluator(trained: TrainedModel, importance_samples: int | None = None) -> Evaluator:
    """Returns the evaluator of a trained model.

    The importance-weighted bound has as many samples as given, or as configured if None.
    """
    config = trained.config.copy_and_resolve_references()
    if importance_samples is not None:
        with config.unlocked():
            config.evaluation.importance_samples = importance_samples
    return Evaluator(trained.model, config, trained.corpus, trained.mesh)


@settings_of_models()
def measure_model(
    evaluator: Evaluator,
    trained: TrainedModel,
    split: str,
    *,
    seed: int = 0,
    protocol: str = "honest",
    examples: Path | None = None,
) -> tuple[dict[str, Any], ExampleNats]:
    """Computes all measures of a split.

    Args:
      evaluator: of the model, or of a sweep of which the model is a replica.
      trained: the model.
      split: name of the split.
      seed: of the samples.
      protocol: "honest", "paper" or "averaged".
      examples: file of each example's nats, which is written, or continued if it is there.

    Returns:
      The object that `evaluate --json` prints, without its rate, and the nats of each example.

    Raises:
      UserError: the protocol is not defined for this model, or the file is about something else.
    """
    kept = None
    if examples is not None:
        about = _about(evaluator, trained, split, seed, protocol)
        kept = ExampleFile(examples, about, len(trained.corpus.splits[split]))
    result, nats = evaluator.report(
        trained.params,
        split,
        root_key(seed, Purpose.EVALUATE),
        hyper=latent_hyperparameters(trained.config.latent),
        protocol=protocol,
        kept=kept,
    )
    return finite(result | {"step": trained.step, "seed": seed}), nats


def finite(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a result with None for numbers that are not finite, which JSON does not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in result.items()
    }


def _about(
    evaluator: Evaluator, trained: TrainedModel, split: str, seed: int, protocol: str
) -> dict[str, Any]:
    """Returns what determines the nats of each example."""
    digest = 0
    for leaf in jax.tree.leaves(trained.params):
        digest = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), digest)
    return {
        "corpus": trained.corpus.name,
        "corpus_fingerprint": trained.corpus.fingerprint,
        "split": split,
        "protocol": protocol,
        "seed": seed,
        "importance_samples": evaluator.importance_samples if protocol == "honest" else None,
        "batch_size": trained.config.evaluation.batch_size,
        "step": trained.step,
        "parameters_crc32": digest,
    }
