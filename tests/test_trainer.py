"""The loop of training: when batches are made, what its seconds are of, what ends it.

The step is one that learns nothing, for it takes seconds to compile a real one.
"""

import io
import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import small_config, small_corpus
from small_run import checkpoint_contents, metrics_without_times

from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.parallel.sharding import shard_batch
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.errors import Interrupted, UserError, exit_on_error
from spherical_vae.system.signals import Termination
from spherical_vae.system.standard_error import tell
from spherical_vae.training.trainer import train_model


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def train(workdir, before_step=lambda state: state, **settings):
    """Trains towards an end that no test reaches; `before_step` sees the state of each step."""
    config = small_config(
        train__steps=1000, train__evaluate_every=1000, train__checkpoint_every=4, **settings
    )

    def compile_step(function, **options):
        def step(states, batches, hypers, active):
            states = before_step(states)
            return states._replace(step=states.step + 1)

        return step

    with open_run(workdir, config) as run:
        corpus = small_corpus(examples=30)
        train_model(config, corpus, run, compile_step=compile_step)


def stop(after):
    """Returns what asks training to stop once `after` steps are taken."""

    def before_step(state):
        if state.step == after - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return state

    return before_step


def test_the_next_batch_is_copied_before_the_step_is_taken(tmp_path, monkeypatch):
    copied = []

    def counted(batches, mesh):
        copied.append(threading.current_thread().name)
        return shard_batch(batches, mesh)

    def wait_for_the_next(state):
        deadline = time.monotonic() + 20
        while len(copied) < state.step + 2:
            assert time.monotonic() < deadline, f"step {state.step}: no batch after its own"
            time.sleep(0.001)
        return stop(after=10)(state)

    monkeypatch.setattr("spherical_vae.training.trainer.shard_batch", counted)
    with pytest.raises(Interrupted, match="after step 10; the state is saved"):
        train(tmp_path, wait_for_the_next)
    assert set(copied) == {"prefetch"}


def test_the_seconds_of_a_record_are_those_of_the_device(tmp_path):
    """The device does its steps after they were asked for; each takes 0.05 s."""

    def sleep(tokens):
        time.sleep(0.05)
        return np.asarray(tokens) + np.float32(1)

    @jax.jit
    def slow(sums):
        tokens = jax.pure_callback(sleep, sums.tokens, sums.tokens)
        return sums._replace(tokens=tokens, examples=tokens)

    def before_step(state):
        return stop(after=6)(state)._replace(sums=slow(state.sums))

    with pytest.raises(Interrupted):
        train(tmp_path, before_step, train__log_every=3)
    records = MetricsLog(tmp_path / "metrics.jsonl").records()
    assert [record["step"] for record in records] == [3, 6]
    assert min(record["seconds"] for record in records) >= 0.15


@pytest.mark.parametrize(("log_every", "timed"), [(4, [True, True]), (3, [False, True])])
def test_steps_of_an_earlier_start_have_no_seconds(tmp_path, log_every, timed):
    """Stopped at step 4, which ended a record or did not, by what was then logged."""

    def counted(after):
        def before_step(state):
            one = jnp.ones_like(state.sums.examples)
            sums = state.sums._replace(examples=state.sums.examples + one, tokens=one)
            return stop(after)(state)._replace(sums=sums)

        return before_step

    for after, every in ((4, log_every), (8, 2)):
        with pytest.raises(Interrupted):
            train(tmp_path, counted(after), train__log_every=every)
    records = MetricsLog(tmp_path / "metrics.jsonl").records()
    assert ["seconds" in record for record in records if record["step"] > 4] == timed


def test_records_without_a_checkpoint_are_not_removed_in_silence(tmp_path, capsys):
    MetricsLog(tmp_path / "metrics.jsonl").write(7, "train", nll_nats=1.0)
    with pytest.raises(Interrupted):
        train(tmp_path, stop(after=1))
    assert f"{tmp_path}: there is no checkpoint: training begins anew, 1 metrics" in (
        capsys.readouterr().err
    )


class Unread(io.StringIO):
    """Standard error whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.thorough
def test_training_goes_on_if_nobody_reads_its_progress(tmp_path, monkeypatch):
    def before_step(state):
        one = jnp.ones_like(state.sums.examples)
        return stop(after=9)(state)._replace(sums=state.sums._replace(examples=one, tokens=one))

    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", Unread())
        with pytest.raises(Interrupted):
            train(tmp_path, before_step, train__log_every=3)
    assert [record["step"] for record in metrics_without_times(tmp_path)] == [3, 6, 9]
    assert max(checkpoint_contents(tmp_path)) == 9


@pytest.mark.parametrize("stderr", [Unread(), None])
def test_nobody_has_to_read_what_is_told(monkeypatch, capsys, stderr):
    def fail():
        raise UserError("a mistake")

    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", stderr)
        tell("a line")
        with pytest.raises(SystemExit) as ended:
            exit_on_error(fail)
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_a_signal_that_is_ignored_stays_so():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Termination() as termination:
            os.kill(os.getpid(), signal.SIGINT)
        assert termination.signal is None
    finally:
        signal.signal(signal.SIGINT, previous)


def test_an_error_of_the_data_ends_training_and_leaves_the_checkpoint(tmp_path, monkeypatch):
    made = []

    def broken(batches, mesh):
        made.append(batches)
        if len(made) == 7:
            raise OSError("the disk is gone")
        return shard_batch(batches, mesh)

    monkeypatch.setattr("spherical_vae.training.trainer.shard_batch", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        train(tmp_path)
    assert CheckpointStore(tmp_path / "checkpoints", read_only=True).latest_step() == 4


def test_a_bad_loss_ends_training_before_anything_is_saved_of_it(tmp_path):
    def bad_from_step_6(state):
        bad = jnp.where(state.step >= 5, 5, -1).astype(jnp.int32)
        return state._replace(sums=state.sums._replace(first_bad_step=bad))

    with pytest.raises(UserError, match="became NaN or infinite in step 6; step 4 is saved"):
        train(tmp_path, bad_from_step_6)
    assert CheckpointStore(tmp_path / "checkpoints", read_only=True).steps() == [4]
    assert not (tmp_path / "metrics.jsonl").exists() or metrics_without_times(tmp_path) == []


class Scripted(Evaluator):
    """Measures nothing: gives one value after the other."""

    def __init__(self, values):
        self._values = iter(values)

    def nats(self, params, split, key, **options):
        value, tokens = np.full(5, next(self._values)), np.full(5, 4)
        return ExampleNats(value, 0 * value, None, tokens, tokens.astype(float))


def test_what_was_best_on_validation_is_returned_and_saved(tmp_path):
    """The second of four evaluations is best; the last one would be the easiest to keep."""
    config = small_config(train__steps=4, train__evaluate_every=1)
    seen = {}

    def compile_step(function, **options):
        def step(states, batches, hypers, active):
            params = jax.tree.map(lambda leaf: leaf + 1, states.params)
            sums = states.sums
            sums = sums._replace(tokens=sums.tokens + 8, examples=sums.examples + 2)
            return states._replace(params=params, sums=sums, step=states.step + 1)

        return step

    def see(step, params):
        seen[step] = jax.tree.map(np.array, params)

    with open_run(tmp_path, config) as run:
        trained = train_model(
            config,
            small_corpus(examples=30),
            run,
            compile_step=compile_step,
            evaluator=Scripted([3.0, 1.0, 2.0, 1.5]),
            after_evaluation=see,
        )
    assert (trained.step, trained.last_step) == (2, 4)
    jax.tree.map(np.testing.assert_array_equal, trained.params, seen[2])
    saved = checkpoint_contents(tmp_path)[4]
    for path, leaf in jax.tree_util.tree_leaves_with_path(seen[2]):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        assert saved[f"evaluated.{name}"] == leaf.tobytes()
