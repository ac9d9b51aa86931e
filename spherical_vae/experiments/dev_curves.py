"""How rows went on dev: KL and perplexity of every evaluation, and whether they converged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spherical_vae.experiments.row_tables import NOT_RUN, Row, seeds
from spherical_vae.experiments.tables import Table, mean_and_range

STILL_FALLING = "still falling: not converged"
_OVER = "past its lowest"


def dev_points(curve: Iterable[Mapping[str, Any]]) -> list[list[float]]:
    """Returns step, KL (nats an example) and perplexity of every evaluation on dev.

    Args:
      curve: of `Laboratory.dev_curve`.
    """
    return [
        [point["step"], round(point["kl_nats"], 4), round(point["perplexity"], 3)]
        for point in curve
    ]


def dev_table(found: Sequence[Row]) -> Table:
    """Returns where KL and perplexity began, had their extreme, and ended.

    Args:
      found: rows whose runs have `dev`, of `dev_points`.
    """
    body = []
    for row in found:
        runs = [run["dev"] for run in row["runs"]]
        if not runs:
            body.append([row["name"], *[NOT_RUN] * 8, seeds(row)])
            continue
        kl = [[point[1] for point in run] for run in runs]
        ppl = [[point[2] for point in run] for run in runs]
        ends = dict.fromkeys(STILL_FALLING if p[-1] == min(p) else _OVER for p in ppl)
        body.append(
            [
                row["name"],
                ", ".join(dict.fromkeys(str(len(run)) for run in runs)),
                *(mean_and_range([pick(k) for k in kl], 2) for pick in (_first, max, _last)),
                *(mean_and_range([pick(p) for p in ppl]) for pick in (_first, min, _last)),
                ", ".join(ends),
                seeds(row),
            ]
        )
    head = ["row", "evaluations", "KL: first", "highest", "last", "PPL: first", "lowest", "last"]
    return Table(
        [*head, "dev in the end", "seeds"],
        body,
        "Through training, on dev at the end of each epoch, protocol *honest*: KL in nats an "
        "example, perplexity of the ELBO. Where the last perplexity is the lowest, training ended "
        "because its epochs were over, and more of them would have given a lower one.",
    )


def draw_dev(record: Mapping[str, Any]) -> Any:
    """Draws the KL on dev over the epochs: a panel for each corpus and mode that was run.

    Args:
      record: of an experiment whose rows are of `language_models` and whose runs have `dev`.
    """
    from spherical_vae.experiments.plots import GAUSSIAN, VMF, new_figure

    # Without a code there is no KL.
    found = [row for row in record["rows"] if row["runs"] and row["facts"]["model"] != "RNNLM"]
    panels = list(dict.fromkeys((r["facts"]["corpus"], r["facts"]["mode"]) for r in found))
    figure, axes = new_figure(max(1, len(panels)), width=3.6)
    for panel, ax in zip(panels, axes, strict=False):
        for row in found:
            facts = row["facts"]
            if (facts["corpus"], facts["mode"]) != panel:
                continue
            vmf = facts["model"] == "vMF"
            for i, run in enumerate(row["runs"]):
                kl = [point[1] for point in run["dev"]]
                ax.plot(
                    range(1, len(kl) + 1),
                    kl,
                    color=VMF if vmf else GAUSSIAN,
                    marker="o" if vmf else "s",
                    markersize=4,
                    label=facts["model"] if i == 0 else None,
                )
        ax.set(title=", ".join(panel), xlabel="epoch")
        ax.set_ylim(bottom=0)
        ax.legend()
    axes[0].set_ylabel("KL on dev, nats a sentence")
    return figure


def _first(values: Sequence[float]) -> float:
    return values[0]


def _last(values: Sequence[float]) -> float:
    return values[-1]
