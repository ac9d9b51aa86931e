"""RESULTS.md is what the store gives; figures of whatever was run; estimated costs."""

import dataclasses

import pytest
from made import filled, made_run
from small_run import ROOT

from paper.catalogue import EXPERIMENTS
from paper.experiment import Trained
from paper.listing import estimate, measured_rates
from paper.plots import save
from paper.report import write_report
from paper.specs import Place, Row, Spec, fill
from paper.store import Store


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
@pytest.mark.parametrize("kept", ["some", "none"])
def test_figures_are_drawn_of_whatever_was_run(name, kept, tmp_path):
    experiment = EXPERIMENTS[name]
    scale = "full" if name in ("fig2", "learned_kappa") else "cpu"
    store = Store(ROOT / "results" / "runs")
    rows = fill(experiment.rows(scale), store, Place(tmp_path, scale))
    if kept == "none":
        rows = [dataclasses.replace(one, runs=()) for one in rows]
    figure = experiment.draw(rows, scale)
    if figure is not None:
        assert all(path.stat().st_size > 1000 for path in save(figure, tmp_path, name))
    assert figure is not None or kept == "none"


def run_of(seed, seconds, steps, device="2 CPU cores"):
    run = made_run(seed)
    spec = Spec("news20", {"latent.dimension": 25})
    return dataclasses.replace(
        run,
        config=spec.config,
        overrides=dict(spec.overrides),
        settings=Place(ROOT, "full").settings(spec),
        training=dataclasses.replace(run.training, seconds=seconds, last_step=steps),
        provenance=dataclasses.replace(run.provenance, device=device),
    )


def test_costs_are_steps_times_the_seconds_of_recorded_runs():
    runs = [run_of(0, 10.0, 100), run_of(1, 30.0, 100), run_of(2, None, 100)]
    rates = measured_rates(runs)
    assert rates == {("news20", 100): {"2 CPU cores": 0.2}}
    row = Row("a", "g", "vMF", "news20", {"train.epochs": 10})
    # 1,000 examples are 10 steps an epoch: 3 seeds of 100 steps each, at 0.2 s.
    assert estimate([row], "full", 3, rates, {"news20": 1000}).startswith("60 s")
    unknown = dataclasses.replace(row, config="rcv1")
    assert "3 of 6" in estimate([row, unknown], "full", 3, rates, {"news20": 1000})
    assert filled(*runs[:1]).runs == (runs[0],)
