"""Cells are of the right runs."""

import dataclasses

import numpy as np
from made import filled, made_run

from paper.ablation import SENTENCES, ideas_table
from paper.differences import tight_difference
from paper.language import curves_table
from paper.specs import GAUSSIAN, HONEST, RNNLM, VMF, Printed
from paper.store import Bounds, Measured, Point
from paper.tables import (
    above,
    bound,
    bounds_table,
    mean,
    mean_and_range,
    printed_table,
    reference,
    runs_table,
    tight_table,
    trials_table,
)

ONE = [3.0, 5.0, 10.0, 2.0]


def test_the_reference_of_a_group_is_the_one_best_on_validation():
    rows = [
        filled(made_run(perplexity=9.0), name="a", model=GAUSSIAN),
        filled(made_run(perplexity=8.0), name="b", model=GAUSSIAN),
        filled(made_run(perplexity=None), name="c", model=GAUSSIAN),
        filled(made_run(perplexity=1.0), name="d", model=GAUSSIAN, group="another"),
        filled(made_run(perplexity=1.0), name="e", model=VMF),
        filled(name="f", model=GAUSSIAN),
    ]
    assert reference(rows, "g", GAUSSIAN).row.name == "b"
    assert reference(rows, "another", RNNLM) is None


def test_cells_name_the_difference_and_set_a_decided_one_in_bold():
    rows = [
        filled(made_run(tight=ONE), name="vMF"),
        filled(made_run(tight=[value + 3 + i / 10 for i, value in enumerate(ONE)]), name="Gaussian",
               model=GAUSSIAN),
    ]  # fmt: skip
    column = above(GAUSSIAN, tight_difference)
    gaps = np.array([3.0, 3.1, 3.2, 3.3])
    assert column.cell(rows[0], rows) == f"**-3.15 ± {gaps.std(ddof=1) / 2:.2f}**"
    assert column.cell(rows[1], rows) == "-"
    (table,) = tight_table([*rows, filled(made_run(), name="without")], (GAUSSIAN,))
    assert [row[0] for row in table.rows] == ["vMF", "Gaussian"]


def test_the_lowest_mean_of_a_group_is_in_bold():
    rows = [
        filled(made_run(0, perplexity=1.0, nll_nats=3.0), made_run(1, nll_nats=5.0)),
        filled(made_run(0, nll_nats=4.5)),
        filled(made_run(0, nll_nats=1.0), group="alone"),
        filled(made_run(0, nll_nats=None)),
    ]
    column = mean("", bound(HONEST, "nll_nats"), 1, best=True)
    cells = [column.cell(row, rows) for row in rows]
    assert cells == ["**4.0** (3.0 to 5.0)", "4.5", "1.0", "-"]
    assert mean_and_range([1.0, 4.0], 0, bold=True) == "**2** (1 to 4)"


def test_rows_without_runs_are_in_no_table_but_beside_printed_values():
    printed = Printed(99, 4.4, 109)
    rows = [filled(made_run(), printed=printed), filled(name="b", printed=printed)]
    for tables in (bounds_table(rows), runs_table(rows)):
        assert [row[0] for row in tables[0].rows] == ["a"]
    assert printed_table(rows)[0].rows == [
        ["a", "99 (4.4) / 109", "-", "-", "-", "1"],
        ["b", "99 (4.4) / 109", "not run", "-", "-", "-"],
    ]
    assert bounds_table(rows[1:]) == runs_table(rows[1:]) == printed_table(rows[1:]) == []
    assert trials_table(rows) == []
    for table in (*bounds_table(rows), *runs_table(rows)):
        assert {len(row) for row in table.rows} == {len(table.head)}


def test_rows_with_other_numbers_of_samples_say_so():
    few, many = made_run(), made_run(importance_samples=500)
    exact = made_run(importance_samples=100, kl_nats=0.0)
    (same,) = bounds_table([filled(few, name="a"), filled(exact, name="c")])
    assert "samples" not in same.head
    (table,) = bounds_table([filled(few), filled(many), filled(exact)])
    column = table.head.index("samples")
    assert [row[column] for row in table.rows] == ["20", "500", "-"]


def test_a_bound_is_measured_again_with_more_samples():
    row = dataclasses.replace(filled().row, tight_samples=500)
    run = made_run(tight=ONE)
    assert row.is_complete(run)
    assert not dataclasses.replace(row, tight_samples=10_000).is_complete(run)


def test_what_was_measured_elsewhere_is_said():
    here, there = (
        Measured("abc", "2 CPU cores", "2026-11-28"),
        Measured("def", "1 GPU", "2026-12-01"),
    )
    run = dataclasses.replace(made_run(), measured={"tight": here, "swaps": there, HONEST: there})
    caption = runs_table([filled(run)])[0].caption
    assert "swaps, test/honest measured on 1 GPU, 2026-12-01, commit `def`" in caption
    assert "tight" not in caption


def test_a_curve_has_its_ends_and_extremes():
    points = (Point(1, 3.0, 90.0), Point(2, 5.0, None), Point(3, 1.0, 80.0), Point(4, 2.0, 85.0))
    run = dataclasses.replace(made_run(), validation=points)
    (table,) = curves_table([filled(run), filled(made_run())])
    (row,) = table.rows
    assert row == ["a", "4", "3.00", "5.00", "2.00", "90.0", "80.0", "85.0", "no", "1"]


def test_the_ablation_shows_paired_differences_to_the_full_recipe():
    def row(label, nats):
        run = made_run()
        elbo = Bounds(4, 9, 3, nll_nats=float(np.mean(nats)), perplexity=7.0, kl_nats=1.0,
                      nats=tuple(nats))  # fmt: skip
        run.bounds["valid/elbo"] = elbo
        return filled(run, group="PTB, vMF", label=label)

    better = [value - 2 - i / 10 for i, value in enumerate(ONE)]
    worse = [value + 2 + i / 10 for i, value in enumerate(ONE)]
    names = [idea.name for idea in SENTENCES.ideas]
    rows = [row("full recipe", ONE), row(names[0], better), row(names[1], worse)]
    table = ideas_table(SENTENCES, rows)
    column = table.head.index("vMF: ELBO nats")
    cells = {line[0]: line[column] for line in table.rows}
    assert cells["full recipe"] == "5.00"
    assert cells[names[0]].startswith("**-2.15 ±")
    assert cells[names[1]].startswith("+2.15 ±")
    assert cells[names[2]] == "not run"


def test_information_at_its_ceiling_and_a_note_of_a_run_are_shown():
    near, free = (
        made_run(mutual_information_nats=level, mutual_information_at_ceiling=level > 8)
        for level in (8.1, 4.0)
    )
    (table,) = bounds_table([filled(near, name="a"), filled(free, name="b")])
    column = table.head.index("MI")
    assert [row[column] for row in table.rows] == ["8.10, ceiling", "4.00"]
    noted = dataclasses.replace(near, note="validated in bfloat16")
    (runs,) = runs_table([filled(noted), filled(free)])
    assert noted.note in runs.caption
    assert noted.note not in runs_table([filled(free)])[0].caption
