"""The claims of the paper, each with our verdict and the number that decides it."""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from paper import tables
from paper.differences import (
    Difference,
    deviation_between_seeds,
    difference,
    tight_difference,
    unpaired,
    weighted,
)
from paper.documents import EXACT_GRADIENT, LEARNED, LEARNED_DIMENSION, NAIVE_GRADIENT
from paper.language import BAG, INPUTLESS, STANDARD, YELP_REDUCED
from paper.specs import GAUSSIAN, HONEST, RNNLM, VMF, Filled
from paper.store import Run
from paper.tables import NOTHING, Table, bound, values_of

# Filled rows by experiment and scale.
Views = Mapping[tuple[str, str], Sequence[Filled]]
_NONE: Mapping[str, float] = {}
_MI = bound(HONEST, "mutual_information_nats")
_MI_ERROR = bound(HONEST, "mutual_information_nats_standard_error")
_UNITS = bound(HONEST, "active_units")
# A bound's distance from -log p(x) is taken to shrink with this power of the number of samples: the
# smallest of all runs with an ELBO, an importance-weighted and a tight bound (a test computes it).
SLOWEST_FALL = 0.25
# A latent with fewer nats of information is taken for collapsed.
COLLAPSED_NATS = 0.1
# A loss with one of them holds the KL up, whatever the code is worth to the decoder.
_FLOORS = ("rate.free_nats", "rate.target_nats")
# A concentration transfers if its perplexity exceeds the lowest by at most this, in percent.
TRANSFER_PERCENT = 5.0


@dataclass(frozen=True)
class Measure:
    """The number that decides a claim.

    Attributes:
      of: the number from the sides; None if it was not measured, a text if it decides nothing.
      below: whether the claim holds if the number is below the threshold, else above.
      digits: after the point.
    """

    title: str
    of: Callable[..., Difference | str | None]
    below: bool = True
    threshold: float = 0.0
    digits: int = 2

    def cells(self, found: Difference, deviation: float) -> list[str]:
        """Returns verdict, title, number, error and the seeds that it is a mean over.

        Args:
          deviation: of a run's nats between seeds, as a share of them: the error of one seed has
            it, for each side.
        """
        if found.seeds == 1 and found.error is not None and found.level is not None:
            between_seeds = math.sqrt(2) * deviation * found.level
            found = replace(found, error=math.hypot(found.error, between_seeds))
        above, at_last = (
            Difference(found.value - self.threshold - fall, found.error)
            for fall in (0.0, found.left_to_fall)
        )
        holds = (above.value < 0) == self.below
        if found.error is None:
            verdict = f"not decided: one seed, number {'for' if holds else 'against'} it"
        elif not above.decided:
            verdict = "not decided: within two errors"
        elif not at_last.decided or (at_last.value < 0) != (above.value < 0):
            verdict = "not decided: bounds may still fall"
        else:
            only = " (one seed)" if found.seeds == 1 else ""
            verdict = f"**{'holds' if holds else 'does not hold'}**{only}"
        numbers = [f"{found.value:+.{self.digits}f}", tables.number(found.error, self.digits)]
        return [verdict, self.title, *numbers, str(found.seeds)]


@dataclass(frozen=True)
class Claim:
    """A claim in one setting: a measure of one side, of one against another, or of all rows.

    Attributes:
      setting: as it is shown, and the group of both sides.
      experiment: that the rows are of.
      models: one for each side; of several rows the best on validation stands for it.
      labels: of the rows of each side; any if there are none.
      group: if it is not the setting; of a claim about all rows of the experiment it is empty.
      floors: whether rows count whose loss holds the KL up.
    """

    text: str
    measure: Measure
    experiment: str
    setting: str
    models: tuple[str, ...] = (VMF, GAUSSIAN)
    labels: tuple[str, ...] = ()
    group: str | None = None
    floors: bool = True

    def row(self, views: Views, deviations: Mapping[str, float] = _NONE) -> list[str] | None:
        """Returns the line of the table, from the largest scale that has both sides, or None.

        `deviations` are as of `Measure.cells`, by `_kind`.
        """
        for scale in ("full", "cpu"):
            sides = self._sides(views.get((self.experiment, scale), ()))
            if not sides:
                continue
            found = self.measure.of(*sides)
            if isinstance(found, Difference):
                deviation = deviations.get(_kind(sides[0].runs[0]), 0.0)
                return [self.text, self.setting, *self.measure.cells(found, deviation), scale]
            if found is not None:
                numbers = [NOTHING] * 3
                verdict = f"not decided: {found}"
                return [self.text, self.setting, verdict, self.measure.title, *numbers, scale]
        return None

    def _sides(self, rows: Sequence[Filled]) -> Sequence[Filled]:
        """Returns what the measure is of; nothing if a part of it has no runs."""
        group = self.setting if self.group is None else self.group
        if not group:
            return rows if all(one.runs for one in rows) else ()
        if not self.floors:
            rows = [one for one in rows if not any(map(_has_floor, one.runs))]
        wanted = zip(self.models, self.labels or [None] * len(self.models), strict=True)
        sides = [tables.reference(rows, group, *side) for side in wanted]
        return [side for side in sides if side] if all(sides) else ()


def _has_floor(run: Run) -> bool:
    return any(run.settings.get(key) for key in _FLOORS)


def _kind(run: Run) -> str:
    bounds = run.bounds.get(HONEST)
    return "sentences" if bounds is None or bounds.document_perplexity is None else "documents"


_group, _label = attrgetter("row.group"), attrgetter("row.label")


def _nats(one: Filled, other: Filled) -> Difference | None:
    tight = tight_difference(one.runs, other.runs)
    found = tight or difference(one.runs, other.runs, weighted(HONEST))
    if found is None:
        return None
    of = _left_of_tight if tight else _left_of_all
    left, left_other = (statistics.fmean(map(of, side.runs)) for side in (one, other))
    return replace(found, left_to_fall=left - left_other)


def _left_of_tight(run: Run) -> float:
    tight = run.tight
    return _left(tight.gain_nats, tight.samples, tight.fewer_importance_samples) if tight else 0.0


def _left_of_all(run: Run) -> float:
    bounds = run.bounds[HONEST]
    if bounds.nll_nats is None or bounds.iw_nll_nats is None or bounds.samples is None:
        return 0.0
    return _left(bounds.nll_nats - bounds.iw_nll_nats, bounds.samples, 1)


def _left(fell: float, many: int, few: int) -> float:
    """Returns how many nats a bound may have left that fell from few to many samples."""
    return fell / ((many / few) ** SLOWEST_FALL - 1) if many > few else 0.0


def _kl(one: Filled, other: Filled) -> Difference | None:
    return unpaired(*(values_of(side, bound("valid/honest", "kl_nats")) for side in (one, other)))


def _information(one: Filled) -> Difference | None:
    values, errors = values_of(one, _MI), values_of(one, _MI_ERROR)
    if len(values) == len(errors) == 1:
        return Difference(values[0], errors[0])
    return unpaired(values, [0.0] * len(values))


def _swapped(one: Filled, other: Filled) -> Difference | str | None:
    """Returns the difference of the cosines when every pair is swapped."""
    information, units = tables.mean_of(other, _MI), tables.mean_of(other, _UNITS)
    if information is None or units is None:
        return None
    if information < COLLAPSED_NATS:
        return "the Gaussian has collapsed"
    if units < 2:
        # The cosine of such codes is 1 or -1, however far they move.
        return "the Gaussian has one active unit"
    swaps = [[run.swaps[-1] for run in side.runs if run.swaps] for side in (one, other)]
    means = [statistics.fmean(swap.mean_cosine for swap in some) for some in swaps]
    errors = [statistics.fmean(swap.standard_error for swap in some) for some in swaps]
    return Difference(means[0] - means[1], math.hypot(*errors), seeds=min(map(len, swaps)))


def _transferred(*rows: Filled) -> Difference | str | None:
    """Returns the percentage by which a perplexity exceeds the lowest of its setting.

    It is that of the worst setting, for the best concentration; the mean over seeds.
    """
    excess, best, perplexity = [], set[int](), bound(HONEST, "perplexity")
    groups, labels = (dict.fromkeys(map(of, rows)) for of in (_group, _label))
    levels = {
        (_group(one), _label(one)): {run.seed: perplexity(run) or math.inf for run in one.runs}
        for one in rows
    }
    for seed in sorted(set.intersection(*map(set, levels.values()))):
        table = np.array([[levels[group, label][seed] for label in labels] for group in groups])
        above = 100 * (table / table.min(axis=1, keepdims=True) - 1)
        excess.append(float(above.max(axis=0).min()))
        best.update(table.argmin(axis=1).tolist())
    ends = {0: "smallest", len(labels) - 1: "largest"}
    if len(best) == 1 and best <= ends.keys():
        # The best of each setting may lie beyond, and apart.
        return f"the best kappa is the {ends[best.pop()]} tried, in all settings"
    return unpaired(excess, [0.0] * len(excess))


_NATS = Measure("IW nats per example, vMF above the Gaussian", _nats)
_NATS_RNNLM = Measure("IW nats per example, vMF above the RNNLM", _nats)
_INFORMATION = Measure(
    f"MI of text and code, nats, vMF; against {COLLAPSED_NATS:g}",
    _information,
    below=False,
    threshold=COLLAPSED_NATS,
)
_LAYERS = Measure("KL with 3 layers above that with 1 layer, both annealed", _kl)
_LEARNED = Measure("IW nats per example, learned above fixed", _nats, below=False)
_ORDER = Measure(
    "cosine of codes after swapping all pairs, vMF above the Gaussian", _swapped, digits=3
)
_TRANSFER = Measure(
    f"excess PPL of one kappa in its worst setting, %; against {TRANSFER_PERCENT:g}",
    _transferred,
    threshold=TRANSFER_PERCENT,
    digits=1,
)


# Experiment and setting, of which the first claims are about each.
_MODES = (STANDARD, INPUTLESS)
_SENTENCES = (
    *(("table3", f"PTB, {mode}, recipe") for mode in _MODES),
    *(
        ("table3", f"{corpus}, {mode}")
        for corpus in ("PTB", "Yelp", YELP_REDUCED)
        for mode in _MODES
    ),
)
_SETTINGS = (
    *_SENTENCES,
    *(("table4", f"20NG, d={d}") for d in ("25", "50", "200", "50, recipe")),
    *(("table4", f"RCV1, d={d}") for d in (25, 50, 200)),
)
CLAIMS = (
    *(
        Claim("A vMF latent does not collapse", _INFORMATION, *setting, (VMF,), floors=False)
        for setting in _SETTINGS
    ),
    *(Claim("vMF beats the Gaussian", _NATS, *setting) for setting in _SETTINGS),
    *(
        Claim(
            "vMF beats the Gaussian",
            _NATS,
            "table3",
            f"PTB, {mode}, both {recipe}",
            labels=(f"learned, {recipe}", recipe),
            group=f"PTB, {mode}, recipe",
        )
        for mode in _MODES
        for recipe in ("learned prior", "annealed")
    ),
    *(Claim("vMF beats the RNNLM", _NATS_RNNLM, *setting, (VMF, RNNLM)) for setting in _SENTENCES),
    Claim(
        "Annealing is fragile",
        _LAYERS,
        "table1",
        "PTB, inputless",
        (GAUSSIAN, GAUSSIAN),
        ("3 layers, sigmoid annealing", "1 layer, sigmoid annealing"),
        group="all",
    ),
    *(
        Claim(
            "Learning kappa is worse",
            _LEARNED,
            "learned_kappa",
            f"20NG, d={LEARNED_DIMENSION}, {gradient}",
            (LEARNED, VMF),
            (gradient, ""),
            group=f"20NG, d={LEARNED_DIMENSION}",
        )
        for gradient in (NAIVE_GRADIENT, EXACT_GRADIENT)
    ),
    *(Claim("vMF encodes order", _ORDER, "fig5", f"PTB, {mode}") for mode in _MODES),
    Claim(
        "kappa transfers between settings",
        _TRANSFER,
        "fig6",
        f"PTB, standard and inputless, {BAG} and without",
        group="",
    ),
)


def verdict_table(views: Views) -> Table:
    """Returns the table that opens RESULTS.md: all claims of which there are runs."""
    runs = {run.id: run for one in itertools.chain(*views.values()) for run in one.runs}
    by_kind = {
        kind: deviation_between_seeds(run for run in runs.values() if _kind(run) == kind)
        for kind in sorted(set(map(_kind, runs.values())), reverse=True)
    }
    known = {kind: one for kind, one in by_kind.items() if one is not None}
    caption = (
        "A claim holds, or does not hold, if the number is at least two standard errors beyond the "
        "threshold, which is 0 unless it is named. Errors are over examples, paired if both models "
        "were measured on the same ones, and over seeds if there are several. "
    )
    if known:
        shares = (f"{100 * d.share:.3f}% for {kind} ({d.models})" for kind, d in known.items())
        caption += (
            "With one seed, the error of a difference in nats has that of other models instead: "
            "the deviation between seeds of all that have several, as a share of the nats of each "
            f"side, {', '.join(shares)}; in brackets, how many these are: with few of them that "
            "deviation is itself uncertain. "
        )
    caption += (
        "Nats are of the bound with the most samples, which is measured on some of the examples "
        "only, as under the tables; long texts weigh most in them, and table 4 has perplexities "
        "per document too. A bound is an upper limit, which falls with more samples, where an "
        "RNNLM is exact. Nothing is decided if the number would not decide alike once both had "
        "fallen as far as they may: their distance from -log p(x) is taken to shrink with the "
        f"number of samples to the power {SLOWEST_FALL:g}, the smallest of all runs that have "
        "bounds of three such numbers. Of several models of a kind the best on validation is "
        "judged; a model trained with free nats is not judged for "
        f"collapse. {COLLAPSED_NATS:g} nats say that a code is not empty, not that the decoder "
        "gains by it: that its reconstruction is below the nats of the RNNLM shows that. The error "
        "of one seed's MI is over examples, if it was measured, that of several over seeds alone; "
        "that of a cosine combines those of both models, not paired. Scale `cpu`: few epochs, "
        "untuned, not converged; its Gaussians are not annealed, but for table 1, in which the "
        "annealed one is ahead of the vMF."
    )
    head = ["claim of the paper", "setting", "our verdict", "decided by", "number", "error",
            "seeds", "scale"]  # fmt: skip
    deviations = {kind: one.share for kind, one in known.items()}
    found = [claim.row(views, deviations) for claim in CLAIMS]
    return Table(head, [row for row in found if row], caption)


def missing_runs(views: Views) -> str:
    """Returns a sentence with the claims and settings that lack runs; empty if none does."""
    settings: dict[str, list[str]] = {}
    for claim in CLAIMS:
        if claim.row(views) is None:
            settings.setdefault(claim.text, []).append(claim.setting)
    found = [f"*{text}* ({'; '.join(some)})" for text, some in settings.items()]
    why = "since runs are missing, or no seed is common"
    return f"Not decided, {why}: {', '.join(found)}." if found else ""
