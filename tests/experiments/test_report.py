"""RESULTS.md says what the committed records say, number by number, and nothing else."""

import collections
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from spherical_vae.experiments import catalogue, table1, table2, table3, table4, table5, table6
from spherical_vae.experiments.records import read_all
from spherical_vae.experiments.rendering import report
from spherical_vae.experiments.rendering.report import html_page, markdown_page
from spherical_vae.experiments.rendering.shown import show
from spherical_vae.experiments.rendering.tables import Table
from spherical_vae.system.errors import UserError

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "results"
PRINTED = tuple(table.PAPER for table in (table1, table2, table3, table4, table5, table6))
# With a digit after the point: counts and names of settings are no results.
DECIMAL = re.compile(r"(?<![\w.=-])\d+\.\d+(?![\w.])")


def numbers_in(value):
    """Yields every number of nested JSON or of printed values."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def means_in(rows):
    """Yields the mean over the runs of every measure that all runs of a row have."""
    for row in rows:
        measures = [dict(leaves_of(run)) for run in row["runs"]]
        for key in set.intersection(*map(set, measures)) if measures else ():
            yield sum(measure[key] for measure in measures) / len(measures)


def paired_differences(rows):
    """Yields mean and standard error of the difference of two rows over the same examples."""
    key = "iw_nll_nats_by_example"
    nats = [
        np.mean([run["closer"][key] for run in row["runs"]], axis=0)
        for row in rows
        if row["runs"] and all("closer" in run for run in row["runs"])
    ]
    for one, other in itertools.permutations(nats, 2):
        yield float((one - other).mean())
        yield float(stats.sem(one - other))


def excesses(rows):
    """Yields by how much the highest mean perplexity of a setting is above the lowest, a share."""
    for key in ("perplexity", "iw_perplexity"):
        means = collections.defaultdict(list)
        for row in rows:
            values = [run["measured"]["honest"][key] for run in row["runs"]]
            if values:
                means[row["facts"]["mode"], "bag" in row["facts"]["label"]].append(np.mean(values))
        yield from (max(found) / min(found) - 1 for found in means.values() if len(found) > 1)


def leaves_of(value, prefix=""):
    for key, item in value.items():
        if isinstance(item, dict):
            yield from leaves_of(item, f"{prefix}{key}.")
        elif isinstance(item, int | float):
            yield f"{prefix}{key}", float(item)


def unexplained(text, known):
    """Returns the decimals of a text to which none of the known numbers can be rounded."""
    without_code = re.sub(r"`[^`]*`", "", text)
    missing = []
    for shown in DECIMAL.findall(without_code):
        digits = len(shown.split(".")[1])
        if not any(f"{scale * value:.{digits}f}" == shown for value in known for scale in (1, 100)):
            missing.append(shown)
    return missing


def sections():
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    return text.split("\n## ")[1:]


def test_results_is_what_the_records_give():
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert text == markdown_page(read_all(RESULTS))


def test_every_number_is_in_the_record_of_its_section():
    records = read_all(RESULTS)
    assert len(records) == len(sections())
    for record, section in zip(records, sections(), strict=True):
        # The line on command and versions has dots that are no decimals.
        body = section.split("\n\n", 2)[2]
        rows = record.get("rows", [])
        known = {
            *numbers_in(record),
            *numbers_in(PRINTED),
            *means_in(rows),
            *paired_differences(rows),
            *(excesses(rows) if record["experiment"] == "fig6" else ()),
        }
        assert unexplained(body, known) == []


def test_a_number_that_no_record_has_would_be_found():
    assert unexplained("perplexity 768.93 (12.0)", {768.9312, 12.01}) == []
    assert unexplained("perplexity 768.94", {768.9312}) == ["768.94"]


def test_committed_records_are_of_real_runs_and_name_no_machine():
    names = {f"{name}{scale}.json" for name in catalogue.NAMES for scale in ("", "-cpu")}
    for path in RESULTS.glob("*.json"):
        assert path.name in names
        text = path.read_text(encoding="utf-8")
        assert len(text) < 200_000
        assert json.loads(text)["scale"] in ("cpu", "full")


def test_the_page_shows_the_same_cells():
    records = read_all(RESULTS)
    page = html_page(records)
    for record in records:
        for table in show(catalogue.load(record["experiment"]), record).tables:
            assert page.count("<tr>") >= len(table.rows)
            assert all(len(row) == len(table.head) for row in table.rows)
    assert page.count("<table>") == sum(
        len(show(catalogue.load(r["experiment"]), r).tables) for r in records
    )


def test_on_the_page_commands_are_text_and_break_between_their_flags():
    table = Table(
        ["row", "commit", "command"],
        [["vMF", "`0123456789`", "`python -m x --seed=1 --sweep='a'`"]],
    )
    cells = re.findall("<td.*?</td>", report.html_table(table))
    assert cells == [
        "<td>vMF</td>",
        "<td><code>0123456789</code></td>",
        '<td class="text"><code>python -m x <span>--seed=1</span> '
        "<span>--sweep=&#x27;a&#x27;</span></code></td>",
    ]


def test_a_smaller_scale_is_never_beside_the_papers_values():
    for record in read_all(RESULTS):
        if "rows" not in record:
            continue
        smaller = markdown_page([{**record, "scale": "cpu"}])
        assert "not to be set beside" in smaller
        assert "| paper" not in smaller


def test_a_file_that_is_no_record_is_refused(tmp_path):
    (tmp_path / "table4.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"table4\.json: no record"):
        read_all(tmp_path)
