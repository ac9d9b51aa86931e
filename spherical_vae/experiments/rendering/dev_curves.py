"""How rows went on dev: KL and perplexity of every evaluation, and whether they converged."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spherical_vae.experiments.rendering.row_tables import NOT_RUN, Row, seeds
from spherical_vae.experiments.rendering.tables import Table, mean_and_range

STILL_FALLING = "not converged: the last is the lowest"
NOT_THE_LAST = "the lowest came before the end"
_SHOWN = (
    ("kl_nats", ("first", "highest", "last"), 2),
    ("perplexity", ("first", "lowest", "last"), 1),
)


def dev_course(curve: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what a record keeps of a run's evaluations on dev.

    Args:
      curve: of `Laboratory.dev_curve`, one evaluation at least.

    Returns:
      Steps, KL (nats an example) and perplexity of all, oldest first, and of the last two where
      they began, had their extreme, and ended; whether the last perplexity is the lowest.
    """
    points = list(curve)
    kl = [_rounded(point["kl_nats"], 4) for point in points]
    ppl = [_rounded(point["perplexity"], 3) for point in points]
    lowest = min(_finite(ppl), default=None)
    return {
        "steps": [point["step"] for point in points],
        "kl_nats_by_step": kl,
        "perplexity_by_step": ppl,
        "kl_nats": {"first": kl[0], "highest": max(_finite(kl), default=None), "last": kl[-1]},
        "perplexity": {"first": ppl[0], "lowest": lowest, "last": ppl[-1]},
        "still_falling": ppl[-1] is not None and ppl[-1] == lowest,
    }


def dev_table(found: Sequence[Row]) -> Table:
    """Returns where KL and perplexity began, had their extreme, and ended.

    Args:
      found: rows whose runs have `dev`, of `dev_course`.
    """
    body = []
    for row in found:
        courses = [run["dev"] for run in row["runs"]]
        cells = [NOT_RUN] * 8
        if courses:
            cells = [", ".join(dict.fromkeys(str(len(course["steps"])) for course in courses))]
            for key, names, digits in _SHOWN:
                for name in names:
                    values = [course[key][name] for course in courses]
                    cells.append(mean_and_range(_finite(values), digits))
            ends = [
                STILL_FALLING if course["still_falling"] else NOT_THE_LAST for course in courses
            ]
            cells.append(", ".join(dict.fromkeys(ends)))
        body.append([row["name"], *cells, seeds(row)])
    head = ["row", "evaluations", "KL: first", "highest", "last", "PPL: first", "lowest", "last"]
    return Table(
        [*head, "dev in the end", "seeds"],
        body,
        "Through training, on dev at the end of each epoch, protocol *honest*: KL in nats an "
        "example, perplexity of the ELBO. Where the last perplexity is the lowest, training ended "
        "because its epochs were over, and nothing says that it had converged.",
    )


def kl_remarks(found: Sequence[Row]) -> list[str]:
    """Returns a line for each corpus and mode in which a model with a code was run: its KL on dev.

    Args:
      found: as for `dev_table`, of `language_models`.
    """
    lines = []
    for panel, rows in _panels(found).items():
        said = []
        for row in rows:
            kl = [run["dev"]["kl_nats"] for run in row["runs"]]
            ends = [_finite([one[name] for one in kl]) for name in ("first", "last")]
            if all(ends):
                first, last = map(statistics.fmean, ends)
                said.append(
                    f"{row['facts']['model']} {first:.2f} after the first evaluation, "
                    f"{last:.2f} in the end"
                )
        if said:
            lines.append(f"KL on dev, {', '.join(panel)}: {'; '.join(said)} (nats a sentence).")
    return lines


def draw_dev(record: Mapping[str, Any]) -> Any:
    """Draws the KL on dev over the epochs: a panel for each corpus and mode that was run.

    Args:
      record: of an experiment whose rows are of `language_models` and whose runs have `dev`.
    """
    from spherical_vae.experiments.rendering.plots import GAUSSIAN, VMF, new_figure

    panels = _panels(record["rows"])
    figure, axes = new_figure(max(1, len(panels)), width=3.6)
    for (panel, rows), ax in zip(panels.items(), axes, strict=False):
        for row in rows:
            vmf = row["facts"]["model"] == "vMF"
            for i, run in enumerate(row["runs"]):
                kl = run["dev"]["kl_nats_by_step"]
                ax.plot(
                    range(1, len(kl) + 1),
                    kl,
                    color=VMF if vmf else GAUSSIAN,
                    marker="o" if vmf else "s",
                    markersize=4,
                    label=row["facts"]["model"] if i == 0 else None,
                )
        ax.set(title=", ".join(panel), xlabel="epoch")
        ax.set_ylim(bottom=0)
        ax.legend()
    axes[0].set_ylabel("KL on dev, nats a sentence")
    return figure


def _rounded(value: float | None, digits: int) -> float | None:
    """Returns a number, or None for one that was not finite, which the log has as null."""
    return None if value is None else round(value, digits)


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _panels(found: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Returns the rows that were run and have a code, hence a KL, by corpus and mode."""
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        facts = row["facts"]
        if row["runs"] and facts["model"] != "RNNLM":
            panels.setdefault((facts["corpus"], facts["mode"]), []).append(row)
    return panels
