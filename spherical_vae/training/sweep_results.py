"""What came out of a sweep: each replica, mean and spread over seeds; as a table and as JSON."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spherical_vae.training.sweep_settings import Settings, settings_name

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
# Beside the floats; the other whole numbers are the same for all replicas.
_COUNTS = ("active_units",)


@dataclass(frozen=True)
class ReplicaResult:
    """One replica.

    Attributes:
      name: of the replica.
      settings: what it differs by.
      diverged_step: where its loss or gradient was not finite for the first time, or None.
      result: what `python -m spherical_vae.evaluate --json` prints of a single run; None where the
        replica diverged, or was never finite on dev.
    """

    name: str
    settings: Settings
    diverged_step: int | None
    result: dict[str, Any] | None


@dataclass(frozen=True)
class Group:
    """Replicas that differ by their seeds only.

    Attributes:
      settings: what they have in common.
      seeds: those that are in the mean.
      left_out: those without a result.
      mean: by key of the result; None where a value is missing or not finite.
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
      title: what was measured, in a line.
      replicas: in the order of the sweep.
    """

    title: str
    replicas: Sequence[ReplicaResult]

    @property
    def groups(self) -> list[Group]:
        """Mean and spread over seeds of each setting; empty where seeds are not swept."""
        members: dict[tuple, list[ReplicaResult]] = {}
        for replica in self.replicas:
            if "seed" in replica.settings:
                rest = tuple((k, v) for k, v in replica.settings.items() if k != "seed")
                members.setdefault(rest, []).append(replica)
        return [_group(dict(rest), replicas) for rest, replicas in members.items()]

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values, with None for what is not finite."""
        replicas = [
            asdict(replica) | {"result": replica.result and finite(replica.result)}
            for replica in self.replicas
        ]
        return {"replicas": replicas, "groups": [asdict(group) for group in self.groups]}

    def table(self) -> str:
        """Returns a line for each replica, then one for mean and one for spread of each group."""
        rows = [(replica.name, _cells(replica)) for replica in self.replicas]
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


def finite(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a result in which numbers that are not finite are None: strict JSON has none."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in result.items()
    }


def _group(settings: Settings, replicas: Sequence[ReplicaResult]) -> Group:
    measured = [replica for replica in replicas if replica.result is not None]
    results = [finite(replica.result or {}) for replica in measured]
    mean: dict[str, float | None] = {}
    deviation: dict[str, float | None] = {}
    for key in results[0] if results else ():
        values = [result[key] for result in results]
        if key in _COUNTS or any(isinstance(value, float) for value in values):
            whole = None not in values
            mean[key] = statistics.fmean(values) if whole else None
            deviation[key] = statistics.stdev(values) if whole and len(values) > 1 else None
    return Group(
        settings,
        [int(replica.settings["seed"]) for replica in measured],
        [int(replica.settings["seed"]) for replica in replicas if replica.result is None],
        mean,
        deviation,
    )


def _cells(replica: ReplicaResult) -> str:
    if replica.result is not None:
        return _numbers(replica.result)
    if replica.diverged_step is not None:
        return f"  diverged in step {replica.diverged_step}"
    return "  never finite on dev"


def _numbers(values: Mapping[str, Any]) -> str:
    numbers = [(values.get(key), decimals) for _, key, decimals in _COLUMNS]
    return "".join(f"{'-':>9s}" if x is None else f"{x:9.{decimals}f}" for x, decimals in numbers)
