"""A row whose run stands in another record is filled from there; nothing else of it is claimed."""

import json

import pytest

from spherical_vae.experiments import fig4, table1, table3
from spherical_vae.experiments.known_runs import known_runs
from spherical_vae.experiments.laboratory.runs import Laboratory, Unavailable
from spherical_vae.experiments.laboratory.settings import rows
from spherical_vae.experiments.records import with_earlier_rows

TRAINED = {"seed": 0, "corpus": "ptb", "dev_perplexity": 7.0, "train_seconds": 5.0}
MEASURED = {"honest": {"perplexity": 8.0}, "paper": {"perplexity": 6.0}, "averaged": {}}
NAME = "PTB inputless vMF"


def named(settings, name):
    (found,) = (setting for setting in settings if setting.name == name)
    return found


@pytest.fixture
def results(tmp_path):
    """A folder with a record of one row of table 3, as it is written."""
    setting = named(table3.settings("cpu"), NAME)
    run = {"command": setting.run({}, 0).command, **TRAINED, "measured": MEASURED, "dev": {}}
    row = {"name": NAME, "alternatives": [{}], "chosen": {}, "runs": [run]}
    record = {"experiment": "table3", "scale": "cpu", "seeds": [0], "command": "", "rows": [row]}
    (tmp_path / "table3-cpu.json").write_text(json.dumps(record), encoding="utf-8")
    return tmp_path


def collect(settings, results, training=False):
    laboratory = Laboratory(
        results / "work", "cpu", 1, training=training, known=known_runs(results, "cpu")
    )
    return {row["name"]: row for row in rows(laboratory, settings)}


def test_the_same_run_under_another_name_is_taken_over(results):
    found = collect(fig4.settings("cpu"), results)
    (run,) = found["PTB inputless vMF kappa=80"]["runs"]
    setting = named(fig4.settings("cpu"), "PTB inputless vMF kappa=80")
    assert run == {
        "taken_from": "table3",
        "command": setting.run({}, 0).command,
        **TRAINED,
        "measured": MEASURED,
    }
    others = [row for name, row in found.items() if name != setting.name]
    assert others
    assert all(row["missing"] == "seed 0: not run" for row in others)
    assert not (results / "work").exists()


def test_what_was_measured_on_test_is_no_measure_of_dev(results):
    found = collect(table1.settings("cpu"), results)
    assert found["PTB inputless vMF 1 layer"]["runs"] == []


def test_what_needs_the_checkpoint_is_not_found_out(results):
    laboratory = Laboratory(
        results / "work", "cpu", 1, training=False, known=known_runs(results, "cpu")
    )
    run = named(table3.settings("cpu"), NAME).run({}, 0)
    for ask in (laboratory.model, laboratory.dev_curve):
        with pytest.raises(Unavailable, match="only its record is here"):
            ask(run)
    # Otherwise it would be trained here, for `--notrain`.
    with pytest.raises(Unavailable, match="not run"):
        laboratory.measure(run, split="valid")


def test_a_row_that_is_trained_otherwise_today_is_not_known(results):
    path = results / "table3-cpu.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("train.epochs=10", "train.epochs=11"), encoding="utf-8")
    assert known_runs(results, "cpu") == {}
    path.write_text(text, encoding="utf-8")
    assert known_runs(results, "full") == {}


def test_a_row_of_ones_own_is_not_replaced_by_what_was_taken_over(results):
    def record(run):
        setting = named(fig4.settings("cpu"), "PTB inputless vMF kappa=80")
        run = run | {"seed": 0, "command": setting.run({}, 0).command}
        row = {"name": setting.name, "alternatives": [{}], "chosen": {}, "runs": [run]}
        return {"experiment": "fig4", "scale": "cpu", "seeds": [0], "command": "", "rows": [row]}

    own, taken = record({"mark": "own"}), record({"mark": "taken", "taken_from": "table3"})
    for earlier, later in ((own, taken), (taken, own)):
        (results / "fig4-cpu.json").write_text(json.dumps(earlier), encoding="utf-8")
        assert with_earlier_rows(later, results)["rows"] == own["rows"]
