"""A row whose run stands in another record is filled from there; nothing else of it is claimed."""

import json
from pathlib import Path

import pytest

from spherical_vae.experiments import catalogue, fig4, table1, table3
from spherical_vae.experiments.known_runs import known_runs
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.runs import Laboratory, Unavailable
from spherical_vae.experiments.laboratory.settings import rows
from spherical_vae.experiments.records import with_earlier_rows
from spherical_vae.runs.run_directory import open_run

RESULTS = Path(__file__).parents[2] / "results"
TRAINED = {"seed": 0, "corpus": "ptb", "dev_perplexity": 7.0, "train_seconds": 5.0}
MEASURED = {
    name: {"split": "test", "perplexity": perplexity}
    for name, perplexity in (("honest", 8.0), ("paper", 6.0), ("averaged", 9.0))
}
NAME = "PTB inputless vMF"
COPY = "PTB inputless vMF kappa=80"


def named(experiment, name):
    (found,) = (setting for setting in experiment.settings("cpu") if setting.name == name)
    return found


def record(experiment, name, **changed):
    """A record of one row, as it is written."""
    setting = named(catalogue.load(experiment), name)
    command = setting.run({}, 0).command
    run = {"command": command, **TRAINED, **changed}
    # In this order: how it was trained, what all measure, what only its experiment asks.
    run |= {"measured": run.pop("measured", MEASURED), "dev": {}}
    row = {"name": name, "alternatives": [{}], "chosen": {}, "runs": [run]}
    return {"experiment": experiment, "scale": "cpu", "seeds": [0], "command": "", "rows": [row]}


def put(folder, record):
    path = folder / f"{record['experiment']}-cpu.json"
    path.write_text(json.dumps(record), encoding="utf-8")


def laboratory(results, experiment, work=None):
    work = work or results / "work"
    known = known_runs(results, work, experiment, "cpu")
    return Laboratory(work, "cpu", 1, training=False, known=known)


def run_of(results, experiment, name):
    setting = named(catalogue.load(experiment), name)
    (row,) = rows(laboratory(results, experiment), [setting])
    (run,) = row["runs"] or [None]
    return run


def test_the_same_run_under_another_name_is_taken_over(tmp_path):
    put(tmp_path, record("table3", NAME))
    found = {r["name"]: r for r in rows(laboratory(tmp_path, "fig4"), fig4.settings("cpu"))}
    (run,) = found.pop(COPY)["runs"]
    assert run == {
        "taken_from": "table3",
        "command": named(fig4, COPY).run({}, 0).command,
        **TRAINED,
        "measured": MEASURED,
    }
    assert {row["missing"] for row in found.values()} == {"seed 0: not run"}
    assert not (tmp_path / "work").exists()


def test_what_was_measured_on_test_is_no_measure_of_dev(tmp_path):
    put(tmp_path, record("table3", NAME))
    assert run_of(tmp_path, "table1", "PTB inputless vMF 1 layer") is None
    assert named(table1, "PTB inputless vMF 1 layer").split == "valid"


def test_one_record_answers_for_a_run_and_the_one_that_trained_it_before_others(tmp_path):
    put(tmp_path, record("table3", NAME, taken_from="table6"))
    assert run_of(tmp_path, "fig4", COPY)["taken_from"] == "table6"
    put(tmp_path, record("fig6", COPY, train_seconds=6.0))
    found = run_of(tmp_path, "fig4", COPY)
    assert (found["taken_from"], found["train_seconds"]) == ("fig6", 6.0)
    # Its own is not said to be taken over.
    put(tmp_path, record("fig4", COPY, train_seconds=7.0))
    found = run_of(tmp_path, "fig4", COPY)
    assert ("taken_from" in found, found["train_seconds"]) == (False, 7.0)
    # The measures of two trainings are not put together.
    put(tmp_path, record("fig4", COPY, measured={"honest": MEASURED["honest"]}))
    assert run_of(tmp_path, "fig4", COPY) is None


def test_a_run_that_may_be_another_one_is_not_known(tmp_path):
    original = record("table3", NAME)
    (run,) = original["rows"][0]["runs"]
    key = address(Laboratory(tmp_path, "cpu", 1).config(named(table3, NAME).run({}, 0)))

    def known(scale="cpu", **changed):
        put(tmp_path, record("table3", NAME, **changed))
        return set(known_runs(tmp_path, tmp_path, "fig4", scale))

    assert known() == {key}
    assert known(scale="full") == set()
    longer = run["command"].replace("train.epochs=10", "train.epochs=11")
    assert known(command=longer) == set()
    assert known(address="another") == set()
    # The command of a sweep is that of all its replicas.
    assert known(sweep={"replicas": 2}) == set()
    assert known(sweep={"replicas": 2}, address=key) == {key}


def test_what_needs_the_checkpoint_is_not_found_out(tmp_path):
    put(tmp_path, record("table3", NAME))
    where, run = laboratory(tmp_path, "table3"), named(table3, NAME).run({}, 0)
    for ask in (where.model, where.dev_curve):
        with pytest.raises(Unavailable, match="only its record is here"):
            ask(run)
    with pytest.raises(Unavailable, match="not run"):
        where.measure(run, split="valid")


def test_nothing_is_trained_that_was_only_begun(tmp_path):
    where = Laboratory(tmp_path, "cpu", 1, training=False)
    run = named(table3, NAME).run({}, 0)
    config = where.config(run)
    open_run(where.directory(config), config).close()
    for ask in (where.train, where.measure, where.model, where.dev_curve):
        with pytest.raises(Unavailable, match=r"^not run$"):
            ask(run)


def test_a_run_that_was_trained_here_is_measured_here(tmp_path, monkeypatch):
    put(tmp_path, record("table3", NAME))
    where, run = laboratory(tmp_path, "table3"), named(table3, NAME).run({}, 0)
    config = where.config(run)
    open_run(where.directory(config), config).close()
    (where.directory(config) / "trained.json").write_text('{"best_step": 99}', encoding="utf-8")
    assert where.train(run)["best_step"] == 99
    monkeypatch.setattr(where, "model", lambda run: pytest.skip("measured"))
    with pytest.raises(pytest.skip.Exception, match="measured"):
        where.measure(run)


def test_a_row_of_ones_own_is_not_replaced_by_what_was_taken_over(tmp_path):
    own = record("fig4", COPY, mark="own")
    taken = record("fig4", COPY, mark="taken", taken_from="table3")
    for earlier, later in ((own, taken), (taken, own)):
        put(tmp_path, earlier)
        assert with_earlier_rows(later, tmp_path)["rows"] == own["rows"]


@pytest.mark.parametrize("name", [n for n in catalogue.NAMES if catalogue.load(n).settings("full")])
def test_every_experiment_can_be_collected_where_nothing_was_trained(name, tmp_path):
    """And rows that were measured are known again, by the records of this repository."""
    for scale in ("cpu", "full"):
        known = known_runs(RESULTS, tmp_path, name, scale)
        where = Laboratory(tmp_path, scale, 1, training=False, known=known)
        experiment = catalogue.load(name)
        found = experiment.collect(where)["rows"]
        assert [row["name"] for row in found] == [s.name for s in experiment.settings(scale)]
    assert list(tmp_path.iterdir()) == []
