"""Figure 5: how far the mean code moves when neighbouring words change places."""

import dataclasses
import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.metrics import standard_error
from spherical_vae.experiments import language_models as models
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.laboratory.settings import HONEST, Setting, mean, rows
from spherical_vae.experiments.measures.probe import cosines
from spherical_vae.experiments.measures.word_swaps import swap_pairs
from spherical_vae.experiments.rendering.row_tables import NOT_RUN, Row, runs_table
from spherical_vae.experiments.rendering.tables import NOTHING, Table, number
from spherical_vae.models.latents.latent import mean_codes
from spherical_vae.runs.trained_model import TrainedModel

# The paper prints curves and no numbers.
PROBABILITIES = tuple(i / 10 for i in range(11))
# Of what is swapped; the same in every run, so that all models read the same sentences.
SWAP_SEED = 0


def settings(scale: str) -> list[Setting]:
    """Returns the models with a code of tables 3 and 5 on PTB: the same runs."""
    return models.with_a_code(scale)


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Trains what is missing, and encodes test with more and more words swapped."""

    def more(setting: Setting, run: Run) -> dict[str, Any]:
        del setting
        return {"swaps": laboratory.kept(run, "test-swaps", partial(_swaps, laboratory, run))}

    return {"rows": rows(laboratory, settings(laboratory.scale), more)}


def _swaps(laboratory: Laboratory, run: Run) -> dict[str, Any]:
    return swap_cosines(laboratory.model(run))


def swap_cosines(model: TrainedModel) -> dict[str, dict[str, float]]:
    """Returns the cosine between the mean codes of test before and after swapping.

    Args:
      model: of sentences.

    Returns:
      Mean and standard error over sentences, by the probability of a swap.
    """
    test = model.corpus.splits["test"]
    swapped = {
        f"{p:g}": swap_pairs(test, p, np.random.default_rng(SWAP_SEED)) for p in PROBABILITIES
    }
    corpus = dataclasses.replace(model.corpus, splits={**model.corpus.splits, **swapped})
    # One evaluator for all of them: it compiles the encoder once.
    measures = Evaluator(model.model, model.config, corpus)
    before = mean_codes(measures.latent_pair(model.params, "test").posterior)
    results = {}
    for name in swapped:
        after = mean_codes(measures.latent_pair(model.params, name).posterior)
        found = np.asarray(cosines(before, after), np.float64)
        results[name] = {
            "mean_cosine": float(found.mean()),
            "standard_error": standard_error(found),
        }
    return results


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the curves as numbers, and how the rows were trained."""
    found = record["rows"]
    head = ["row", *(f"{p:g}" for p in PROBABILITIES), "KL", "seeds"]
    body = []
    for row in found:
        points = [_cell(row, f"{p:g}") for p in PROBABILITIES]
        kl = number(mean(row, HONEST, "kl_nats"), 2)
        body.append([row["name"], *points, kl, str(len(row["runs"])) if row["runs"] else NOTHING])
    caption = (
        "Cosine between the mean codes of a sentence of test before and after swapping, by the "
        "probability that a pair of neighbours is swapped: mean over sentences ± one standard "
        "error over sentences; with several seeds both are means over them, and the lowest and "
        "highest mean stand in brackets. KL: nats a sentence, protocol *honest*."
    )
    return [Table(head, body, caption), runs_table(found)]


def _cell(row: Row, probability: str) -> str:
    points = [run["swaps"][probability] for run in row["runs"]]
    if not points:
        return NOT_RUN
    means = [point["mean_cosine"] for point in points]
    error = statistics.fmean(point["standard_error"] for point in points)
    spread = f" ({number(min(means), 3)} to {number(max(means), 3)})" if len(means) > 1 else ""
    return f"{number(statistics.fmean(means), 3)} ± {number(error, 3)}{spread}"


def draw(record: Mapping[str, Any]) -> Any:
    """Draws a panel for each setting; a band from the lowest to the highest seed."""
    from spherical_vae.experiments.rendering.plots import GAUSSIAN, VMF, new_figure

    figure, panels = new_figure(2, sharey=True, height=3.6)
    for axes, mode in zip(panels, models.MODES, strict=True):
        for row in record["rows"]:
            if row["facts"]["mode"] != mode or not row["runs"]:
                continue
            colour = VMF if row["facts"]["model"] == "vMF" else GAUSSIAN
            bag = row["facts"]["label"] == models.BAG_LABEL
            swaps = [[run["swaps"][f"{p:g}"] for p in PROBABILITIES] for run in row["runs"]]
            means = np.asarray([[point["mean_cosine"] for point in run] for run in swaps])
            errors = np.asarray([[point["standard_error"] for point in run] for run in swaps])
            axes.fill_between(
                PROBABILITIES, means.min(0), means.max(0), color=colour, alpha=0.2, linewidth=0
            )
            axes.errorbar(
                PROBABILITIES,
                means.mean(0),
                yerr=errors.mean(0),
                color=colour,
                linestyle="--" if bag else "-",
                marker="s" if bag else "o",
                markersize=4,
                capsize=2,
                label=f"{row['facts']['model']}{', ' + models.BAG_LABEL if bag else ''}",
            )
        axes.set(title=f"PTB, {mode}", xlabel="probability that a pair is swapped")
        axes.set_xlim(-0.05, 1.05)
        if not axes.lines:
            axes.annotate("not run", (0.5, 0.5), xycoords="axes fraction", ha="center")
        # Cosines near 1 are written out: an offset above the axis would meet the title.
        axes.ticklabel_format(axis="y", useOffset=False)
    panels[0].set_ylabel("cosine of mean codes")
    # A legend for both panels, of whichever rows were run.
    lines: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    if lines:
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4)
    return figure


EXPERIMENT = Experiment(
    "How far the code moves when neighbouring words are swapped (PTB)",
    collect,
    tables,
    settings=settings,
    draw=draw,
    notes=(
        "Pairs are the first and second word of a sentence, the third and fourth, and so on; the "
        "end mark stays last. The authors' code exchanges words at arbitrary positions of a whole "
        "batch instead. The same pairs are swapped for all models, and those of a probability "
        "are among those of every larger one.",
        "The runs are those of tables 3 and 5. Where a Gaussian has collapsed (KL near 0) its "
        "mean code is nearly the same vector for all sentences or a small remainder of it, and "
        "its cosine says little of the text.",
        models.BUDGET_NOTE,
    ),
)
