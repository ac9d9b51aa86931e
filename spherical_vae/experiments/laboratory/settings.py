"""The rows of a table: a model, what is tried for it on dev, and what its seeds give on test."""

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Elsewhere, Laboratory, Unavailable
from spherical_vae.experiments.laboratory.scales import SMOKE_TRIALS
from spherical_vae.experiments.laboratory.together import train_together
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.training.trainer import train_model

HONEST, PAPER, AVERAGED = "honest", "paper", "averaged"


@dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
      name: unique in the experiment; `--only=TEXT` picks rows by it.
      config: `NAME` or `NAME:VARIANT` of a file in `configs/`.
      overrides: what is changed in it.
      alternatives: tried with seed 0; the one with the lowest perplexity on dev is run with every
        seed. One alone is not tried.
      trial: changed in trials only, to make them short.
      protocols: that it is measured by.
      split: that is measured in the end.
      facts: what a renderer needs to know of the row.
    """

    name: str
    config: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    alternatives: tuple[Mapping[str, Any], ...] = ({},)
    trial: Mapping[str, Any] = field(default_factory=dict)
    protocols: tuple[str, ...] = (HONEST, PAPER)
    split: str = "test"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def trials(self, scale: str) -> list[Run]:
        """Returns the runs that decide between the alternatives; none where there is one alone."""
        kept = self.alternatives[: SMOKE_TRIALS if scale == "smoke" else None]
        if len(kept) == 1:
            return []
        return [Run(self.config, {**self.overrides, **a, **self.trial}) for a in kept]

    def run(self, alternative: Mapping[str, Any], seed: int) -> Run:
        """Returns the run of one seed."""
        return Run(self.config, {**self.overrides, **alternative}, seed)


def choose(laboratory: Laboratory, setting: Setting) -> tuple[Mapping[str, Any], list[dict]]:
    """Tries the alternatives of a setting on dev.

    Returns:
      The best one, and the records of the trials.

    Raises:
      Unavailable: a trial is missing and may not be run.
    """
    trials = []
    for run, alternative in zip(
        setting.trials(laboratory.scale), setting.alternatives, strict=False
    ):
        record = laboratory.train(run)
        trials.append({"alternative": dict(alternative), **_in_brief(record)})
    if not trials:
        return setting.alternatives[0], []
    # A dev value that is not finite is written as null: it is worse than every other.
    best = min(trials, key=lambda trial: trial["dev_perplexity"] or float("inf"))
    return best["alternative"], trials


def collector(
    settings: Callable[[str], Sequence[Setting]],
) -> Callable[[Laboratory], dict[str, Any]]:
    """Returns the `collect` of an experiment that is its rows: it trains and measures them all."""
    return lambda laboratory: {"rows": rows(laboratory, settings(laboratory.scale))}


def rows(
    laboratory: Laboratory,
    settings: Iterable[Setting],
    more: Callable[[Setting, Run], Mapping[str, Any]] = lambda setting, run: {},
    trainer: Callable[..., TrainedModel] = train_model,
) -> list[dict[str, Any]]:
    """Trains and measures the rows: all trials first, then seed by seed, so that stopping anywhere
    leaves whole columns; where there are sweeps, all seeds are trained before one is measured.

    Args:
      laboratory: trains and measures.
      settings: of the rows.
      more: finds out what else the record of a run is to hold, by key.
      trainer: another one that trains as `train_model` does; with it there are no sweeps.

    Returns:
      A record for each setting, in their order; `missing` says why one has no runs, or not all.
    """
    wanted = [setting for setting in settings if laboratory.wants(setting.name)]
    found, shared = _pass(laboratory, wanted, more, trainer)
    while shared:
        before = found
        # Once more: what other processes were at may be done by now.
        found, shared = _pass(laboratory, wanted, more, trainer)
        shared &= found != before
    return found


def _pass(
    laboratory: Laboratory,
    wanted: Sequence[Setting],
    more: Callable[[Setting, Run], Mapping[str, Any]],
    trainer: Callable[..., TrainedModel],
) -> tuple[list[dict[str, Any]], bool]:
    """Returns the records, and whether another process was at one of the runs."""
    shared = False
    records: dict[str, dict[str, Any]] = {
        setting.name: {
            "name": setting.name,
            "config": setting.config,
            "facts": dict(setting.facts),
            "alternatives": [dict(alternative) for alternative in setting.alternatives],
            "trials": [],
            "chosen": None,
            "runs": [],
            "missing": None,
        }
        for setting in wanted
    }
    if trainer is train_model:
        train_together(laboratory, [run for s in wanted for run in s.trials(laboratory.scale)])
    for setting in wanted:
        record = records[setting.name]
        try:
            record["chosen"], record["trials"] = choose(laboratory, setting)
        except Unavailable as reason:
            shared |= isinstance(reason, Elsewhere)
            record["missing"] = str(reason)
            print(f"{setting.name}: {reason}", file=sys.stderr)
    decided = [setting for setting in wanted if records[setting.name]["chosen"] is not None]
    seeds = range(laboratory.seeds)
    if trainer is train_model:
        train_together(
            laboratory, [s.run(records[s.name]["chosen"], seed) for seed in seeds for s in decided]
        )
    for seed in seeds:
        for setting in decided:
            record = records[setting.name]
            run = setting.run(record["chosen"], seed)
            try:
                trained = laboratory.train(run, trainer)
                measured = {
                    name: laboratory.measure(run, name, setting.split) for name in setting.protocols
                }
                added = more(setting, run)
            except Unavailable as reason:
                shared |= isinstance(reason, Elsewhere)
                record["missing"] = f"seed {seed}: {reason}"
                print(f"{setting.name}, seed {seed}: {reason}", file=sys.stderr)
            else:
                record["runs"].append({**trained, "measured": measured, **added})
    return list(records.values()), shared


def values(row: Mapping[str, Any], protocol: str, key: str) -> list[float]:
    """Returns one measure of test for every seed of a row; empty where it has none."""
    found = [
        run["measured"][protocol].get(key) for run in row["runs"] if protocol in run["measured"]
    ]
    return [] if None in found else [float(value) for value in found]


def mean(row: Mapping[str, Any], protocol: str, key: str) -> float | None:
    """Returns the mean over seeds, or None where there is nothing."""
    found = values(row, protocol, key)
    return statistics.fmean(found) if found else None


def _in_brief(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("command", "dev_perplexity", "dev_kl_nats", "best_step")
    # What was trained by the first versions does not say by which.
    return {key: record[key] for key in kept} | {"commit": record.get("commit")}
