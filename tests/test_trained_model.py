"""Opening a run: from one checkpoint, of which the optimiser's state is not read."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import small_config, small_corpus

from spherical_vae.runs import trained_model
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.progress import Progress, check_corpus, to_json
from spherical_vae.runs.run_directory import open_run
from spherical_vae.runs.trained_model import load_trained, read_latest
from spherical_vae.system.errors import UserError
from spherical_vae.training.trainer import train_model

CORPUS = small_corpus()
SHAPE = {"x": jnp.zeros(3)}


def save(store, step):
    states = [Progress(CORPUS.fingerprint, step=step)]
    store.save(step, {"evaluated": {"x": jnp.full(3, float(step))}}, to_json(states))


@pytest.fixture
def stores(tmp_path):
    """The store of a training at step 2, and one that only reads."""
    writer = CheckpointStore(tmp_path)
    for step in (1, 2):
        save(writer, step)
    return writer, CheckpointStore(tmp_path, read_only=True)


def test_a_reader_that_is_overtaken_reads_what_has_overtaken_it(stores):
    writer, reader = stores
    asked = []

    def read(latest):
        asked.append(latest)
        if latest == 2:
            for step in (3, 4):  # With them goes 2.
                save(writer, step)
        return float(reader.restore(latest, "evaluated", SHAPE)["x"][0])

    assert read_latest(reader, read) == 4.0
    assert asked == [2, 4]


def test_what_fails_without_being_overtaken_fails_at_once(stores):
    _, reader = stores
    asked = []

    def read(latest):
        asked.append(latest)
        raise UserError("it is broken")

    with pytest.raises(UserError, match="it is broken"):
        read_latest(reader, read)
    assert asked == [2]


def test_another_corpus_is_an_error(stores):
    _, reader = stores
    check_corpus(reader, CORPUS, "workdir")
    (train, *others) = CORPUS.splits
    other = dataclasses.replace(
        CORPUS, splits=dict.fromkeys([train, *others], CORPUS.splits[train])
    )
    with pytest.raises(UserError, match="workdir: the run was trained on another text than"):
        check_corpus(reader, other, "workdir")


@pytest.mark.thorough
def test_a_run_is_opened_without_the_state_of_its_optimiser(tmp_path, monkeypatch):
    config = small_config(train__steps=2, train__log_every=1)
    with open_run(tmp_path, config) as run:
        trained = train_model(config, CORPUS, run)
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "state")
    monkeypatch.setattr(trained_model, "load_corpus", lambda settings: CORPUS)
    found = load_trained(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found.params, trained.params)
    assert (found.step, found.last_step) == (trained.step, trained.last_step) == (2, 2)
    assert found.tokens_seen == trained.tokens_seen > 0
