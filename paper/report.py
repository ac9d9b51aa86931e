"""`RESULTS.md` and one HTML page from the store; no number comes from anywhere else."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paper.catalogue import EXPERIMENTS
from paper.experiment import NOTES, Computed, Trained
from paper.plots import save
from paper.specs import SCALES, Filled, Place, fill
from paper.store import Provenance, Record, Run, Store
from paper.tables import Table, runs_table, trials_table
from paper.verdicts import Views, missing_runs, verdict_table
from spherical_vae.system.atomic_file import write_atomically

_TITLE = "Results"
_INTRODUCTION = (
    "Every table and figure of Xu and Durrett (2018) that has been run here, computed from the "
    "runs in `results/runs/` by `python -m paper report`; no number is written by hand.",
    "Protocol *honest*: one sample per example, exact KL (under a learned prior, which has none, "
    "the exact entropy and the same sample), pads masked, validation carved from train where there "
    "is none, selection on validation, test measured once with the checkpoint that was "
    "best on validation. Protocol *paper* stands beside printed values, and where protocols are "
    "compared. Scale `cpu` has fewer steps, samples or seeds than the paper's setting: it is never "
    "set beside the paper's values.",
    "*Recipe*: one of our best configurations (`configs/best_*.py`), not the paper's model. *Vamp "
    "prior*: a mixture of the posteriors of learned pseudo-inputs. *Skip*: a linear map from z to "
    "the logits of a document. *Slot*: a position of a padded batch. *Active unit*: a coordinate "
    "whose posterior mean varies over the texts.",
)
_CPU = "**Scale `cpu`: smaller than the paper's setting, not to be set beside its values.**"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #e3e3e3; vertical-align: top; }
img { max-width: 100%; min-width: 36rem; height: auto; }
"""


@dataclass(frozen=True)
class Section:
    """One table or figure at one scale.

    Attributes:
      facts: command and provenance.
      gaps: sentences on rows of which runs or measures are missing.
      figure: drawn by matplotlib, or None.
    """

    experiment: Trained | Computed
    scale: str
    facts: str
    tables: Sequence[Table]
    gaps: Sequence[str] = ()
    figure: Any = None

    @property
    def name(self) -> str:
        """Of its files, without their endings."""
        return f"{self.experiment.name}-cpu" if self.scale == "cpu" else self.experiment.name

    def markdown(self, folder: str) -> list[str]:
        """Returns the paragraphs; links to figures start with `folder`."""
        name, (title, notes) = self.experiment.name, NOTES[self.experiment.name]
        for short, word in (("table", "Table "), ("fig", "Figure "), ("_", " ")):
            name = name.replace(short, word)
        cpu = self.scale == "cpu"
        parts = [f"## {name[0].upper()}{name[1:]}{', scale cpu' * cpu}: {title}", self.facts]
        parts += [_CPU] if cpu else []
        parts += self.gaps
        parts += [f"![{title}]({folder}/figures/{self.name}.png)"] if self.figure else []
        return [*parts, *(table.markdown() for table in self.tables), *notes]


def views_of(results: Path, places: Sequence[Place], names: Iterable[str]) -> Views:
    """Returns the filled rows of some experiments by name and scale.

    Where scale cpu has the very grid of scale full, that is what it is.
    """
    store = Store(results / "runs")
    views: dict[tuple[str, str], Sequence[Filled]] = {}
    for name in names:
        experiment = EXPERIMENTS[name]
        if isinstance(experiment, Computed):
            continue
        for place in places:
            rows = experiment.rows(place.scale)
            if place.scale == "cpu" and rows == experiment.rows("full"):
                place = replace(place, scale="full")
            views[name, place.scale] = fill(rows, store, place)
    return views


def sections(
    results: Path, views: Views, names: Iterable[str], scales: Sequence[str] = SCALES
) -> Iterator[Section]:
    """Yields what there is of some experiments, at each scale that has runs or numbers."""
    for name in names:
        experiment = EXPERIMENTS[name]
        if isinstance(experiment, Computed):
            found = experiment.read(results / "data")
            if found and found.scale in scales:
                yield _computed(experiment, found)
            continue
        for (shown, scale), filled in views.items():
            if shown == name and any(one.runs for one in filled):
                yield _trained(experiment, scale, filled)


_MORE_SEEDS = 'rows with more seeds by `--seeds=N --only="=ROW"` besides; '


def _trained(experiment: Trained, scale: str, filled: Sequence[Filled]) -> Section:
    versions = {_versions(run.provenance) for one in filled for run in one.runs}
    more = any(len(one.runs) > one.wanted for one in filled)
    return Section(
        experiment,
        scale,
        f"`python -m paper {experiment.name} --scale={scale} --manual_dir=FOLDER`; "
        f"{_MORE_SEEDS * more}runs with "
        f"{'; '.join(sorted(versions))}.",
        [*experiment.tables(filled, scale), *trials_table(filled), *runs_table(filled)],
        list(_gaps(filled)),
        experiment.draw and experiment.draw(filled),
    )


def _gaps(filled: Sequence[Filled]) -> Iterator[str]:
    def some(of: Callable[[Filled], Sequence[Run]]) -> str:
        found = [(one.row.name, [str(run.seed) for run in of(one)]) for one in filled if of(one)]
        return "; ".join(f"{name} (seed {', '.join(seeds)})" for name, seeds in found)

    missing = [one.row.name for one in filled if not (one.runs or one.diverged or one.unfinished)]
    if missing:
        yield f"Not run: {'; '.join(missing)}."
    if unfinished := some(lambda one: one.unfinished):
        yield f"Trained and not yet measured: {unfinished}."
    if diverged := some(lambda one: one.diverged):
        yield f"Diverged, so that means are of the other seeds: {diverged}."


def _computed(experiment: Computed, record: Record) -> Section:
    source = record.provenance
    return Section(
        experiment,
        record.scale,
        f"`{source.command}`; {source.device}, {source.date}; commit `{source.commit}`; "
        f"{_versions(source)}.",
        experiment.tables(record.values, record.scale),
        figure=experiment.draw and experiment.draw(record.values),
    )


def _versions(source: Provenance) -> str:
    return ", ".join(f"{name} {version}" for name, version in source.versions.items())


def write_sections(found: Iterable[Section], results: Path) -> list[Path]:
    """Writes the tables of each section as Markdown, and its figure as PNG and SVG."""
    paths = []
    for section in found:
        path = results / "tables" / f"{section.name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n\n".join(table.markdown() for table in section.tables)
        write_atomically(path, text + "\n")
        paths.append(path)
        if section.figure is not None:
            paths += save(section.figure, results / "figures", section.name)
    return paths


def write_report(results: Path, text_path: Path) -> list[Path]:
    """Draws all figures and writes both pages; returns the paths that were written.

    The store is in the folder `results`. Links in the Markdown page, `text_path`, start from its
    folder. What is of scale smoke is not shown.
    """
    # Imported by nobody else: other commands do without it.
    from markdown_it import MarkdownIt

    scales = "full", "cpu"
    views = views_of(results, [Place(Path(), scale) for scale in scales], EXPERIMENTS)
    found = list(sections(results, views, EXPERIMENTS, scales))
    paths = write_sections(found, results)
    verdicts = [verdict_table(views).markdown(), missing_runs(views)]
    links = os.path.relpath(results, text_path.parent)
    write_atomically(text_path, page(found, verdicts, Path(links).as_posix()))
    html = MarkdownIt().enable("table").render(page(found, verdicts, "."))
    write_atomically(
        results / "report.html",
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_TITLE}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{html}</body></html>\n",
    )
    return [text_path, results / "report.html", *paths]


def page(found: Sequence[Section], verdicts: Sequence[str], folder: str) -> str:
    """Returns the Markdown page: verdicts, then every section; links start with `folder`."""
    parts = [f"# {_TITLE}", *_INTRODUCTION, "## Verdicts", *filter(None, verdicts)]
    for section in found:
        parts += section.markdown(folder)
    shown = {section.experiment.name for section in found}
    absent = [name for name in EXPERIMENTS if name not in shown]
    parts += [f"Not run yet: {', '.join(absent)}."] if absent else []
    return "\n\n".join(parts) + "\n"
