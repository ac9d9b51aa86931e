"""A run opened while it is in training is read from one checkpoint and the best it names."""

import dataclasses

import jax.numpy as jnp
import pytest
from small_models import small_corpus

from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.trained_model import read_latest
from spherical_vae.system.errors import UserError
from spherical_vae.training.host_state import HostState
from spherical_vae.training.optimizer import Plateau

CORPUS = small_corpus()
SHAPE = {"x": jnp.zeros(3)}


def save(store, step, best):
    plateau = dataclasses.replace(Plateau(), best=1.0, best_step=best)
    state = {"x": jnp.full(3, float(step))}
    store.save(step, state, HostState(plateau, 0, False, CORPUS.fingerprint()).to_json())


@pytest.fixture
def stores(tmp_path):
    """The store of a training whose best step is 1 and latest 2, and one that only reads."""
    writer = CheckpointStore(tmp_path)
    for step in (1, 2):
        save(writer, step, 1)
    return writer, CheckpointStore(tmp_path, read_only=True)


def test_a_reader_that_is_overtaken_reads_what_has_overtaken_it(stores):
    writer, reader = stores
    asked = []

    def read(latest, hosts):
        asked.append(latest)
        if latest == 2:
            save(writer, 3, 3)  # With it go 1 and 2.
        return latest, float(reader.restore(hosts[0].plateau.best_step, SHAPE)["x"][0])

    assert read_latest(reader, CORPUS, "workdir", read) == (3, 3.0)
    assert asked == [2, 3]


def test_files_that_vanish_while_they_are_read_are_no_damage(stores, tmp_path):
    writer, reader = stores

    def read(latest, hosts):
        if latest == 2:
            assert reader.steps() == [1, 2]
            steps = reader.steps
            # As if it were removed between the list of checkpoints and the look at this one.
            reader.steps = lambda: [1, 2]
            save(writer, 3, 3)
            try:
                return reader.restore(1, SHAPE)
            finally:
                reader.steps = steps
        return float(reader.restore(latest, SHAPE)["x"][0])

    assert read_latest(reader, CORPUS, "workdir", read) == 3.0


def test_what_fails_without_being_overtaken_fails_at_once(stores, tmp_path):
    _, reader = stores
    asked = []

    def read(latest, hosts):
        asked.append(latest)
        raise UserError("it is broken")

    with pytest.raises(UserError, match="it is broken"):
        read_latest(reader, CORPUS, "workdir", read)
    assert asked == [2]

    (train, *others) = CORPUS.splits
    other = dataclasses.replace(
        CORPUS, splits=dict.fromkeys([train, *others], CORPUS.splits[train])
    )
    with pytest.raises(UserError, match="another version of corpus"):
        read_latest(reader, other, "workdir", read)
    assert asked == [2]
