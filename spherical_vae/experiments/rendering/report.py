"""`RESULTS.md` and one HTML page from the records; no number comes from anywhere else."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from spherical_vae.experiments import catalogue
from spherical_vae.experiments.records import Record, draw, file_name, read_all
from spherical_vae.experiments.rendering.shown import show
from spherical_vae.experiments.rendering.tables import Table, shown_commit
from spherical_vae.system.atomic_file import write_atomically

_TITLE = "Results"
_INTRODUCTION = (
    "Every table and figure of Xu and Durrett (2018) that has been run here, drawn from the "
    "records in `results/` by `python -m spherical_vae.experiments report`; no number is written "
    "by hand.",
    "Protocol *honest*: one draw a term, exact KL, pads masked, dev carved from train where there "
    "is none, selection on dev, test measured once by the checkpoint that was best on dev. "
    "Protocol *paper* stands beside printed values, and where protocols are compared. A record at "
    "scale `cpu` has fewer steps, draws or seeds than the paper's setting: it is never set beside "
    "the paper's values.",
)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #e3e3e3;
  vertical-align: top; }
td { white-space: nowrap; } th { border-bottom: 2px solid #888; vertical-align: bottom; }
/* What a row is stays in sight where the table is wider than the window. */
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.text { text-align: left; } td.text { white-space: normal; min-width: 24rem; }
/* A flag is broken only where it is longer than a line. */
code span { display: inline-block; max-width: 100%; overflow-wrap: anywhere; }
.caption { color: #444; margin: 1.5rem 0 0.3rem; }
img { max-width: 100%; min-width: 36rem; height: auto; }
@media (max-width: 40rem) { td:first-child { white-space: normal; min-width: 6.5rem; } }
.warning { border-left: 4px solid #D55E00; padding-left: 0.8rem; }
"""


def write_report(results: Path, text_path: Path = Path("RESULTS.md")) -> list[Path]:
    """Draws all figures and writes both pages.

    Args:
      results: folder of the records.
      text_path: of the Markdown page; links in it start from its folder.

    Returns:
      What was written.
    """
    records = read_all(results)
    figures = [path for record in records for path in draw(record, results)]
    write_atomically(text_path, markdown_page(records, results.as_posix()))
    page = results / "report.html"
    write_atomically(page, html_page(records))
    return [text_path, page, *figures]


def markdown_page(records: Sequence[Record], folder: str = "results") -> str:
    """Returns `RESULTS.md`."""
    parts = [f"# {_TITLE}", *_INTRODUCTION]
    for record in records:
        parts += [f"## {_heading(record)}", *_facts(record)]
        experiment = catalogue.load(record["experiment"])
        shown = show(experiment, record)
        parts += shown.remarks
        if _has_figure(record):
            name = file_name(record)
            parts.append(f"![{experiment.title}]({folder}/figures/{name}.png)")
        parts += [table.markdown() for table in shown.tables]
        parts += experiment.notes
    parts.append(_missing(records))
    return "\n\n".join(part for part in parts if part) + "\n"


def html_page(records: Sequence[Record]) -> str:
    """Returns the same as one page; its figures lie beside it in `figures/`."""
    body = [f"<h1>{_TITLE}</h1>", *(f"<p>{_inline(text)}</p>" for text in _INTRODUCTION)]
    for record in records:
        experiment = catalogue.load(record["experiment"])
        body.append(f"<h2>{_inline(_heading(record))}</h2>")
        warning = ' class="warning"' if record["scale"] != "full" else ""
        body += [f"<p{warning}>{_inline(text)}</p>" for text in _facts(record)]
        shown = show(experiment, record)
        body += [f"<p>{_inline(text)}</p>" for text in shown.remarks]
        if _has_figure(record):
            source = f"figures/{file_name(record)}.svg"
            image = f'<img src="{source}" alt="{html.escape(experiment.title)}">'
            body.append(f'<div class="scroll">{image}</div>')
        body += [html_table(table) for table in shown.tables]
        body += [f"<p>{_inline(text)}</p>" for text in experiment.notes]
    body.append(f"<p>{_inline(_missing(records))}</p>")
    content = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_TITLE}</title>"
        f"<style>{_STYLE}</style></head>\n<body>\n{content}\n</body></html>\n"
    )


def _heading(record: Record) -> str:
    name = record["experiment"]
    shown = re.sub(r"^(table|fig)(\d)$", lambda m: f"{_WORDS[m[1]]} {m[2]}", name)
    shown = shown.replace("_", " ").capitalize()
    return f"{shown}: {catalogue.load(name).title}"


_WORDS = {"table": "table", "fig": "figure"}


def _facts(record: Record) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    facts = [
        f"`{record['command']}`; collected on {record['device']}, {record['date']}; commit "
        f"{shown_commit(record)}; {versions}."
    ]
    if record["scale"] != "full":
        facts.append(
            f"**Scale `{record['scale']}`: smaller than the paper's setting, and not to be set "
            "beside its values.**"
        )
    return facts


def _missing(records: Sequence[Record]) -> str:
    present = {record["experiment"] for record in records}
    names = [name for name in catalogue.NAMES if name not in present]
    return f"Not run yet: {', '.join(names)}." if names else ""


def _has_figure(record: Record) -> bool:
    return catalogue.load(record["experiment"]).draw is not None


def html_table(table: Table) -> str:
    """Returns a table that scrolls by itself where it is wider than the window."""
    # Columns of settings and commands are read, the others compared.
    columns = range(len(table.head))
    texts = [any("`" in row[i] and "=" in row[i] for row in table.rows) for i in columns]

    def line(cells: Sequence[str], tag: str) -> str:
        opening = [f'<{tag} class="text">' if text else f"<{tag}>" for text in texts]
        pairs = zip(opening, cells, strict=True)
        return "".join(f"{start}{_inline(cell)}</{tag}>" for start, cell in pairs)

    head = line(table.head, "th")
    rows = [f"<tr>{line(row, 'td')}</tr>" for row in table.rows]
    caption = f'<p class="caption">{_inline(table.caption)}</p>\n' if table.caption else ""
    return (
        f'{caption}<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{chr(10).join(rows)}</tbody></table></div>"
    )


def _inline(text: str) -> str:
    """Returns a line of Markdown as HTML: `code`, **bold**, *emphasis*, and nothing else."""
    escaped = html.escape(text)
    escaped = re.sub(r"`([^`]+)`", lambda m: f"<code>{_unbroken(m[1])}</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", escaped)


def _unbroken(code: str) -> str:
    return re.sub(r"--\S+", r"<span>\g<0></span>", code)
