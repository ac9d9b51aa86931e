"""How the paper's tables of sentence models are set beside ours: NLL (KL) / PPL in its units."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spherical_vae.experiments.laboratory.settings import AVERAGED, HONEST, PAPER, mean, values
from spherical_vae.experiments.rendering.row_tables import (
    NOT_RUN,
    SENTENCE_COLUMNS,
    Row,
    bounds_table,
    paper_values,
    runs_table,
    seeds,
    trials_table,
    verdicts,
)
from spherical_vae.experiments.rendering.tables import NOTHING, Table, mean_and_range

_PROTOCOLS = ("honest", "averaged", "by *paper*")
# NLL and KL in nats as the paper counts them, perplexity a token; None where it prints none.
Number = int | float | None
Printed = tuple[Number, Number, Number]


def sentence_tables(
    record: Mapping[str, Any],
    printed: Mapping[Any, Printed],
    key: Callable[[Row], Any],
    group: Callable[[Row], Any],
    quoted: Sequence[tuple[str, str]] = (),
) -> list[Table]:
    """Returns the printed values beside ours at full scale, the honest figures, trials, runs.

    Args:
      record: of rows.
      printed: by the paper, by key.
      key: of a row.
      group: rows of one group are compared.
      quoted: names and values that the paper has from elsewhere.
    """
    rows = record["rows"]
    full = record["scale"] == "full"
    shown = [_printed_table(rows, printed, key, quoted)] if full else []
    return [
        *shown,
        bounds_table(rows, SENTENCE_COLUMNS, group),
        protocols_table(rows),
        *([trials_table(rows)] if any(row["trials"] for row in rows) else []),
        runs_table(rows),
    ]


def who_is_ahead(record: Mapping[str, Any], group: Callable[[Row], Any]) -> list[str]:
    """Returns a line for each group."""
    return verdicts(record["rows"], SENTENCE_COLUMNS[3], group)


def protocols_table(rows: Sequence[Row]) -> Table:
    """Returns NLL, KL and perplexity of the same checkpoints by every protocol there is."""
    body = []
    for row in rows:
        cells = [NOT_RUN] * 9
        if row["runs"]:
            cells = [
                mean_and_range(values(row, protocol, key), digits)
                for protocol in (HONEST, AVERAGED, PAPER)
                for key, digits in (("nll_nats", 2), ("kl_nats", 2), ("perplexity", 1))
            ]
        body.append([row["name"], *cells, seeds(row)])
    return Table(
        ["row", *(f"{name}: {v}" for name in _PROTOCOLS for v in ("NLL", "KL", "PPL")), "seeds"],
        body,
        "The same checkpoints by three protocols. *Averaged*: the mean of three draws, charged "
        "with what it carries; a bound. *Paper*: the mean of three draws charged for one, Guu et "
        "al.'s KL, nats a padded slot (of batches of 20) times the mean length of train without "
        f"end mark; no bound, and ours are not trained by it.{_converted(rows)}",
    )


def _converted(rows: Sequence[Row]) -> str:
    """Returns which rows were once measured in other units of that protocol."""
    found = [
        row["name"]
        for row in rows
        if any("Converted" in run["measured"].get(PAPER, {}).get("note", "") for run in row["runs"])
    ]
    if not found:
        return ""
    return f" Converted from slots of batches of 64, as their records say: {'; '.join(found)}."


def averaging_remarks(rows: Sequence[Row]) -> list[str]:
    """Returns a line for each vMF row: what the mean of three draws gives, and what it costs."""
    lines = []
    for row in rows:
        if not values(row, AVERAGED, "nll_nats"):
            continue
        one, three = (
            f"reconstruction {mean(row, protocol, 'reconstruction_nats'):.2f} and KL "
            f"{mean(row, protocol, 'kl_nats'):.2f} nats a sentence, perplexity "
            f"{mean(row, protocol, 'perplexity'):.1f}"
            for protocol in (HONEST, AVERAGED)
        )
        lines.append(
            f"{row['name']}: one draw, {one}; the mean of three draws at its honest price, "
            f"{three}. The paper adds the KL of one draw to the reconstruction of three."
        )
    return lines


def _printed_table(
    rows: Sequence[Row],
    printed: Mapping[Any, Printed],
    key: Callable[[Row], Any],
    quoted: Sequence[tuple[str, str]],
) -> Table:
    body = [
        [
            row["name"],
            printed_text(printed.get(key(row))),
            paper_values(row, "nll_nats"),
            paper_values(row, "kl_nats"),
            paper_values(row, "perplexity"),
            seeds(row),
        ]
        for row in rows
    ]
    body += [[name, value, "not reproduced", *[NOTHING] * 3] for name, value in quoted]
    return Table(
        ["row", "paper: NLL (KL) / PPL", "ours: NLL", "KL", "PPL", "seeds"],
        body,
        "Measured by protocol *paper* on both sides: mean of three draws charged for one, Guu et "
        "al.'s KL, nats a padded slot (of batches of 20) times the mean length of train without "
        "end mark. No bound on log p(x). Ours are trained and selected by *honest*; the paper's "
        "are trained by *paper* too.",
    )


def printed_text(values: Printed | None) -> str:
    """Returns what the paper prints, in its form."""
    if values is None:
        return NOTHING
    nll, kl, perplexity = values
    text = NOTHING if nll is None else f"{nll:g}"
    text += f" ({kl:g})" if kl is not None else ""
    return text if perplexity is None else f"{text} / {perplexity:g}"
