"""A run is trained once, measured once, resumed after a stop, and never by two processes."""

import dataclasses
import json
import shutil

import pytest

import paper.runner as module
from paper.catalogue import EXPERIMENTS
from paper.runner import Runner, timed
from paper.specs import Place, fill
from paper.store import Store
from spherical_vae.evaluation.example_file import read_bounds
from spherical_vae.runs.run_directory import load_run
from spherical_vae.system.errors import DivergedError
from spherical_vae.system.folder_lock import lock_folder

# Its trials are the runs of the row: at smoke scale all trainings are of eight steps.
ROW = EXPERIMENTS["table4"].rows("smoke")[0]
TRACED = EXPERIMENTS["fig2"].rows("smoke")[0]


def runner_in(folder, **options):
    return Runner(Place(folder, "smoke"), Store(folder / "store"), **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    runner_in(folder).complete([ROW, TRACED], 1)
    return folder


def files(folder):
    return {path.name: path.read_text() for path in (folder / "store").glob("*.json")}


def test_a_row_is_completed(made):
    store, place = Store(made / "store"), Place(made, "smoke")
    row, traced = fill([ROW, TRACED], store, place)
    perplexities = [trial.training.perplexity for trial in row.trials]
    assert row.chosen == ROW.alternatives[perplexities.index(min(perplexities))]
    (run,) = row.runs
    assert set(run.bounds) == {"test/honest", "test/paper"}
    assert len(run.bounds["test/honest"].nats) == run.bounds["test/honest"].examples == 16
    assert run.bounds["test/honest"].step == run.training.best_step
    assert [point.step for point in run.validation] == [4, 8]
    assert run.training.perplexity == min(point.perplexity for point in run.validation)
    assert (run.training.starts, run.training.last_step) == (1, 8)
    assert run.training.seconds > 0
    assert run.tight.importance_samples == 4
    assert set(run.measured) == {*run.bounds, "tight"}
    assert {one.device for one in run.measured.values()} == {run.provenance.device}
    assert [point.step for point in traced.runs[0].trace.points] == [0, 4, 8]
    assert len(files(made)) == 3  # the chosen trial is the run


def test_nothing_is_made_again(made, monkeypatch):
    monkeypatch.setattr(module, "train_model", None)
    monkeypatch.setattr(module, "measure_bounds", None)
    before = files(made)
    runner_in(made).complete([ROW, TRACED], 1)
    assert files(made) == before


def test_a_missing_measure_needs_the_checkpoint_of_the_same_training(made, tmp_path, capsys):
    wanting = dataclasses.replace(TRACED, bounds=("test/honest", "valid/elbo"))
    # Elsewhere there is the store alone.
    for path in (made / "store").glob("*.json"):
        (tmp_path / "store").mkdir(exist_ok=True)
        (tmp_path / "store" / path.name).write_text(path.read_text())
    before = files(tmp_path)
    runner_in(tmp_path).complete([wanting], 1)
    assert files(tmp_path) == before
    assert "checkpoint" in capsys.readouterr().err
    runner_in(made).complete([wanting], 1)
    (run,) = fill([wanting], Store(made / "store"), Place(made, "smoke"))[0].runs
    assert len(run.bounds["valid/elbo"].nats) == 16
    another = dataclasses.replace(run.training, best_step=5)
    Store(made / "store").save(dataclasses.replace(run, training=another, bounds={}))
    before = files(made)
    runner_in(made).complete([wanting], 1)
    assert files(made) == before
    assert "another training" in capsys.readouterr().err
    Store(made / "store").save(run)


@pytest.mark.thorough
def test_a_run_starts_from_another_which_is_trained_first(tmp_path, capsys):
    row = dataclasses.replace(TRACED, origin=TRACED.spec({}), extras=())
    runner = runner_in(tmp_path)
    ids = [runner.place.run_id(spec) for spec in (row.origin, row.spec({}))]
    origin, directory = (tmp_path / "runs" / name for name in ids)
    runner.complete([row], 1)
    assert {run.id for run in runner.store} == set(ids)
    assert ids[0] != ids[1]
    assert load_run(directory).origin["workdir"] == str(origin)
    assert "--init_from" in row.spec({}).command
    # What has been measured of the bound is kept beside the checkpoints.
    (examples,) = directory.glob("*.examples.json")
    _, nats = read_bounds(examples)
    run = runner.store.get(ids[1])
    assert nats.mean() == pytest.approx(run.bounds["test/honest"].iw_nll_nats)
    # Without the checkpoint of the first, a second seed has nothing to start from.
    shutil.rmtree(origin / "checkpoints")
    capsys.readouterr()
    runner_in(tmp_path).complete([row], 2)
    assert str(origin) in capsys.readouterr().err
    assert len(files(tmp_path)) == 2
    # Nor if the first diverged.
    diverged = dataclasses.replace(
        first := runner.store.get(ids[0]),
        training=dataclasses.replace(first.training, diverged="NaN"),
    )
    runner.store.save(diverged)
    runner_in(tmp_path).complete([row], 2)
    assert "diverged" in capsys.readouterr().err
    # A run that has begun goes on without it.
    (tmp_path / "store" / f"{run.id}.json").unlink()
    runner_in(tmp_path).complete([row], 1)
    assert len(files(tmp_path)) == 2


def test_what_may_not_be_trained_or_is_locked_is_left_out(tmp_path, capsys):
    runner_in(tmp_path, training=False).complete([TRACED], 1)
    assert "not run" in capsys.readouterr().err
    assert not list(tmp_path.glob("store/*"))
    runner = runner_in(tmp_path)
    directory = tmp_path / "runs" / runner.place.run_id(TRACED.spec({}))
    with lock_folder(directory, ".paper.lock"):
        runner.complete([TRACED], 1)
    assert "another process" in capsys.readouterr().err
    assert not list(tmp_path.glob("store/*"))


class Killed(Exception):
    """Stands for a kill."""


def test_a_training_that_was_stopped_is_resumed_and_traced_alike(made, tmp_path, monkeypatch):
    class Dying(module.Tracer):
        def __call__(self, step, params):
            super().__call__(step, params)
            if step == 8:
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "Tracer", Dying)
        with pytest.raises(Killed):
            runner_in(tmp_path).complete([TRACED], 1)
    assert not files(tmp_path)
    runner_in(tmp_path).complete([TRACED], 1)
    (run,) = fill([TRACED], Store(tmp_path / "store"), Place(tmp_path, "smoke"))[0].runs
    (whole,) = fill([TRACED], Store(made / "store"), Place(made, "smoke"))[0].runs
    assert run.training.starts == 2
    assert run.trace == whole.trace
    assert run.bounds["test/honest"] == whole.bounds["test/honest"]


def test_a_run_that_diverged_is_a_result(tmp_path, monkeypatch):
    def diverge(*arguments, **options):
        raise DivergedError("message", "diverged in step 3")

    monkeypatch.setattr(module, "train_model", diverge)
    runner = runner_in(tmp_path)
    runner.complete([TRACED], 1)
    (filled,) = fill([TRACED], Store(tmp_path / "store"), Place(tmp_path, "smoke"))
    assert not filled.runs
    assert filled.diverged[0].training.diverged == "diverged in step 3"
    monkeypatch.setattr(module, "train_model", None)
    runner_in(tmp_path).complete([TRACED], 1)


def test_every_start_is_timed_and_a_killed_one_counts_without_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "commit", lambda: "aaa")
    with timed(tmp_path) as starts:
        # As it lies there if the process dies now.
        killed = json.loads((tmp_path / "starts.json").read_text())
    assert [start["commit"] for start in starts] == ["aaa"]
    assert starts[0]["seconds"] >= 0
    (tmp_path / "starts.json").write_text(json.dumps(killed))
    monkeypatch.setattr(module, "commit", lambda: "bbb")
    with timed(tmp_path) as starts:
        pass
    assert [(start["commit"], start["seconds"] is None) for start in starts] == [
        ("aaa", True), ("bbb", False),
    ]  # fmt: skip
