"""Measures of the replicas of a sweep, and their table."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spherical_vae.config.sweeps import Settings, settings_name
from spherical_vae.evaluation.example_file import differing
from spherical_vae.evaluation.measures import about_examples, build_evaluator, measure_model
from spherical_vae.runs.run_directory import RunDirectory
from spherical_vae.runs.trained_model import TrainedReplica
from spherical_vae.system.atomic_file import write_run_file
from spherical_vae.system.errors import UserError
from spherical_vae.system.standard_error import tell

# What a result has by its keys: another number for every change of it.
_FORMAT = {"format": 1}
# Title, key of the result and decimals of each column of the table.
_COLUMNS = (
    ("recon", "reconstruction_nats", 2),
    ("KL", "kl_nats", 2),
    ("ELBO", "nll_nats", 2),
    ("PPL", "perplexity", 1),
    ("IW", "iw_nll_nats", 2),
    ("IW PPL", "iw_perplexity", 1),
    ("active", "active_units", 1),
    ("MI", "mutual_information_nats", 2),
)


@dataclass(frozen=True)
class ReplicaResult:
    """The measures of one replica.

    Attributes:
      name: of the replica.
      settings: its values of the swept keys.
      diverged_step: the first step whose loss or gradient was not finite, or None.
      result: the object that `evaluate --json` prints; None if the replica diverged, or was never
        finite on validation.
    """

    name: str
    settings: Settings
    diverged_step: int | None
    result: dict[str, Any] | None


@dataclass(frozen=True)
class Group:
    """Replicas that differ only by their seeds.

    Attributes:
      settings: their common settings.
      seeds: those that are in the mean.
      left_out: those without a result.
      mean: by key of the result; None if a value is missing or not finite.
      standard_deviation: over seeds, with n - 1 in the denominator; None for a single seed.
    """

    settings: Settings
    seeds: list[int]
    left_out: list[int]
    mean: dict[str, float | None]
    standard_deviation: dict[str, float | None]


@dataclass(frozen=True)
class SweepResults:
    """All replicas of a sweep, measured on one split.

    Attributes:
      title: a line that names corpus, split and protocol.
      replicas: in the order of the sweep.
    """

    title: str
    replicas: Sequence[ReplicaResult]

    @property
    def groups(self) -> list[Group]:
        """Mean and spread over seeds of each setting; empty if seeds are not swept."""
        members: dict[tuple, list[ReplicaResult]] = {}
        for replica in self.replicas:
            if "seed" in replica.settings:
                rest = tuple((k, v) for k, v in replica.settings.items() if k != "seed")
                members.setdefault(rest, []).append(replica)
        return [_group(dict(rest), replicas) for rest, replicas in members.items()]

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {
            "replicas": [asdict(replica) for replica in self.replicas],
            "groups": [asdict(group) for group in self.groups],
        }

    def table(self) -> str:
        """Returns a line for each replica, and lines for mean and spread of each group."""
        rows = []
        for replica in self.replicas:
            missing = "  never finite on validation"
            if replica.diverged_step is not None:
                missing = f"  diverged in step {replica.diverged_step}"
            cells = missing if replica.result is None else _numbers(replica.result)
            rows.append((replica.name, cells))
        for group in self.groups:
            label = f"{settings_name(group.settings)} " if group.settings else ""
            count = len(group.seeds)
            of = f" of {count + len(group.left_out)}" if group.left_out else ""
            if count > 0:
                rows.append((f"{label}mean of {count}{of} seeds", _numbers(group.mean)))
            if count > 1:
                rows.append((f"{label}standard deviation", _numbers(group.standard_deviation)))
        width = max(len(label) for label, _ in rows)
        titles = "".join(f"{title:>9s}" for title, _, _ in _COLUMNS)
        lines = [self.title, f"{'replica':{width}s}{titles}"]
        return "\n".join([*lines, *(f"{label:{width}s}{cells}" for label, cells in rows)])


def measure_sweep(
    trained: Sequence[TrainedReplica],
    split: str,
    *,
    seed: int = 0,
    protocol: str = "honest",
    importance_samples: int | None = None,
    cache: RunDirectory | None = None,
) -> SweepResults:
    """Measures each replica that did not diverge, at its best step on validation.

    Args:
      trained: of one sweep.
      split, seed, protocol: those of `measure_model`, the same for all replicas.
      importance_samples: of the importance-weighted bound; None for the configured number.
      cache: the sweep's directory, which keeps each result for a later call; None for no cache.

    Raises:
      UserError: no replica can be measured, or a result in the cache is damaged.
    """
    models = [one.model for one in trained if one.model is not None and one.diverged_step is None]
    if not models:
        raise UserError(
            "every replica diverged, or was never finite on validation; try a smaller "
            "config.optimizer.learning_rate or config.optimizer.clip_norm, in a new --workdir"
        )
    first = models[0]
    evaluator = build_evaluator(first, importance_samples)
    samples = evaluator.config.evaluation.importance_samples if protocol == "honest" else None

    def result_of(one: TrainedReplica) -> dict[str, Any] | None:
        if one.model is None or one.diverged_step is not None:
            return None
        file = None if cache is None else cache.replica(one.replica.name).evaluation_path
        asked = about_examples(evaluator, one.model, split, seed, protocol) | _FORMAT
        cached = None if file is None else _cached(file, asked)
        if cached is not None:
            return cached
        tell(f"{one.replica.name}: measuring {split}")
        result, _ = measure_model(evaluator, one.model, split, seed=seed, protocol=protocol)
        if file is not None:
            content = {"asked": asked, "result": result}
            write_run_file(file, json.dumps(content, allow_nan=False) + "\n")
        return result

    results = [
        ReplicaResult(one.replica.name, one.replica.settings, one.diverged_step, result_of(one))
        for one in trained
    ]
    bound = "" if samples is None else f"; IW: {samples} samples"
    # Under protocol paper a sentence's nats are those a padded slot, times a mean length.
    unit = "nats" if protocol == "paper" else "nats per example"
    title = (
        f"{first.corpus.name}, {split}: {unit}, protocol {protocol}{bound}; "
        "each replica at its best step on validation"
    )
    return SweepResults(title, results)


def _group(settings: Settings, replicas: Sequence[ReplicaResult]) -> Group:
    results = [replica.result for replica in replicas if replica.result is not None]
    mean: dict[str, float | None] = {}
    deviation: dict[str, float | None] = {}
    for key in results[0] if results else ():
        values = [result[key] for result in results]
        # Other integers are the same for all replicas.
        if key == "active_units" or any(isinstance(value, float) for value in values):
            whole = None not in values
            mean[key] = statistics.fmean(values) if whole else None
            deviation[key] = statistics.stdev(values) if whole and len(values) > 1 else None
    seeds = [int(one.settings["seed"]) for one in replicas if one.result is not None]
    left_out = [int(one.settings["seed"]) for one in replicas if one.result is None]
    return Group(settings, seeds, left_out, mean, deviation)


def _numbers(values: Mapping[str, Any]) -> str:
    numbers = [(values.get(key), decimals) for _, key, decimals in _COLUMNS]
    return "".join(f"{'-':>9s}" if x is None else f"{x:9.{decimals}f}" for x, decimals in numbers)


def _cached(file: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the result in a file, or None if it is another one than is asked for."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return None if differing(content["asked"], asked) else content["result"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is no result of an evaluation; remove it") from None
