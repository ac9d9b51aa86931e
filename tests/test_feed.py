"""Training takes batches that a thread made ahead: when they are made, and what ends the thread.

The step is one that learns nothing, for it takes seconds to compile a real one.
"""

import os
import signal
import threading
import time

import jax.numpy as jnp
import pytest
from small_models import small_config, small_corpus

from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.errors import UserError
from spherical_vae.training import loop
from spherical_vae.training.chunks import Chunk
from spherical_vae.training.loop import Interrupted, Trainer
from spherical_vae.training.schedules import Timetable


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def train(workdir, call=lambda state: state):
    """Trains towards an end that no test reaches; `call` sees the state before each step."""
    config = small_config(train__steps=1000, train__evaluate_every=1000, train__checkpoint_every=4)
    with open_run(workdir, config) as run:
        trainer = Trainer(config, small_corpus(examples=30), run)

        def step(state, batches, hypers):
            state = call(state)
            return state._replace(step=state.step + 1)

        trainer._call = step
        trainer.train()


def stop(after):
    """Returns a step that asks training to stop once `after` steps are taken."""

    def call(state):
        if state.step == after - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return state

    return call


def test_the_next_batch_is_copied_before_the_step_is_taken(tmp_path, monkeypatch):
    copied, put = [], loop.shard_batch

    def counted(chunk, mesh):
        copied.append(threading.current_thread().name)
        return put(chunk, mesh)

    def wait_for_the_next(state):
        deadline = time.monotonic() + 20
        while len(copied) < state.step + 2:
            assert time.monotonic() < deadline, f"step {state.step}: no batch after its own"
            time.sleep(0.001)
        return stop(after=10)(state)

    monkeypatch.setattr(loop, "shard_batch", counted)
    with pytest.raises(Interrupted, match="after step 10; the state is saved"):
        train(tmp_path, wait_for_the_next)
    assert set(copied) == {"prefetch"}


def test_the_seconds_of_a_record_are_those_of_the_device():
    class Queueing:
        """Takes steps at once and does them later, as a device does."""

        finished, status = False, ""
        queued, seconds = 0, []

        def advance(self, step, chunk):
            self.queued += 1

        def wait(self):
            time.sleep(0.05 * self.queued)
            self.queued = 0

        def log_train(self, step, seconds):
            self.seconds.append(seconds)

        evaluate = save = lambda self, step: None

    session = Queueing()
    timetable = Timetable(100, total_steps=6, log_every=3, evaluate_every=100, checkpoint_every=0)
    loop.walk(session, timetable, (Chunk(1, None) for _ in range(6)), 0, "queueing")
    assert len(session.seconds) == 2
    assert min(session.seconds) >= 0.15


def test_an_error_of_the_data_ends_training_and_leaves_the_checkpoint(tmp_path, monkeypatch):
    batches = loop.epoch_batches

    def broken(*arguments, **keywords):
        for i, batch in enumerate(batches(*arguments, **keywords)):
            if i == 6:
                raise OSError("the disk is gone")
            yield batch

    monkeypatch.setattr(loop, "epoch_batches", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        train(tmp_path)
    assert CheckpointStore(tmp_path / "checkpoints", read_only=True).latest_step() == 4


def test_a_bad_loss_ends_the_thread(tmp_path):
    def bad(state):
        return state._replace(sums=state.sums._replace(first_bad_step=jnp.int32(2)))

    with pytest.raises(UserError, match="became NaN or infinite in step 3"):
        train(tmp_path, bad)
