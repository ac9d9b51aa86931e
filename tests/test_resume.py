"""A run that is killed or stopped and started again ends as if it had never stopped.

The reference is the same command, never interrupted; parameters, optimiser, host state and metrics
must be identical to the bit. What is killed is a process; the other commands run in this one.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_run import (
    PLATEAU_SGD,
    RECURRENT,
    ROOT,
    STEPS,
    STEPS_PER_EPOCH,
    checkpoint_contents,
    command,
    environment,
    metrics_without_times,
    run,
    training_command,
    without_rates,
    write_text_corpus,
)

from spherical_vae import evaluate, generate, train
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.system.errors import Interrupted, UserError

pytestmark = pytest.mark.optimized

ADAM = {"optimizer.name": "adam", "optimizer.learning_rate": 0.01, "optimizer.schedule": "cosine"}


@dataclass(frozen=True)
class Reference:
    """A run that was never interrupted, and what is needed to repeat it."""

    corpus: Path
    workdir: Path
    settings: dict[str, object]
    variables: dict[str, str]

    def command(self, workdir, **changed):
        settings = {key.replace("__", "."): value for key, value in changed.items()}
        return training_command(self.corpus, workdir, RECURRENT, self.settings, settings)

    def train(self, workdir, **changed):
        train.main(self.command(workdir, **changed)[3:])

    def error(self, workdir, **changed):
        """Returns the message, in one line, of a training that ends by a mistake."""
        with pytest.raises(UserError) as caught:
            self.train(workdir, **changed)
        message = str(caught.value)
        assert "\n" not in message
        return message

    def assert_same_end(self, workdir):
        assert metrics_without_times(workdir) == metrics_without_times(self.workdir)
        mine, theirs = checkpoint_contents(workdir), checkpoint_contents(self.workdir)
        assert mine.keys() == theirs.keys()
        for step, contents in theirs.items():
            differing = [name for name in contents if mine[step][name] != contents[name]]
            assert not differing, f"step {step}"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(PLATEAU_SGD, id="plateau"),
        pytest.param(ADAM, id="adam", marks=pytest.mark.slow),
    ],
)
def reference(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    # The processes that are killed find the programs of this one compiled.
    run_of = Reference(
        write_text_corpus(folder / "corpus"),
        folder / "run",
        request.param,
        environment(quick=False),
    )
    run_of.train(run_of.workdir)
    return run_of


def records(workdir, split=""):
    """Returns the lines of one split that are in the metrics by now."""
    with contextlib.suppress(FileNotFoundError):
        lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if f'"split": "{split}' in line]
    return []


def being_written(workdir):
    """Returns checkpoints that are not finished."""
    with contextlib.suppress(FileNotFoundError):
        return [
            path.name
            for path in (workdir / "checkpoints").iterdir()
            if path.name != "trash" and not (path / "files.json").exists()
        ]
    return []


def kill_when(command, variables, condition):
    """Starts a command and kills it, by SIGKILL, as soon as `condition()` holds."""
    process = subprocess.Popen(
        command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 240
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.kill()
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err.decode()


def test_what_is_compared_is_there(reference):
    contents = checkpoint_contents(reference.workdir)
    assert max(contents) == STEPS
    assert contents.keys() == {35, STEPS}
    records = metrics_without_times(reference.workdir)
    assert [r["step"] for r in records if r["split"] == "valid"] == [13, 26, 39]
    assert [r["step"] for r in records if r["split"] == "train"] == [
        *(4, 8, 12, 13),
        *(16, 20, 24, 26),
        *(28, 32, 36, 39),
    ]
    names = {".".join(name.split(".")[:2]) for name in contents[STEPS]}
    assert {"host", "state.params", "state.step", "state.sums", "evaluated.decoder"} <= names


def test_killed_at_several_moments(reference, tmp_path):
    command = reference.command(tmp_path)

    def kill(condition):
        kill_when(command, reference.variables, condition)

    kill(lambda: records(tmp_path))
    assert not records(tmp_path, "valid"), "this kill was meant for the first epoch"
    kill(lambda: records(tmp_path, "valid"))
    for _ in range(5):
        kill(lambda: records(tmp_path, "valid")[1:] and being_written(tmp_path))
        if being_written(tmp_path):
            break
    else:
        pytest.fail("no kill came before the checkpoint was finished")
    reference.train(tmp_path)
    reference.assert_same_end(tmp_path)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (8, signal.SIGHUP),
        pytest.param(8, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(2 * STEPS_PER_EPOCH, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_first(reference, tmp_path, monkeypatch, capsys, step, number):
    write = MetricsLog.write

    def write_and_signal(self, at, split, **values):
        write(self, at, split, **values)
        if (at, split) == (step, "train"):
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write_and_signal)
        # Step 8 is not saved otherwise: training goes on to the end of the step, and saves.
        told = f"signal {number} after step {step}; the state is saved"
        with pytest.raises(Interrupted, match=told):
            reference.train(tmp_path)
    assert max(checkpoint_contents(tmp_path)) == step
    reference.train(tmp_path)
    assert f"resumed {tmp_path} at step {step}" in capsys.readouterr().err
    reference.assert_same_end(tmp_path)


def test_a_finished_run_is_left_as_it_is(reference, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(reference.workdir, workdir)

    def contents():
        files = [path for path in workdir.rglob("*") if path.is_file()]
        return {path.relative_to(workdir): path.read_bytes() for path in files}

    before = contents()
    reference.train(workdir)
    assert f"{STEPS} steps" in capsys.readouterr().out
    assert contents() == before


def test_another_config_is_an_error(reference):
    message = reference.error(reference.workdir, latent__concentration=21.0, data__seed=5)
    assert "config.latent.concentration: 20.0" in message
    assert "21.0 given" in message
    assert "config.data.seed: 0" in message
    assert "another --workdir" in message


@pytest.mark.parametrize("new_word", ["cat", "unseen"])
def test_another_corpus_is_an_error(reference, tmp_path, new_word):
    # The second also changes the vocabulary, hence the shapes of the parameters.
    corpus, workdir = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(reference.corpus, corpus)
    shutil.copytree(reference.workdir, workdir)
    with (corpus / "train.txt").open("a", encoding="utf-8") as file:
        file.write(f"1 the {new_word}\n")
    before = (workdir / "config.json").read_text(encoding="utf-8")
    # With more steps, which the run could be given, and is not.
    message = dataclasses.replace(reference, corpus=corpus).error(workdir, train__steps=STEPS + 1)
    assert f"path='{corpus}' given, which is another text; use another --workdir" in message
    assert str(reference.corpus) in message
    assert (workdir / "config.json").read_text(encoding="utf-8") == before
    assert checkpoint_contents(workdir) == checkpoint_contents(reference.workdir)


def test_a_corpus_that_has_changed_in_its_place_is_an_error(reference, tmp_path):
    corpus, workdir = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(reference.corpus, corpus)
    moved = dataclasses.replace(reference, corpus=corpus)
    shutil.copytree(reference.workdir, workdir)
    moved.train(workdir)
    with (corpus / "train.txt").open("a", encoding="utf-8") as file:
        file.write("1 the cat\n")
    assert f"is another than {workdir} was begun with; restore it" in moved.error(workdir)
    # Of a run that is older than the fingerprint in its configuration the checkpoint knows.
    stored = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    del stored["corpus"]
    (workdir / "config.json").write_text(json.dumps(stored), encoding="utf-8")
    before = (workdir / "config.json").read_text(encoding="utf-8")
    message = moved.error(workdir, train__steps=STEPS + 1)
    assert "was trained on another text than this corpus" in message
    assert (workdir / "config.json").read_text(encoding="utf-8") == before
    shutil.copy(reference.corpus / "train.txt", corpus / "train.txt")
    moved.train(workdir)


def test_a_loss_that_becomes_infinite_stops_the_run(reference, tmp_path):
    # The weight of the KL is 0 in the first epoch and makes the loss overflow in the second.
    message = reference.error(
        tmp_path, kl_weight__schedule="linear", kl_weight__value=3e38, kl_weight__linear_epochs=0.5
    )
    assert f"in step {STEPS_PER_EPOCH + 1};" in message
    assert f"step {STEPS_PER_EPOCH} is saved in {tmp_path}" in message
    assert "try a smaller config.optimizer.learning_rate" in message
    assert max(checkpoint_contents(tmp_path)) == STEPS_PER_EPOCH
    assert metrics_without_times(tmp_path)[-1]["step"] == STEPS_PER_EPOCH


@pytest.mark.thorough
def test_commands_do_from_python_what_they_do_as_processes(reference, tmp_path, capsys):
    """In a thread, and again; the signals of the process stay as they are."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    _, _, _, *arguments = reference.command(tmp_path / "run", train__steps=6)
    raised = []

    def train_and_look():
        try:
            train.main([*arguments])
            train.main([*arguments])
            evaluate.main([f"--workdir={tmp_path / 'run'}", "--json"])
            generate.main([f"--workdir={tmp_path / 'run'}", "--label=1"])
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=train_and_look)
    thread.start()
    thread.join()
    assert not raised
    printed = capsys.readouterr().out.splitlines()
    evaluate_command = command("evaluate", f"--workdir={tmp_path / 'run'}", "--json")
    process = run(evaluate_command, reference.variables)
    assert printed[0] == printed[1]
    assert printed[0].startswith("6 steps, ")
    assert without_rates(json.loads(printed[2])) == without_rates(json.loads(process.stdout))
    assert len(printed) == 3 + 5
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(UserError, match=r"config.latent.concentration: 20.0 in"):
        train.main([*arguments, "--config.latent.concentration=3"])


@pytest.mark.slow
def test_a_rate_that_is_far_too_high_stops_the_run(reference, tmp_path):
    message = reference.error(tmp_path, optimizer__learning_rate=1e30)
    assert "became NaN or infinite in step 2; there is no checkpoint yet" in message
    assert checkpoint_contents(tmp_path) == {}
