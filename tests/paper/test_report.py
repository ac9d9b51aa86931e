"""RESULTS.md is what the store gives; figures of whatever was run; the list."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from made import made_run
from small_run import ROOT

from paper.catalogue import EXPERIMENTS, listing
from paper.experiment import Trained
from paper.plots import save
from paper.report import sections, write_report
from paper.runner import Runner
from paper.specs import Filled, Place, fill
from paper.store import Store, Training

TRACE = SimpleNamespace(split="valid", example=0, tokens=7, points=[])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report of the committed store, whose links start as in the clone."""
    folder = tmp_path_factory.mktemp("report")
    results = folder / "results"
    results.mkdir()
    for name in ("runs", "data"):
        (results / name).symlink_to(ROOT / "results" / name)
    write_report(results, folder / "RESULTS.md")
    return folder


def test_the_committed_page_is_that_of_the_committed_store(written):
    """After a change of runs or of what is shown: python -m paper report."""
    text = (written / "RESULTS.md").read_text(encoding="utf-8")
    # Links start with the folder that was given.
    text = text.replace((written / "results").as_posix(), "results")
    assert text == (ROOT / "RESULTS.md").read_text(encoding="utf-8")


def test_every_figure_of_the_page_is_there(written):
    links = [line for line in (ROOT / "RESULTS.md").read_text().splitlines() if line[:2] == "!["]
    assert len(links) >= 8
    for line in links:
        name = line.split("](")[1].rstrip(")")
        assert (ROOT / name).is_file()
        assert (written / name).is_file()
        assert (written / name).with_suffix(".svg").is_file()
    page = (written / "results" / "report.html").read_text(encoding="utf-8")
    assert page.count("<table>") > 30
    assert page.count("<img") == len(links)


@pytest.mark.parametrize(
    "name", [name for name, one in EXPERIMENTS.items() if isinstance(one, Trained) and one.draw]
)
def test_figures_are_drawn_before_anything_was_run(name, tmp_path):
    experiment = EXPERIMENTS[name]
    rows = fill(experiment.rows("cpu"), Store(tmp_path / "runs"), Place(tmp_path, "cpu"))
    figure = experiment.draw(rows)
    if figure is not None:
        assert all(path.stat().st_size > 1000 for path in save(figure, tmp_path, name))


@pytest.mark.thorough
def test_a_store_of_ones_own_has_its_own_page_without_runs_of_scale_smoke(tmp_path):
    runner = Runner(Place(tmp_path, "smoke"), Store(tmp_path / "mine" / "runs"))
    EXPERIMENTS["fig1"].write(runner, tmp_path / "mine" / "data")
    text_path, html, *_ = write_report(tmp_path / "mine", tmp_path / "mine" / "RESULTS.md")
    assert "Figure 1" not in text_path.read_text(encoding="utf-8")
    cpu = Runner(Place(tmp_path, "cpu"), runner.store)
    EXPERIMENTS["fig1"].write(cpu, tmp_path / "mine" / "data")
    write_report(tmp_path / "mine", text_path)
    assert "](./figures/fig1-cpu.png)" in text_path.read_text(encoding="utf-8")
    assert html.is_file()


def test_what_is_missing_is_told_apart():
    """Not run, not measured, and diverged beside other seeds."""
    experiment = EXPERIMENTS["fig4"]
    rows = experiment.rows("cpu")
    diverged = dataclasses.replace(made_run(2), training=Training(diverged="NaN"))
    filled = [
        Filled(rows[0], (), {}, ()),
        Filled(rows[1], (), {}, (), unfinished=(made_run(1),)),
        Filled(rows[2], (), {}, (made_run(0),), (diverged,), wanted=3),
    ]
    (section,) = sections(Path(), {("fig4", "cpu"): filled}, ["fig4"])
    text = "\n\n".join(section.markdown("."))
    assert f"Not run: {rows[0].name}.\n" in text
    assert f"not yet measured: {rows[1].name} (seed 1).\n" in text
    assert f"Diverged, so that means are of the other seeds: {rows[2].name} (seed 2)." in text
    assert section.tables[0].rows[0][-1] == "1 of 3"


def test_the_list_has_the_seconds_of_the_runs_in_the_store(tmp_path):
    store, place = Store(tmp_path / "runs"), Place(ROOT, "cpu")
    for row, seconds in zip(EXPERIMENTS["fig2"].rows("cpu"), (10.0, None), strict=True):
        run = dataclasses.replace(made_run(), settings=place.settings(row.spec({})), trace=TRACE)
        training = dataclasses.replace(run.training, seconds=seconds)
        store.save(dataclasses.replace(run, training=training))
    lines = [line.strip("| ").split(" | ") for line in listing("cpu", 3, tmp_path).splitlines()]
    cells = {name: numbers for name, _, *numbers in lines if name in EXPERIMENTS}
    assert cells["fig2"] == ["0", "6", "2", "10 (1)"]
    assert cells["fig4"] == ["0", "18", "0", "-"]
