"""Tables as Markdown: columns over rows of runs, differences with errors, printed values."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from paper.differences import ERRORS, Difference, difference, tight_difference, weighted
from paper.specs import GAUSSIAN, HONEST, PAPER, RNNLM, Filled, Printed
from paper.store import Run, Value

NOTHING = "-"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Table:
    """A table: the titles of its columns, rows of one text for each, and a line above it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def markdown(self) -> str:
        """Returns the lines of the table; the first column is text, the others are numbers."""
        lines = [f"{self.caption}\n"] if self.caption else []
        lines += [_line(self.head), _line([":---", *["---:"] * (len(self.head) - 1)])]
        return "\n".join([*lines, *map(_line, self.rows)])


def number(value: float | None, digits: int = 1) -> str:
    """Returns a number with `digits` digits after the point, a dash for None."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def mean_and_range(values: Sequence[float], digits: int = 1, bold: bool = False) -> str:
    """Returns the mean of the seeds' values, and the lowest and highest if they differ.

    Three seeds give no standard deviation worth the name.
    """
    if not values:
        return NOTHING
    mean = number(sum(values) / len(values), digits)
    mean = f"**{mean}**" if bold else mean
    low, high = number(min(values), digits), number(max(values), digits)
    return mean if low == high else f"{mean} ({low} to {high})"


def reference(
    rows: Sequence[Filled], group: str, model: str, label: str | None = None
) -> Filled | None:
    """Returns the row with runs of a model in a group, and of a label if one is given.

    Of several it is that with the lowest perplexity on validation, the mean over seeds.
    """
    found = [one for one in rows if (one.row.group, one.row.model) == (group, model) and one.runs]
    labelled = [one for one in found if label in (None, one.row.label)]
    # A level that is not finite is None: worse than every other.
    levels = [mean_of(one, "training.perplexity") or math.inf for one in labelled]
    return labelled[levels.index(min(levels))] if labelled else None


@dataclass(frozen=True)
class Column:
    """One column: its title, and its cell for a row with runs among all rows of the table."""

    title: str
    cell: Callable[[Filled, Sequence[Filled]], str]


# A function of a run, or the path to an attribute of it, as of `attrgetter`.
Values = Callable[[Run], float | None] | str


def values_of(filled: Filled, value: Values) -> list[float]:
    """Returns the value of every seed; empty if one is missing."""
    of = attrgetter(value) if isinstance(value, str) else value
    found = [of(run) for run in filled.runs]
    values = [float(one) for one in found if one is not None]
    return values if len(values) == len(found) else []


def mean_of(filled: Filled, value: Values) -> float | None:
    """Returns the mean over seeds; None if there is none, or a value is missing."""
    values = values_of(filled, value)
    return statistics.fmean(values) if values else None


def mean(title: str, value: Values, digits: int = 1, best: bool = False) -> Column:
    """Returns a column of means over seeds; `best` sets the lowest of each group in bold."""

    def cell(filled: Filled, rows: Sequence[Filled]) -> str:
        group = [mean_of(one, value) for one in rows if one.row.group == filled.row.group]
        means = [one for one in group if one is not None]
        bold = best and len(means) > 1 and mean_of(filled, value) == min(means)
        return mean_and_range(values_of(filled, value), digits, bold)

    return Column(title, cell)


def with_error(title: str, value: Values, error: Values, digits: int = 2) -> Column:
    """Returns a column of means over seeds of a value and of its standard error."""

    def cell(filled: Filled, rows: Sequence[Filled]) -> str:
        found = [values_of(filled, one) for one in (value, error)]
        means = (statistics.fmean(some) if some else None for some in found)
        return " ± ".join(number(one, digits) for one in means)

    return Column(title, cell)


def above(model: str, differ: Callable[..., Difference | None]) -> Column:
    """Returns a column of differences in nats to the row of a model in the same group.

    Args:
      differ: the difference of the runs of two rows.
    """

    def cell(filled: Filled, rows: Sequence[Filled]) -> str:
        other = reference(rows, filled.row.group, model)
        if other is None or other is filled:
            return NOTHING
        found = differ(filled.runs, other.runs)
        if found is None:
            return NOTHING
        return f"**{found.text()}**" if found.decided and found.value < 0 else found.text()

    return Column(f"IW nats above the {model}", cell)


def text(title: str, of: Callable[[Filled], str]) -> Column:
    """Returns a column of any text."""
    return Column(title, lambda filled, rows: of(filled))


def distinct(title: str, of: Callable[[Run], str | None]) -> Column:
    """Returns a column of a text of each run, without repetitions."""

    def cell(filled: Filled) -> str:
        return ", ".join(dict.fromkeys(of(run) or NOTHING for run in filled.runs))

    return text(title, cell)


def seeds(filled: Filled) -> str:
    """Returns how many seeds the row has, and of how many if some are missing."""
    found = str(len(filled.runs))
    return found if len(filled.runs) >= filled.wanted else f"{found} of {filled.wanted}"


SEEDS = text("seeds", seeds)


def table(rows: Sequence[Filled], columns: Sequence[Column], caption: str) -> list[Table]:
    """Returns a table of the rows that have runs, none if there is none."""
    body = [
        [one.row.name, *(column.cell(one, rows) for column in columns)] for one in rows if one.runs
    ]
    return [Table(["row", *(column.title for column in columns)], body, caption)] if body else []


def bound(name: str, key: str) -> Callable[[Run], float | None]:
    """Returns a function from a run to one of its bounds, None if it was not measured."""
    return lambda run: getattr(run.bounds.get(name), key, None)


_NATS = (("ELBO nats", "nll_nats", 2), ("ELBO PPL", "perplexity", 1),
         ("IW nats", "iw_nll_nats", 2), ("IW PPL", "iw_perplexity", 1))  # fmt: skip
_PERPLEXITIES = (
    ("ELBO PPL, corpus", "perplexity", 1),
    ("IW PPL, corpus", "iw_perplexity", 1),
    ("ELBO PPL, per document", "document_perplexity", 1),
    ("IW PPL, per document", "iw_document_perplexity", 1),
)


def _information(name: str, filled: Filled, rows: Sequence[Filled]) -> str:
    text = mean_and_range(values_of(filled, bound(name, "mutual_information_nats")), 2)
    near = values_of(filled, bound(name, "mutual_information_at_ceiling"))
    return f"{text}, ceiling" if any(near) else text


def _samples(name: str, run: Run) -> str:
    found = run.bounds[name].samples
    return NOTHING if found is None else str(found)


def bounds_table(
    rows: Sequence[Filled],
    name: str = HONEST,
    documents: bool = False,
    more: Sequence[Column] = (),
) -> list[Table]:
    """Returns the bounds `name`, `SPLIT/honest`, with samples and ceiling in the caption.

    If `documents`, perplexities per document are shown instead of nats. The columns `more` stand
    before the number of seeds.
    """
    present = {one.row.model for one in rows if one.runs}
    differ = partial(difference, select=weighted(name))
    columns = [
        *(
            mean(t, bound(name, k), d, best=True)
            for t, k, d in (_PERPLEXITIES if documents else _NATS)
        ),
        mean("KL", bound(name, "kl_nats"), 1 if documents else 2),
        mean("active units", bound(name, "active_units")),
        Column("MI", partial(_information, name)),
        *(above(model, differ) for model in (RNNLM, GAUSSIAN) if model in present),
        *more,
        SEEDS,
    ]
    found = [run.bounds[name] for filled in rows for run in filled.runs]
    samples = [str(n) for n in sorted({one.samples for one in found if one.samples is not None})]
    if len(samples) > 1:
        # Which row has which.
        columns.insert(-1, distinct("samples", partial(_samples, name)))
    ceilings = sorted({number(one.mutual_information_ceiling_nats, 2) for one in found})
    split = {"test": "Test", "valid": "Validation"}[name.split("/")[0]]
    caption = (
        f"{split}, protocol *honest*: mean over seeds (lowest to highest). IW: importance-weighted "
        f"bound with {' or '.join(samples)} samples. KL and MI, the mutual information of text and "
        f"latent code, in nats; MI is at most {' or '.join(ceilings)}, the logarithm of the number "
        "of examples, and a lower bound where it is marked as near that *ceiling*. *Above* a "
        "model: ± one standard error, paired over examples if they were kept, and over seeds if "
        "there are several (of one the verdicts estimate that part); of several rows of that model "
        f"the best on validation. Bold: lowest of its group; of a difference: below 0 by {ERRORS} "
        "errors, which of one seed decides nothing by itself: see the verdicts."
    )
    return table(rows, columns, caption)


def tight_table(rows: Sequence[Filled], models: Sequence[str]) -> list[Table]:
    """Returns the tight bounds, with paired differences to some models."""
    columns = [
        with_error("IW nats", "tight.iw_nll_nats", "tight.iw_nll_nats_standard_error"),
        with_error("IW PPL", "tight.iw_perplexity", "tight.iw_perplexity_standard_error", 1),
        *(above(model, tight_difference) for model in models),
        with_error("fell by", "tight.gain_nats", "tight.gain_nats_standard_error"),
        mean("samples", "tight.importance_samples", 0),
        mean("examples", "tight.examples", 0),
        SEEDS,
    ]
    caption = (
        "Importance-weighted bound with many samples on some examples of test, the same for all "
        "models of a corpus: ± one standard error over examples. Differences are paired, and those "
        "of all of test where that has bounds with fewer samples per example, corrected by their "
        "change on these examples; their error is over seeds too if there are several. "
        "*Fell by*: from as few samples as all of test was given. A bound that fell far would fall "
        f"further; without a latent code the likelihood is exact. Bold: below 0 by {ERRORS} errors."
    )
    return table([one for one in rows if all(run.tight for run in one.runs)], columns, caption)


PROTOCOL_NOTE = (
    "Protocol *paper*: mean of three samples charged for one, Guu et al.'s KL, nats a padded slot "
    "(of batches of 20) times the mean length of train without end mark. No bound on log p(x)."
)


def printed_table(rows: Sequence[Filled], name: str = PAPER, quoted: str = "") -> list[Table]:
    """Returns the paper's values of sentence models beside ours, by its protocol."""
    body = []
    for filled in rows:
        if filled.row.printed is None:
            continue
        keys = ("nll_nats", "kl_nats", "perplexity")
        ours = [mean_and_range(values_of(filled, bound(name, key))) for key in keys]
        cells = [*ours, seeds(filled)] if filled.runs else [NOT_RUN, *[NOTHING] * 3]
        body.append([filled.row.name, printed_text(filled.row.printed), *cells])
    head = ["row", "paper: NLL (KL) / PPL", "ours: NLL", "KL", "PPL", "seeds"]
    caption = (
        f"{PROTOCOL_NOTE} Ours are trained and selected by *honest*, but for those that are marked "
        f"as the authors' training: as the paper's, by *paper* too. {quoted}".rstrip()
    )
    return [Table(head, body, caption)] if any(one.runs and one.row.printed for one in rows) else []


def printed_text(printed: Printed) -> str:
    """Returns what the paper prints, in its form: `NLL (KL) / PPL`."""
    text = NOTHING if printed.nll is None else f"{printed.nll:g}"
    text += f" ({printed.kl:g})" if printed.kl is not None else ""
    return text if printed.perplexity is None else f"{text} / {printed.perplexity:g}"


def printed_cell(value: float | None) -> str:
    """Returns a value that the paper prints, or a dash."""
    return NOTHING if value is None else f"{value:g}"


def trials_table(rows: Sequence[Filled]) -> list[Table]:
    """Returns what was tried on validation for each row, the chosen one in bold."""
    body = []
    for filled in rows:
        for alternative, run in zip(filled.row.alternatives, filled.trials, strict=False):
            if run is not None:
                ppl = number(run.training.perplexity)
                ppl = f"**{ppl}**" if alternative == filled.chosen else ppl
                cells = [_changes(alternative), ppl, number(run.training.kl_nats)]
                body.append([filled.row.name, *cells])
    caption = "Trials on validation, seed 0; bold: chosen, and run with every seed."
    head = ["row", "tried", "validation ELBO PPL", "validation KL"]
    return [Table(head, body, caption)] if body else []


def runs_table(rows: Sequence[Filled]) -> list[Table]:
    """Returns when, where and for how long each row was trained, and by which command."""

    def each(title: str, of: Callable[[Run], str]) -> Column:
        return text(title, lambda filled: ", ".join(map(of, filled.runs)))

    columns = [
        each("seeds", lambda run: str(run.seed)),
        each("training, s", lambda run: number(run.training.seconds, 0)),
        each("best step", lambda run: str(run.training.best_step)),
        distinct("device", lambda run: run.provenance.device),
        distinct("date", lambda run: run.provenance.date),
        distinct("commit", lambda run: run.provenance.commit and f"`{run.provenance.commit}`"),
        distinct("command", _command),
    ]
    caption = (
        "Training (SEED as listed; FOLDER holds the corpora's archives). Seconds are wall time of "
        "all starts, with validation and compilation, also on a busy machine; a dash if not "
        "measured. Cores are those that the process was bound to; up to 2026-11-29, those of the "
        "machine."
    )
    notes = dict.fromkeys(
        f" {one.row.name}: {note}."
        for one in rows
        for run in one.runs
        for note in (run.note, _measured_elsewhere(run))
        if note
    )
    return table(rows, columns, caption + "".join(notes))


def _measured_elsewhere(run: Run) -> str:
    """Returns which measures have another device or commit than the training, and which."""
    trained, places = run.provenance, dict[str, list[str]]()
    commits = (trained.commit or "").split(", ")
    for name, origin in (run.measured or {}).items():
        if origin.device != trained.device or (origin.commit or "") not in commits:
            place = f"{origin.device}, {origin.date}, commit `{origin.commit}`"
            places.setdefault(place, []).append(name)
    return "; ".join(f"{', '.join(names)} measured on {place}" for place, names in places.items())


def _command(run: Run) -> str:
    return f"`{run.provenance.command.replace(f'--config.seed={run.seed}', '--config.seed=SEED')}`"


def _changes(changed: Mapping[str, Value]) -> str:
    if not changed:
        return "as configured"
    return ", ".join(f"`{key}={value}`" for key, value in changed.items())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
