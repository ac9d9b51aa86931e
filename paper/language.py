"""Tables 1, 3, 5, 6 and figures 4, 5, 6: sentence models on Penn Treebank and Yelp.

At scale `full` they are trained as by the authors' code (SGD, to convergence on validation), at
`cpu` with Adam for so few epochs that nothing has converged. The recipes are trained alike at both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np

from paper.experiment import Trained
from paper.measures.probe import COUNTED_WORDS, DIRECTIONS
from paper.measures.swaps import PROBABILITIES
from paper.specs import (
    AVERAGED,
    GAUSSIAN,
    HONEST,
    PAPER,
    RNNLM,
    VMF,
    Filled,
    Printed,
    Row,
    Spec,
    Value,
    recipe_row,
)
from paper.store import Run
from paper.tables import (
    PROTOCOL_NOTE,
    SEEDS,
    Column,
    Table,
    Values,
    bound,
    bounds_table,
    mean,
    mean_of,
    printed_cell,
    printed_table,
    runs_table,
    table,
    text,
    tight_table,
    trials_table,
    with_error,
)

STANDARD, INPUTLESS = "standard", "inputless"
BAG = "with bag of words"
_KAPPA, _KIND = "latent.concentration", "latent.kind"
_MODELS: dict[str, dict[str, Value]] = {
    RNNLM: {_KIND: "none"},
    GAUSSIAN: {_KIND: "gaussian"},
    VMF: {},
}
_FULL: dict[str, Value] = {"evaluation.importance_samples": 500}
_CPU: dict[str, Value] = {
    "optimizer.name": "adam",
    "optimizer.learning_rate": 2e-3,
    "optimizer.schedule": "cosine",
    "optimizer.clip_norm": 5.0,
    "train.nats_per": "example",
    "train.batch_size": 64,
    "train.early_stopping": 0,
    "evaluation.importance_samples": 20,
}
# Without the previous word a code that is hardly used in the first epochs is all there is.
_CPU_EPOCHS = {STANDARD: 5, INPUTLESS: 10}
_TRIAL = {"train.epochs": 10}
_KAPPA_FACTORS = (0.6, 1.0, 1.6)
_ALTERNATIVES: dict[str, tuple[dict[str, Value], ...]] = {
    RNNLM: ({}, {"dropout_rate": 0.3}, {"optimizer.learning_rate": 5.0}),
    # The weight is 1 before a trial ends: a model is chosen by what it is with the whole KL.
    GAUSSIAN: (
        {},
        {"dropout_rate": 0.3},
        {"kl_weight.schedule": "linear", "kl_weight.linear_epochs": 5.0},
    ),
}


@dataclass(frozen=True)
class Panel:
    """RNNLM, Gaussian and vMF in one setting of the paper.

    Attributes:
      corpus: as it is shown.
      mode: standard or inputless.
      config: of `configs/`; its latent is the vMF.
      kappa: likely concentration of the paper, around which three are tried.
      printed: by model.
      label: added to the names.
      changed: overrides of all rows.
      tight: samples of the tight bound by scale. At `full` all of test has as many.
    """

    corpus: str
    mode: str
    config: str
    kappa: float
    printed: Mapping[str, Printed] = field(default_factory=dict)
    label: str = ""
    changed: Mapping[str, Value] = field(default_factory=dict)
    tight: Mapping[str, int] = field(default_factory=dict)

    def row(
        self,
        scale: str,
        model: str,
        changed: Mapping[str, Value] | None = None,
        label: str = "",
        tuned: bool = True,
    ) -> Row:
        """Returns the row of a model, with alternatives at scale `full` if it is tuned."""
        budget = {**_CPU, "train.epochs": _CPU_EPOCHS[self.mode]} if scale == "cpu" else _FULL
        alternatives: tuple[Mapping[str, Value], ...] = ({},)
        if tuned and scale == "full":
            alternatives = _ALTERNATIVES.get(model) or tuple(
                {_KAPPA: round(factor * self.kappa, 1)} for factor in _KAPPA_FACTORS
            )
        return Row(
            " ".join(filter(None, [self.corpus, self.mode, model, self.label, label])),
            ", ".join(filter(None, [self.corpus, self.mode, self.label])),
            model,
            self.config,
            {**_MODELS[model], **budget, **self.changed, **(changed or {})},
            alternatives,
            _TRIAL,
            (HONEST, PAPER, AVERAGED) if model == VMF else (HONEST, PAPER),
            self.tight.get(scale, 0),
            label=label,
            printed=self.printed.get(model),
        )

    def rows(self, scale: str) -> list[Row]:
        """Returns the rows of all models."""
        return [self.row(scale, model) for model in _MODELS]


def _printed(
    rnnlm: tuple[float, ...], gaussian: tuple[float, ...], vmf: tuple[float, ...]
) -> dict[str, Printed]:
    """Returns printed values from NLL, KL and perplexity; an RNNLM has no KL."""
    return {
        RNNLM: Printed(rnnlm[0], None, rnnlm[1]),
        GAUSSIAN: Printed(*gaussian),
        VMF: Printed(*vmf),
    }


_TIGHT = {"smoke": 4, "cpu": 500}
# fmt: off
_PTB = Panel("PTB", STANDARD, "ptb", 25.0,
             _printed((100, 114), (99, 4.4, 109), (96, 5.7, 98)), tight=_TIGHT)
_PTB_INPUTLESS = Panel("PTB", INPUTLESS, "ptb:inputless", 80.0,
                       _printed((134, 596), (125, 6.3, 379), (117, 18.6, 262)), tight=_TIGHT)
_YELP_INPUTLESS = Panel("Yelp", INPUTLESS, "yelp", 200.0,
                        _printed((300, 432), (274, 13.4, 256), (242, 48.5, 134)))
# A setting is a line, as replace(_PTB, label="by paper", changed={"train.protocol": "paper"}).
PANELS = (
    _PTB,
    _PTB_INPUTLESS,
    Panel("Yelp", STANDARD, "yelp:standard", 40.0,
          _printed((199, 55), (199, 0.5, 55), (198, 6.4, 54))),
    _YELP_INPUTLESS,
    Panel("Yelp-10k stand-in", STANDARD, "yelp:yelp10k_standard", 40.0),
    Panel("Yelp-10k stand-in", INPUTLESS, "yelp:yelp10k", 200.0),
)
BAG_PANELS = (
    Panel("PTB", STANDARD, "ptb:standard_bow", 3.2,
          _printed((79, 43), (79, 0.0, 43), (73, 0.2, 33)), BAG),
    Panel("PTB", INPUTLESS, "ptb:inputless_bow", 50.0,
          _printed((106, 152), (106, 0.4, 153), (93, 11.4, 82)), BAG),
)

# Recipes beside the paper's: corpus, mode, name, model, config, overrides; a row is a line.
_STANDARD = {**_FULL, "prior.kind": "standard", "rate.target_nats": 0.0, "rate.free_nats": 0.0}
_FIXED = {**_STANDARD, _KIND: "vmf"}
# The KL to the uniform distribution is then 5.8 nats.
_FIXED_ADDED = {**_FIXED, _KAPPA: 25.0}
_ANNEALED = {**_STANDARD, "kl_weight.schedule": "linear", "kl_weight.linear_epochs": 10.0}
_ANNEALED_ADDED = {**_ANNEALED, "kl_weight.linear_epochs": 5.0}
# It was trained on an accelerator; results/accelerator/ptb_rnnlm.json has the record.
_H200: dict[str, Value] = {
    "data.buckets": 2,
    "compute.dtype": "bfloat16",
    "evaluation.batch_size": 256,
    "train.steps": 19740,
    "train.evaluate_every": 6580,
    "dropout_rate": 0.5,
}
# All other standard rows start from its parameters.
_LANGUAGE_MODEL = Spec("best_ptb:rnnlm", _H200)
_Recipe = tuple[str, str, str, str, str, Mapping[str, Value], Spec | None]
RECIPES: tuple[_Recipe, ...] = (
    ("PTB", STANDARD, "RNNLM, 30 epochs in bfloat16", RNNLM, "best_ptb:rnnlm", _H200, None),
    ("PTB", STANDARD, "RNNLM, 7 epochs more", RNNLM, "best_ptb:rnnlm_longer", _FULL,
     _LANGUAGE_MODEL),
    ("PTB", STANDARD, "Gaussian, annealed", GAUSSIAN, "best_ptb:gaussian_added", _ANNEALED_ADDED,
     _LANGUAGE_MODEL),
    ("PTB", STANDARD, "Gaussian, learned prior", GAUSSIAN, "best_ptb:gaussian_added", _FULL,
     _LANGUAGE_MODEL),
    ("PTB", STANDARD, "vMF, fixed", VMF, "best_ptb:vmf_added", _FIXED_ADDED, _LANGUAGE_MODEL),
    ("PTB", STANDARD, "vMF, learned, learned prior", VMF, "best_ptb:vmf_added", _FULL,
     _LANGUAGE_MODEL),
    ("PTB", INPUTLESS, "RNNLM", RNNLM, "best_ptb:rnnlm_inputless", _FULL, None),
    ("PTB", INPUTLESS, "Gaussian, annealed", GAUSSIAN, "best_ptb:gaussian_inputless", _ANNEALED,
     None),
    ("PTB", INPUTLESS, "Gaussian, learned prior", GAUSSIAN, "best_ptb:gaussian_inputless", _FULL,
     None),
    ("PTB", INPUTLESS, "vMF, fixed", VMF, "best_ptb:vmf_inputless", _FIXED, None),
    ("PTB", INPUTLESS, "vMF, learned, learned prior", VMF, "best_ptb:vmf_inputless", _FULL, None),
)
# fmt: on


def recipe_rows() -> list[Row]:
    """Returns the rows of `RECIPES`, by protocol honest alone."""
    return [
        recipe_row(f"{corpus} {mode} {name}", f"{corpus}, {mode}", model, config, changed, origin)
        for corpus, mode, name, model, config, changed, origin in RECIPES
    ]


def table3_rows(scale: str) -> list[Row]:
    """Returns three rows a panel and, at scale `full`, the recipes."""
    if scale == "smoke":
        labelled = _YELP_INPUTLESS.row(scale, VMF)
        return [*_PTB.rows(scale), *_PTB_INPUTLESS.rows(scale), labelled, recipe_rows()[5]]
    rows = [row for panel in PANELS for row in panel.rows(scale)]
    return rows + recipe_rows() if scale == "full" else rows


_QUOTED = (
    "The paper quotes Bowman et al. (2016) for PTB: standard RNNLM 100 / 116, Gaussian 101 (2) / "
    "119; inputless RNNLM 135 / >600, Gaussian 125 (15) / 380."
)


def _tables(
    rows: Sequence[Filled], scale: str, split: str = "test", quoted: str = ""
) -> list[Table]:
    """Returns what is shown of sentence models."""
    return [
        *(printed_table(rows, quoted) if scale == "full" else []),
        *bounds_table(rows, f"{split}/honest"),
        *tight_table(rows, (RNNLM, GAUSSIAN)),
        *curves_table(rows),
        *protocols_table(rows, split),
        *trials_table(rows),
        *runs_table(rows),
    ]


_TABLE1_PRINTED = {
    (GAUSSIAN, 3, "no"): Printed(135, 0.00),
    (GAUSSIAN, 1, "no"): Printed(129, 3.37),
    (GAUSSIAN, 3, "sigmoid"): Printed(132, 1.05),
    (GAUSSIAN, 1, "sigmoid"): Printed(125, 6.52),
    (VMF, 1, "no"): Printed(117, 18.6),
}
# In so few epochs the authors' weight, sigmoid(epoch / 2 - 5), would stay below 0.4.
_FAST: dict[str, Value] = {"kl_weight.sigmoid_slope": 2.0}


def table1_rows(scale: str) -> list[Row]:
    """Returns four Gaussian rows and the vMF row, measured on validation; nothing is tuned."""
    rows = []
    for (model, layers, annealing), printed in _TABLE1_PRINTED.items():
        changed: dict[str, Value] = {"encoder.layers": layers, "decoder.layers": layers}
        if annealing == "sigmoid":
            changed["kl_weight.schedule"] = "sigmoid"
            changed |= _FAST if scale == "cpu" else {}
        label = f"{layers} layer{'s' * (layers > 1)}"
        label += f", {annealing} annealing" if model == GAUSSIAN else ""
        row = _PTB_INPUTLESS.row(scale, model, changed, label, tuned=False)
        bounds = tuple(name.replace("test", "valid") for name in row.bounds)
        rows.append(replace(row, group="all", bounds=bounds, printed=printed, tight_samples=0))
    return [rows[i] for i in (0, 3, 4)] if scale == "smoke" else rows


def table5_rows(scale: str) -> list[Row]:
    """Returns three rows for each mode."""
    panels = BAG_PANELS[1:] if scale == "smoke" else BAG_PANELS
    return [row for panel in panels for row in panel.rows(scale)]


_DIMENSION = 50
_KL_WEIGHTS = {"smoke": (0.2,), "cpu": (0.2, 0.5, 1.0), "full": (0.2, 0.5, 1.0)}
_FIG4_KAPPAS = {
    "smoke": (80.0,),
    "cpu": (40.0, 80.0, 120.0),
    "full": (20.0, 40.0, 60.0, 80.0, 100.0, 120.0),
}
_FIG6_KAPPAS = {
    "smoke": (20.0, 80.0),
    "cpu": (40.0, 80.0, 120.0),  # the runs of figure 4
    "full": (20.0, 50.0, 80.0, 110.0, 150.0, 200.0),
}


def _at(panel: Panel, scale: str, model: str, label: str, key: str, value: float) -> Row:
    row = panel.row(scale, model, {"latent.dimension": _DIMENSION, key: value}, label, tuned=False)
    return replace(row, tight_samples=0, printed=None)


def fig4_rows(scale: str) -> list[Row]:
    """Returns a row for each KL weight of the Gaussian and each concentration of the vMF."""
    weights = [(GAUSSIAN, f"alpha={a:g}", "kl_weight.value", a) for a in _KL_WEIGHTS[scale]]
    kappas = [(VMF, f"kappa={k:g}", _KAPPA, k) for k in _FIG4_KAPPAS[scale]]
    return [replace(_at(_PTB_INPUTLESS, scale, *one), group="all") for one in weights + kappas]


def _draw_fig4(rows: Sequence[Filled], scale: str) -> Any:
    """Draws KL on top of reconstruction, the perplexity of the ELBO over each bar."""
    from paper.plots import MODEL_COLOURS, new_figure

    filled = [one for one in rows if one.runs]
    figure, (axes,) = new_figure(1, width=8.0, height=3.8)
    for i, one in enumerate(filled):
        reconstruction, kl, perplexity = (
            mean_of(one, bound(HONEST, key)) or 0.0
            for key in ("reconstruction_nats", "kl_nats", "perplexity")
        )
        colour = MODEL_COLOURS[one.row.model]
        axes.bar(i, reconstruction, color=colour, alpha=0.45)
        axes.bar(i, kl, bottom=reconstruction, color=colour, hatch="//")
        place = (i, reconstruction + kl)
        axes.annotate(f"{perplexity:.0f}", place, ha="center", va="bottom")
    labels = [f"{one.row.model}\n{one.row.label}" for one in filled]
    axes.set_xticks(range(len(filled)), labels, fontsize=8)
    axes.set(ylabel="nats a sentence, test (hatched: KL)")
    axes.margins(y=0.12)
    return figure


def fig6_rows(scale: str) -> list[Row]:
    """Returns a row for each concentration in each of the four settings."""
    panels = (_PTB_INPUTLESS,) if scale == "smoke" else (_PTB, _PTB_INPUTLESS, *BAG_PANELS)
    return [
        _at(panel, scale, VMF, f"kappa={kappa:g}", _KAPPA, kappa)
        for panel in panels
        for kappa in _FIG6_KAPPAS[scale]
    ]


def _over_lowest(title: str, key: str) -> Column:
    """Returns a column: how far a perplexity lies above the lowest of its group, in percent."""
    value = bound(HONEST, key)

    def cell(filled: Filled, rows: Sequence[Filled]) -> str:
        group = [one for one in rows if one.row.group == filled.row.group]
        levels = [level for one in group if (level := mean_of(one, value)) is not None]
        own = mean_of(filled, value)
        return "-" if own is None or len(levels) < 2 else f"{100 * (own / min(levels) - 1):.1f}"

    return Column(f"{title} PPL above the lowest, %", cell)


_OVER_LOWEST = _over_lowest("ELBO", "perplexity"), _over_lowest("IW", "iw_perplexity")


def _draw_fig6(rows: Sequence[Filled], scale: str) -> Any:
    """Draws the map; each line has a colour scale of its own, for they differ tenfold."""
    from paper.plots import new_figure

    groups = list(dict.fromkeys(one.row.group for one in rows))
    kappas = _FIG6_KAPPAS[scale]
    values = np.full((len(groups), len(kappas)), np.nan)
    for one in rows:
        place = groups.index(one.row.group), kappas.index(float(one.row.overrides[_KAPPA]))
        found = mean_of(one, bound(HONEST, "perplexity"))
        values[place] = np.nan if found is None else found
    lowest = np.fmin.reduce(values, axis=1, keepdims=True)
    figure, (axes,) = new_figure(1, width=8.0, height=3.0)
    axes.grid(visible=False)
    picture = axes.imshow(values / lowest, cmap="cividis_r", aspect="auto")
    figure.colorbar(picture, ax=axes, label="over the lowest of the line")
    for (i, j), value in np.ndenumerate(values):
        text = "not run" if np.isnan(value) else f"{value:.0f}"
        patch = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
        axes.annotate(text, (j, i), ha="center", va="center", bbox=patch)
    axes.set_xticks(range(len(kappas)), [f"{kappa:g}" for kappa in kappas])
    axes.set_yticks(range(len(groups)), groups)
    axes.set(xlabel="concentration κ")
    return figure


_TABLE6_PRINTED = {
    (False, GAUSSIAN): Printed(code_to_bag=0.74, bag_to_code=0.74),
    (False, VMF): Printed(code_to_bag=0.77, bag_to_code=0.57),
    (True, GAUSSIAN): Printed(code_to_bag=0.32),
    (True, VMF): Printed(code_to_bag=0.23),
}


def rows_with_a_code(scale: str, modes: Sequence[str], extra: str) -> list[Row]:
    """Returns the PTB rows of tables 3 and 5 that have a latent code: the same runs."""
    return [
        replace(
            panel.row(scale, model),
            bounds=(HONEST,),
            tight_samples=0,
            extras=(extra,),
            printed=_TABLE6_PRINTED[panel.label == BAG, model],
        )
        for mode in modes
        for panel in (_PTB, _PTB_INPUTLESS, *BAG_PANELS)
        if panel.mode == mode
        for model in (GAUSSIAN, VMF)
    ]


def table6_rows(scale: str) -> list[Row]:
    """Returns the inputless rows with a latent code."""
    return rows_with_a_code(scale, (INPUTLESS,), "probes")


def fig5_rows(scale: str) -> list[Row]:
    """Returns the rows with a latent code; at `smoke` those of table 6."""
    modes = (INPUTLESS,) if scale == "smoke" else (STANDARD, INPUTLESS)
    return rows_with_a_code(scale, modes, "swaps")


_KL_AND_SEEDS = mean("KL", bound(HONEST, "kl_nats"), 2), SEEDS


def _probe_columns(bag: str, printed: bool) -> list[Column]:
    def probe(run: Run, direction: str) -> Any:
        return next(p for p in run.probes if (p.bag, p.direction) == (bag, direction))

    columns: list[Column] = []
    for direction in DIRECTIONS:
        title = direction.replace("_", " ")

        def value(key: str, direction: str = direction) -> Values:
            return lambda run: getattr(probe(run, direction), key)

        def paper(filled: Filled, direction: str = direction) -> str:
            return printed_cell(getattr(filled.row.printed, direction))

        columns += [
            *([text(f"paper: {title}", paper)] if printed else []),
            mean(title, value("cosine"), 3),
            mean("constant", value("constant_cosine"), 3),
            with_error("gain", value("gain"), value("gain_standard_error"), 3),
        ]
    return [*columns, *_KL_AND_SEEDS]


def _table6(rows: Sequence[Filled], scale: str) -> list[Table]:
    first = (
        "Mean cosine over test between a probe's answer and its target; the bag is the mean "
        "embedding of the sentence's words in the run's own embeddings, end mark left out. "
        "*Constant*: the best answer that does not depend on the input, the mean direction of "
        "train. *Gain*: cosine less constant, ± one standard error, paired over test. Means over "
        "seeds (lowest to highest)."
    )
    second = (
        f"The same with the counts of the {COUNTED_WORDS} most frequent words as the bag, which "
        "do not depend on the run."
    )
    return [
        *table(rows, _probe_columns("embeddings", scale == "full"), first),
        *table(rows, _probe_columns("counts", False), second),
        *runs_table(rows),
    ]


def _fig5(rows: Sequence[Filled], scale: str) -> list[Table]:
    def swapped(i: int, key: str) -> Values:
        return lambda run: getattr(run.swaps[i], key)

    columns = [
        with_error(f"{probability:g}", swapped(i, "mean_cosine"), swapped(i, "standard_error"), 3)
        for i, probability in enumerate(PROBABILITIES)
    ]
    caption = (
        "Cosine between the mean codes of a sentence of test before and after swapping, by the "
        "probability that a pair of neighbours is swapped: mean over sentences ± one standard "
        "error; with several seeds both are means over them. KL: nats a sentence."
    )
    return [*table(rows, [*columns, *_KL_AND_SEEDS], caption), *runs_table(rows)]


def _draw_fig5(rows: Sequence[Filled], scale: str) -> Any:
    """Draws a panel for each mode; a band from the lowest to the highest seed."""
    from paper.plots import MODEL_COLOURS, new_figure

    figure, panels = new_figure(2, sharey=True, height=3.6)
    lines: dict[str, Any] = {}
    for axes, mode in zip(panels, (STANDARD, INPUTLESS), strict=True):
        plain, bagged = f"PTB, {mode}", f"PTB, {mode}, {BAG}"
        for one in rows:
            if one.row.group not in (plain, bagged) or not one.runs:
                continue
            bag, colour = one.row.group == bagged, MODEL_COLOURS[one.row.model]
            means = np.array([[s.mean_cosine for s in run.swaps] for run in one.runs])
            errors = np.array([[s.standard_error for s in run.swaps] for run in one.runs])
            axes.fill_between(
                PROBABILITIES, means.min(0), means.max(0), color=colour, alpha=0.2, linewidth=0
            )
            lines[f"{one.row.model}{', ' + BAG if bag else ''}"] = axes.errorbar(
                PROBABILITIES,
                means.mean(0),
                yerr=errors.mean(0),
                color=colour,
                linestyle="--" if bag else "-",
                marker="s" if bag else "o",
                markersize=4,
                capsize=2,
            )
        axes.set(title=plain, xlabel="probability that a pair is swapped")
        axes.set_xlim(-0.05, 1.05)
        if not axes.lines:
            axes.annotate("not run", (0.5, 0.5), xycoords="axes fraction", ha="center")
        # Cosines near 1 are written out: an offset above the axis would meet the title.
        axes.ticklabel_format(axis="y", useOffset=False)
    panels[0].set_ylabel("cosine of mean codes")
    if lines:
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4)
    return figure


def curves_table(rows: Sequence[Filled]) -> list[Table]:
    """Returns the first, extreme and last KL and perplexity on validation through training."""

    def of(key: str, select: Callable[[list[float]], float]) -> Values:
        def value(run: Run) -> float | None:
            found = [v for point in run.validation if (v := getattr(point, key)) is not None]
            return select(found) if found else None

        return value

    first, last, lowest = itemgetter(0), itemgetter(-1), min

    def ends_lowest(filled: Filled) -> str:
        at_end, least = of("perplexity", last), of("perplexity", lowest)
        return ", ".join({"yes" if at_end(r) == least(r) else "no": None for r in filled.runs})

    columns = [
        text("evaluations", lambda f: ", ".join({str(len(run.validation)) for run in f.runs})),
        mean("KL: first", of("kl_nats", first), 2),
        mean("KL: highest", of("kl_nats", max), 2),
        mean("KL: last", of("kl_nats", last), 2),
        mean("PPL: first", of("perplexity", first)),
        mean("PPL: lowest", of("perplexity", lowest)),
        mean("PPL: last", of("perplexity", last)),
        text("last is lowest", ends_lowest),
        SEEDS,
    ]
    caption = (
        "Through training, on validation, protocol *honest*: KL in nats, perplexity of the ELBO. "
        "If the last perplexity is the lowest, training ended because its epochs were over, and "
        "nothing shows that it had converged."
    )
    return table([one for one in rows if one.runs and one.runs[0].validation], columns, caption)


def draw_curves(rows: Sequence[Filled], scale: str) -> Any:
    """Draws the KL on validation over the evaluations: a panel for each group with a code."""
    from paper.plots import MODEL_COLOURS, new_figure

    kept = [one for one in rows if one.runs and one.row.model != RNNLM]
    groups = list(dict.fromkeys(one.row.group for one in kept))
    if not groups:
        return None
    figure, axes = new_figure(len(groups), width=3.6)
    for group, ax in zip(groups, axes, strict=True):
        for one in kept:
            for i, run in enumerate(one.runs if one.row.group == group else ()):
                ax.plot(
                    range(1, len(run.validation) + 1),
                    [point.kl_nats for point in run.validation],
                    color=MODEL_COLOURS[one.row.model],
                    marker="o" if one.row.model == VMF else "s",
                    markersize=4,
                    label=one.row.model if i == 0 else None,
                )
        ax.set(title=group, xlabel="epoch")
        ax.set_ylim(bottom=0)
        ax.legend()
    axes[0].set_ylabel("KL on validation, nats a sentence")
    return figure


def protocols_table(rows: Sequence[Filled], split: str = "test") -> list[Table]:
    """Returns reconstruction, NLL, KL and perplexity of the same checkpoints by every protocol."""
    keys = (("recon", "reconstruction_nats", 2), ("NLL", "nll_nats", 2), ("KL", "kl_nats", 2),
            ("PPL", "perplexity", 1))  # fmt: skip
    columns = [
        mean(f"{protocol}: {title}", bound(f"{split}/{protocol}", key), digits)
        for protocol in ("honest", "averaged", "paper")
        for title, key, digits in keys
    ]
    paper = [(one, run.bounds.get(f"{split}/paper")) for one in rows for run in one.runs]
    converted = [one.row.name for one, found in paper if found and found.converted_from_batches]
    caption = (
        "The same checkpoints by three protocols. *Averaged*: the mean of three samples, charged "
        f"with what it carries; a bound. {PROTOCOL_NOTE} Ours are not trained by it."
    )
    if converted:
        caption += f" Converted from slots of batches of 64: {'; '.join(dict.fromkeys(converted))}."
    return table([one for one in rows if len(one.row.bounds) > 1], [*columns, SEEDS], caption)


EXPERIMENTS = (
    Trained("table1", table1_rows, lambda rows, scale: _tables(rows, scale, "valid")),
    Trained(
        "table3",
        table3_rows,
        lambda rows, scale: _tables(rows, scale, quoted=_QUOTED),
        draw_curves,
    ),
    Trained("table5", table5_rows, _tables),
    Trained("table6", table6_rows, _table6),
    Trained(
        "fig4",
        fig4_rows,
        lambda rows, scale: [*bounds_table(rows), *runs_table(rows)],
        _draw_fig4,
    ),
    Trained("fig5", fig5_rows, _fig5, _draw_fig5),
    Trained(
        "fig6",
        fig6_rows,
        lambda rows, scale: [*bounds_table(rows, more=_OVER_LOWEST), *runs_table(rows)],
        _draw_fig6,
    ),
)
