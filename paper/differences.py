"""Differences of nats between models, each with one error over examples and over seeds."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from paper.specs import HONEST
from paper.store import Bounds, Run, Tight, family, tight_rows
from spherical_vae.evaluation.metrics import standard_error

# A difference is decided if it is at least this many standard errors away from zero.
ERRORS = 2

Select = Callable[[Run], Bounds | Tight | None]
Pairs = Sequence[tuple[Bounds | Tight, Bounds | Tight]]


@dataclass(frozen=True)
class Difference:
    """The difference of two means, below 0 if the first is lower, and its standard error.

    Attributes:
      value: of the means over `seeds`.
      error: over examples, and with several seeds over these too; if not `paired` over seeds alone,
        and None for one seed.
      paired: whether it is paired over examples.
      level: mean of both sides, if they are nats per example of test.
      left_to_fall: by how much more the first side's bound than that of the other may fall with
        more samples.
    """

    value: float
    error: float | None
    paired: bool = False
    seeds: int = 1
    level: float | None = None
    left_to_fall: float = 0.0

    @property
    def decided(self) -> bool:
        """Whether it is `ERRORS` standard errors away from zero."""
        return self.error is not None and abs(self.value) >= ERRORS * self.error

    def text(self, digits: int = 2) -> str:
        """Returns `+1.26 ± 0.36`, and what the error is over if not over examples."""
        if self.error is None:
            return f"{self.value:+.{digits}f} (one seed)"
        over = "" if self.paired else " (seeds)"
        return f"{self.value:+.{digits}f} ± {self.error:.{digits}f}{over}"


def difference(runs: Sequence[Run], others: Sequence[Run], select: Select) -> Difference | None:
    """Returns how many nats per example the runs are above the others, over their common seeds.

    Returns:
      The difference of what `select` returns, paired if both have it per example; None if there is
      nothing in `common`.
    """
    pairs = common(runs, others, select)
    if not pairs:
        return None
    nats = per_example(pairs)
    if nats is not None:
        return paired(nats)
    levels = [(one.level, other.level) for one, other in pairs]
    known = [(one, other) for one, other in levels if one is not None and other is not None]
    if len(known) < len(levels):
        return None
    return unpaired([one for one, _ in known], [other for _, other in known])


def tight_difference(
    runs: Sequence[Run], others: Sequence[Run], examples: Int[np.ndarray, " E"] | None = None
) -> Difference | None:
    """Returns the difference of the tight bounds, over all of test if it is known there.

    `examples`, positions in test, are those that it is of, if not of all; they need the nats of all
    of test, and two of them a tight bound.

    Tight bounds are of some examples. If all of test has bounds with fewer samples, per example,
    the result is the difference of these over all of test, plus the mean change of the difference
    over the examples that have both: as unbiased for all of test, with a smaller error, since a
    large difference of a few examples is in both.
    """
    tight, wide = (common(runs, others, of) for of in (lambda run: run.tight, weighted(HONEST)))
    many, few = per_example(tight), per_example(wide)
    if many is None or few is None:
        return difference(runs, others, lambda run: run.tight) if examples is None else None
    rows = tight_rows(few.shape[-1], many.shape[-1])
    if examples is None:
        examples = np.arange(few.shape[-1])
    inside = np.isin(rows, examples)
    if inside.sum() < 2:
        return None
    many, change = many[..., inside], (many - few[..., rows])[..., inside]
    total, measured = len(examples), many.shape[-1]
    # Of the tight difference over `total` examples, and of its change over fewer than these.
    variance = _gap(many).var(ddof=1) / total
    variance += _gap(change).var(ddof=1) * (1 / measured - 1 / total)
    levels = few[..., examples].mean(axis=-1) + change.mean(axis=-1)
    return _over_seeds(levels, math.sqrt(variance))


def weighted(name: str) -> Select:
    """Returns a function from a run to its bounds, None without the importance-weighted one."""

    def of(run: Run) -> Bounds | None:
        found = run.bounds.get(name)
        return None if found is None or found.iw_nll_nats is None else found

    return of


def common(runs: Sequence[Run], others: Sequence[Run], select: Select) -> Pairs:
    """Returns what `select` returns of both, for each common seed.

    Empty if one of them has no such measure, or two cannot be compared: they are of other examples,
    or have other numbers of samples and neither is exact.
    """
    ours, theirs = ({run.seed: select(run) for run in some} for some in (runs, others))
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    found = [
        (one, other)
        for one, other in pairs
        if one is not None and other is not None and _comparable(one, other)
    ]
    return found if len(found) == len(pairs) else []


def _comparable(one: Bounds | Tight, other: Bounds | Tight) -> bool:
    same_samples = one.samples == other.samples or None in (one.samples, other.samples)
    return one.examples == other.examples and same_samples


def per_example(pairs: Pairs) -> Float[np.ndarray, "seeds 2 N"] | None:
    """Returns the nats per example of both sides; None without pairs, or if one has none."""
    nats = [(one.nats, other.nats) for one, other in pairs if one.nats and other.nats]
    return np.array(nats) if nats and len(nats) == len(pairs) else None


def paired(nats: Float[np.ndarray, "seeds 2 N"]) -> Difference:
    """Returns the difference of the first side from the second."""
    return _over_seeds(nats.mean(axis=-1), standard_error(_gap(nats)))


def _gap(nats: Float[np.ndarray, "seeds 2 N"]) -> Float[np.ndarray, " N"]:
    gap: np.ndarray = (nats[:, 0] - nats[:, 1]).mean(axis=0)
    return gap


def _over_seeds(levels: Float[np.ndarray, "seeds 2"], examples_error: float) -> Difference:
    found = unpaired(*levels.T.tolist())
    assert found is not None
    error = math.hypot(examples_error, found.error or 0.0)
    return replace(found, error=error, paired=True, level=float(levels.mean()))


def unpaired(one: Sequence[float], other: Sequence[float]) -> Difference | None:
    """Returns the difference of two means over seeds; None if one is empty."""
    if not one or not other:
        return None
    value, seeds = statistics.fmean(one) - statistics.fmean(other), min(len(one), len(other))
    if seeds < 2:
        return Difference(value, None)
    error = sum(statistics.variance(some) / len(some) for some in (one, other)) ** 0.5
    return Difference(value, error, seeds=seeds)


class Deviation(NamedTuple):
    """The standard deviation of a run's nats between seeds, as a share of them, of some models."""

    share: float
    models: int


def deviation_between_seeds(runs: Iterable[Run]) -> Deviation | None:
    """Returns the deviation of the nats on test of all models with several seeds; None without any.

    The mean of their variances, each of few seeds, is steadier than any of them.
    """
    levels = dict[str, dict[int, float]]()
    for run in runs:
        bounds = run.bounds.get(HONEST)
        if bounds is not None and bounds.level is not None:
            levels.setdefault(family(run.settings), {})[run.seed] = bounds.level
    several = [list(found.values()) for found in levels.values() if len(found) > 1]
    if not several:
        return None
    squares = [(len(v) - 1) * statistics.variance(v) / statistics.fmean(v) ** 2 for v in several]
    return Deviation(math.sqrt(sum(squares) / sum(len(v) - 1 for v in several)), len(several))
