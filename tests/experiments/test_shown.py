"""Rows that were not run are named once and left out; all others are shown as they are."""

import pytest

from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.rendering.shown import show
from spherical_vae.experiments.rendering.tables import Table

HEAD = ["row", "a", "b"]


def experiment(*tables, remarks=()):
    return Experiment("", lambda _: {}, lambda _: tables, remarks=lambda _: remarks)


@pytest.mark.parametrize(
    "kept",
    [
        ["printed", "12", "not run"],
        ["one seed", "0; seed 1: not run", "3.5"],
        ["no code", "-", "-"],
        ["no files", "the files of yelp are not here", "-"],
    ],
)
def test_what_says_more_is_kept(kept):
    shown = show(experiment(Table(HEAD, [kept])), {})
    assert shown.tables == [Table(HEAD, [kept])]
    assert shown.remarks == []


def test_rows_not_run_are_named_once():
    one = Table(HEAD, [["x", "not run", "not run"], ["y", "1", "2"], ["z", "not run", "-"]], "of x")
    other = Table(HEAD, [["x", "seed 0: not run", "-"], ["y", "3", "4"]])
    shown = show(experiment(one, other, Table(HEAD, [["x", "not run", "-"]]), remarks=("!",)), {})
    assert shown.remarks == ["!", "Not run: x; z."]
    assert shown.tables == [
        Table(HEAD, [["y", "1", "2"]], "of x"),
        Table(HEAD, [["y", "3", "4"]]),
    ]


def test_a_run_of_another_record_is_told():
    taken = [{"taken_from": "table3"}, {"taken_from": "table3"}]
    found = {"rows": [{"name": "x", "runs": taken}, {"name": "y", "runs": [{}]}]}
    assert show(experiment(), found).remarks == [
        "The same run as elsewhere, from whose record it is: x (table3)."
    ]
