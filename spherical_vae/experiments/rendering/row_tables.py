"""The tables that all experiments with trained models share: bounds, printed values, runs."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spherical_vae.experiments.laboratory.settings import HONEST, PAPER, mean, values
from spherical_vae.experiments.rendering.tables import (
    NOTHING,
    Table,
    mean_and_range,
    number,
    shown_commit,
)

Row = Mapping[str, Any]
NOT_RUN = "not run"
# A cell that no run could fill.
NOT_APPLICABLE = "not applicable"
# Of latents, in the names of rows.
KINDS = ("Gaussian", "vMF")


@dataclass(frozen=True)
class Column:
    """One measure of test.

    Attributes:
      title: with its unit.
      protocol: it follows.
      key: of the evaluation.
      digits: after the point.
      compared: whether the lowest value of a group is set in bold.
    """

    title: str
    protocol: str
    key: str
    digits: int = 1
    compared: bool = False


DOCUMENT_COLUMNS = (
    Column("ELBO PPL, corpus", HONEST, "perplexity", compared=True),
    Column("IW PPL, corpus", HONEST, "iw_perplexity", compared=True),
    Column("ELBO PPL, per document", HONEST, "document_perplexity", compared=True),
    Column("IW PPL, per document", HONEST, "iw_document_perplexity", compared=True),
    Column("KL", HONEST, "kl_nats"),
    Column("active units", HONEST, "active_units"),
    Column("MI", HONEST, "mutual_information_nats", 2),
)
SENTENCE_COLUMNS = (
    Column("ELBO nats", HONEST, "nll_nats", 2, compared=True),
    Column("ELBO PPL", HONEST, "perplexity", compared=True),
    Column("IW nats", HONEST, "iw_nll_nats", 2, compared=True),
    Column("IW PPL", HONEST, "iw_perplexity", compared=True),
    Column("KL", HONEST, "kl_nats", 2),
    Column("active units", HONEST, "active_units"),
    Column("MI", HONEST, "mutual_information_nats", 2),
)


def bounds_table(
    rows: Sequence[Row], columns: Sequence[Column], group: Callable[[Row], Any]
) -> Table:
    """Returns the honest figures of test, means over seeds.

    Args:
      rows: of `settings.rows`.
      columns: what to show.
      group: rows of one group are compared with each other, their lowest values in bold.
    """
    body = []
    for row in rows:
        rivals = [other for other in rows if group(other) == group(row)]
        cells = [row["name"]]
        for column in columns:
            if not row["runs"]:
                cells.append(NOT_RUN)
                continue
            bold = column.compared and wins(row, rivals, column)
            found = values(row, column.protocol, column.key)
            cells.append(mean_and_range(found, column.digits, bold) if found else NOTHING)
        body.append([*cells, seeds(row)])
    return Table(
        ["row", *(column.title for column in columns), "seeds"], body, bounds_caption(rows)
    )


def bounds_caption(rows: Sequence[Row]) -> str:
    """Returns what is to be known of the honest figures: draws, ceiling, averaging, bold."""
    tests = [run["measured"][HONEST] for row in rows for run in row["runs"]]
    splits = {"valid": "Dev", "test": "Test"}
    shown = dict.fromkeys(splits[t["split"]] for t in tests) or {"Test": None}
    said = [f"{' or '.join(shown)}, protocol *honest*: mean over seeds (lowest to highest)"]
    draws = sorted({t["importance_samples"] for t in tests})
    if draws:
        said.append(f"IW: importance-weighted (IWAE) bound, {' or '.join(map(str, draws))} draws")
        ceilings = sorted({round(t["mutual_information_ceiling_nats"], 2) for t in tests})
        said.append(
            "MI: mutual information of text and code, nats, ceiling "
            f"{' or '.join(f'{c:.2f}' for c in ceilings)}"
        )
    said.append("KL in nats an example; bold: the lowest of its group")
    return "; ".join(said) + "."


def wins(row: Row, rivals: Sequence[Row], column: Column) -> bool:
    """Returns whether a row has the lowest mean among rows of which two at least were run."""
    means = {r["name"]: mean(r, column.protocol, column.key) for r in rivals}
    present = {name: value for name, value in means.items() if value is not None}
    return len(present) > 1 and min(present, key=lambda name: present[name]) == row["name"]


def verdicts(rows: Sequence[Row], column: Column, group: Callable[[Row], Any]) -> list[str]:
    """Returns a line for each group in which a Gaussian and a vMF were run: who is ahead.

    Of several rows of a kind the one that is best on dev stands for it.
    """
    lines = []
    for key in dict.fromkeys(group(row) for row in rows):
        # Also without those whose measure was not finite.
        here = [
            row for row in rows if group(row) == key and values(row, column.protocol, column.key)
        ]
        gaussians, vmfs = ([row for row in here if kind in row["name"]] for kind in KINDS)
        if not gaussians or not vmfs:
            continue
        gaussian, vmf = (
            values(min(found, key=_dev), column.protocol, column.key) for found in (gaussians, vmfs)
        )
        means = [statistics.fmean(found) for found in (gaussian, vmf)]
        ahead = "vMF is ahead of the Gaussian"
        if means[0] < means[1]:
            ahead = "**the Gaussian is ahead of vMF**"
        shown = "; ".join(
            f"{kind} {number(found, column.digits)}{_out_of(candidates)}"
            for kind, found, candidates in zip(KINDS, means, (gaussians, vmfs), strict=True)
        )
        lines.append(
            f"{_group_name(key)}: {ahead}{_doubt(gaussian, vmf)} ({column.title}"
            f"{draws(here, column)}: {shown})."
        )
    return lines


def _dev(row: Row) -> float:
    """Returns the perplexity on dev, the mean over seeds; one that is not finite is the worst."""
    found = [run["dev_perplexity"] for run in row["runs"]]
    return float("inf") if None in found else statistics.fmean(found)


def _out_of(candidates: Sequence[Row]) -> str:
    return f", best of {len(candidates)} on dev" if len(candidates) > 1 else ""


def draws(rows: Sequence[Row], column: Column) -> str:
    """Returns by how many draws a bound is that more of them would lower; empty for others."""
    if not column.key.startswith("iw_"):
        return ""
    tests = [run["measured"][column.protocol] for row in rows for run in row["runs"]]
    counts = dict.fromkeys(str(test["importance_samples"]) for test in tests)
    return f" by {' or '.join(counts)} draws"


def _doubt(one: Sequence[float], other: Sequence[float]) -> str:
    if min(len(one), len(other)) == 1:
        return ", by one seed"
    low, high = sorted((one, other), key=min)
    return ", within the spread of the seeds" if max(low) >= min(high) else ""


def trials_table(rows: Sequence[Row]) -> Table:
    """Returns what was tried on dev for each row, the chosen one in bold."""
    body = []
    for row in rows:
        for trial in row["trials"]:
            chosen = trial["alternative"] == row["chosen"]
            body.append(
                [
                    row["name"],
                    _alternative(trial["alternative"]),
                    number(trial["dev_perplexity"], bold=chosen),
                    number(trial["dev_kl_nats"]),
                ]
            )
    return Table(
        ["row", "tried", "dev ELBO PPL", "dev KL"],
        body,
        "Trials on dev, seed 0; bold: chosen, and run with every seed.",
    )


def runs_table(rows: Sequence[Row]) -> Table:
    """Returns when, where and for how long each row was trained, and by which command."""
    body = []
    for row in rows:
        runs = row["runs"]
        if not runs:
            body.append([row["name"], row["missing"] or NOT_RUN, *[NOTHING] * 6])
            continue
        body.append(
            [
                row["name"],
                _seeds_and_missing(row),
                ", ".join(map(_seconds, runs)),
                ", ".join(str(run["best_step"]) for run in runs),
                _all(run["device"] for run in runs),
                _all(run["date"] for run in runs),
                _all(shown_commit(run) for run in runs),
                _all(f"`{_command(run)}`" for run in runs),
            ]
        )
    return Table(
        ["row", "seeds", "training, s", "best step on dev", "device", "date", "commit", "command"],
        body,
        "How the rows were trained (SEED as listed; FOLDER holds the corpora's archives). Seconds "
        "are wall time: training, dev and compilation, all starts together where a run was "
        "interrupted, and also where the machine was busy with other work; a dash where they were "
        "not all measured. Of a sweep they are those of all its replicas together.",
    )


def seeds(row: Row) -> str:
    """Returns how many seeds a row has."""
    return str(len(row["runs"])) if row["runs"] else NOTHING


def _seeds_and_missing(row: Row) -> str:
    listed = ", ".join(str(run["seed"]) for run in row["runs"])
    return f"{listed}; {row['missing']}" if row["missing"] else listed


def printed_cell(value: float | None) -> str:
    """Returns a value that the paper prints, or a dash."""
    return NOTHING if value is None else f"{value:g}"


def paper_values(row: Row, key: str, digits: int = 1) -> str:
    """Returns a measure by the paper's protocol, or that the row was not run."""
    if not row["runs"]:
        return NOT_RUN
    found = values(row, PAPER, key)
    return mean_and_range(found, digits) if found else NOTHING


def _group_name(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _alternative(changed: Mapping[str, Any]) -> str:
    if not changed:
        return "as configured"
    return ", ".join(f"`{key}={value}`" for key, value in changed.items())


def _command(run: Mapping[str, Any]) -> str:
    command: str = run["command"]
    return command.replace(f"--config.seed={run['seed']}", "--config.seed=SEED")


def _seconds(run: Mapping[str, Any]) -> str:
    replicas = f" (sweep of {run['sweep']['replicas']})" if run.get("sweep") else ""
    return f"{number(run['train_seconds'], 0)}{replicas}"


def _all(found: Any) -> str:
    return ", ".join(dict.fromkeys(found))
