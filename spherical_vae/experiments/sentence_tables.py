"""How the paper's tables of sentence models are set beside ours: NLL (KL) / PPL in its units."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spherical_vae.experiments.row_tables import (
    SENTENCE_COLUMNS,
    Row,
    bounds_table,
    paper_values,
    runs_table,
    trials_table,
    verdicts,
)
from spherical_vae.experiments.settings import AVERAGED, HONEST, PAPER, mean, values
from spherical_vae.experiments.tables import NOTHING, Table

# NLL and KL in nats as the paper counts them, perplexity a token; None where it prints none.
Printed = tuple[float | None, float | None, float | None]


def sentence_tables(
    record: Mapping[str, Any],
    printed: Mapping[Any, Printed],
    key: Callable[[Row], Any],
    group: Callable[[Row], Any],
) -> list[Table]:
    """Returns the printed values beside ours at full scale, the honest figures, trials, runs."""
    rows = record["rows"]
    shown = [_printed_table(rows, printed, key)] if record["scale"] == "full" else []
    return [
        *shown,
        bounds_table(rows, SENTENCE_COLUMNS, group),
        trials_table(rows),
        runs_table(rows),
    ]


def who_is_ahead(record: Mapping[str, Any], group: Callable[[Row], Any]) -> list[str]:
    """Returns a line for each group."""
    return verdicts(record["rows"], SENTENCE_COLUMNS[3], group)


def order_remarks(rows: Sequence[Row], group: Callable[[Row], Any]) -> list[str]:
    """Returns a line for each group of which two rows were run: the lowest bound first."""
    lines = []
    for key in dict.fromkeys(map(group, rows)):
        found = {
            row["facts"]["model"]: value
            for row in rows
            if group(row) == key and (value := mean(row, HONEST, "iw_nll_nats")) is not None
        }
        if len(found) > 1:
            said = [f"{name} {found[name]:.2f}" for name in sorted(found, key=found.__getitem__)]
            lines.append(f"IW nats, {', '.join(key)}: {', '.join(said)}.")
    return lines


def averaging_remarks(rows: Sequence[Row]) -> list[str]:
    """Returns a line for each vMF row: what the mean of three draws gives, and what it costs."""
    lines = []
    for row in rows:
        if not values(row, AVERAGED, "nll_nats"):
            continue
        one, three = (
            f"{mean(row, protocol, 'nll_nats'):.2f} nats a sentence, "
            f"{mean(row, protocol, 'kl_nats'):.2f} of them KL"
            for protocol in (HONEST, AVERAGED)
        )
        lines.append(
            f"{row['name']}: one draw is charged {one}; the mean of three draws, at its honest "
            f"price, {three}; charged for one draw only, as the paper does, its perplexity would "
            f"be {mean(row, PAPER, 'perplexity'):.1f}, where the honest one is "
            f"{mean(row, HONEST, 'perplexity'):.1f}."
        )
    return lines


def _printed_table(
    rows: Sequence[Row], printed: Mapping[Any, Printed], key: Callable[[Row], Any]
) -> Table:
    body = [
        [
            row["name"],
            printed_text(printed.get(key(row))),
            paper_values(row, "nll_nats"),
            paper_values(row, "kl_nats"),
            paper_values(row, "perplexity"),
        ]
        for row in rows
    ]
    return Table(
        ["row", "paper: NLL (KL) / PPL", "ours: NLL", "KL", "PPL"],
        body,
        "Protocol *paper* on both sides: mean of three draws charged for one, Guu et al.'s KL, "
        "nats a padded slot times the mean length without end mark. No bound on log p(x).",
    )


def printed_text(values: Printed | None) -> str:
    """Returns what the paper prints, in its form."""
    if values is None:
        return NOTHING
    nll, kl, perplexity = values
    text = NOTHING if nll is None else f"{nll:g}"
    text += f" ({kl:g})" if kl is not None else ""
    return text if perplexity is None else f"{text} / {perplexity:g}"
