"""Checkpoints come back bit for bit, survive a kill at any moment, and damage is noticed."""

import json
import os
import resource
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_run import SUPPORT

from spherical_vae.runs.checkpoint import CheckpointStore, DamagedCheckpointError
from spherical_vae.system.errors import UserError


class Training(NamedTuple):
    """A state like that of training."""

    step: jax.Array
    params: dict
    optimizer: optax.OptState


def state_of(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "dense": {"kernel": jax.random.normal(keys[0], (17, 5)), "bias": jnp.full(5, -0.0)},
        "half": jax.random.normal(keys[1], (3, 2)).astype(jnp.bfloat16),
        "odd": jnp.asarray([np.nan, np.inf, -np.inf, 1e-42], jnp.float32),
        "without_elements": jnp.zeros((0, 4)),
        "none": {},
    }
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    )
    return Training(
        jnp.asarray(seed, jnp.int32),
        params | {"key": jax.random.key_data(keys[2])},
        optimizer.init(params),
    )


def items_of(seed):
    """Returns the items of a checkpoint: a state, and arrays that are read without it."""
    state = state_of(seed)
    return {"state": state, "params": {"dense": state.params["dense"]}}


def read_all(store, step):
    return {item: store.restore(step, item, tree) for item, tree in items_of(0).items()}


def assert_same_bits(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert isinstance(one, jax.Array)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def store(directory):
    store = CheckpointStore(directory)
    yield store
    store.close()


@pytest.fixture(scope="module")
def three_saves(tmp_path_factory):
    """A folder with the checkpoints that are left of three, 2 and 3; to be copied, not changed."""
    directory = tmp_path_factory.mktemp("three_saves")
    store = CheckpointStore(directory)
    for step in (1, 2, 3):
        store.save(step, items_of(step), {"saved": step})
    store.close()
    return directory


@pytest.fixture
def damaged(three_saves, directory):
    """Returns a function that damages a file of step 3 in a copy and opens the copy."""
    shutil.copytree(three_saves, directory)

    def damage(name, change, step=3, **options):
        path = directory / str(step) / name
        path.write_bytes(change(path.read_bytes()))
        return CheckpointStore(directory, **options)

    return damage


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


def test_state_and_host_state_come_back_exactly(store):
    host = {"none": None, "best": float("inf"), "n": 2**60, "x": 0.1, "s": "é", "l": [1, {}]}
    store.save(7, items_of(7), host)
    for item, wanted in items_of(7).items():
        assert_same_bits(store.restore(7, item, items_of(0)[item]), wanted)
    assert store.restore_host(7) == host


def test_an_item_is_read_without_the_others(three_saves, directory):
    """Their files are not even looked at: those of the state are missing here."""
    shutil.copytree(three_saves, directory)
    shutil.rmtree(directory / "3" / "state")
    reader = CheckpointStore(directory, read_only=True)
    assert reader.restore_host(3) == {"saved": 3}
    assert_same_bits(reader.restore(3, "params", items_of(0)["params"]), items_of(3)["params"])
    with pytest.raises(DamagedCheckpointError, match="is missing"):
        reader.restore(3, "state", state_of(0))


def test_the_format_before_is_one_clear_error(three_saves, directory):
    shutil.copytree(three_saves, directory)
    metadata, seal = (directory / "3" / name for name in ("host/metadata", "files.json"))
    content = json.loads(metadata.read_text())
    del content["format"]
    metadata.write_text(json.dumps(content))
    checksums = json.loads(seal.read_text())
    seal.write_text(json.dumps(checksums | {"host/metadata": zlib.crc32(metadata.read_bytes())}))
    store = CheckpointStore(directory)
    for read in (store.restore_host, lambda _: store.restore_latest(items_of(0))):
        with pytest.raises(UserError, match="a checkpoint of format 1, allowed: format 2") as error:
            read(3)
        assert str(directory / "3") in one_line(error)
    assert store.steps() == [2, 3]


def test_another_process_finds_them(directory, store):
    store.save(7, items_of(7), {"saved": 7})
    later = CheckpointStore(directory)
    step, items, host = later.restore_latest(items_of(0))
    assert (step, host) == (7, {"saved": 7})
    assert_same_bits(items, items_of(7))


def test_abstract_arrays_will_do_for_the_structure(store):
    store.save(1, {"state": state_of(1)}, {})
    abstract = jax.eval_shape(lambda: state_of(0))
    assert_same_bits(store.restore(1, "state", abstract), state_of(1))


def test_an_empty_directory_has_nothing_to_restore(store):
    assert store.latest_step() is None
    assert store.restore_latest(items_of(0)) is None
    with pytest.raises(UserError, match="no checkpoint of step 3"):
        store.restore(3, "state", state_of(0))


def test_the_latest_two_are_kept_and_older_ones_go_last(directory):
    """When a checkpoint is written, and not yet known to be whole, two others are there."""
    seen = []
    store = CheckpointStore(directory, after_write=lambda path: seen.append(store.steps()))
    for step, left in [(1, [1]), (2, [1, 2]), (3, [2, 3]), (9, [3, 9])]:
        store.save(step, {"x": {"x": jnp.arange(3)}}, {})
        assert store.steps() == left
        assert store.latest_step() == step
        assert sorted(path.name for path in directory.iterdir()) == [str(s) for s in left]
    assert seen == [[], [1], [1, 2], [2, 3]]


def test_steps_go_forward(store):
    store.save(2, {"x": {"x": jnp.arange(3)}}, {})
    with pytest.raises(ValueError, match="step 2 is not past"):
        store.save(2, {"x": {"x": jnp.arange(3)}}, {})


def test_what_is_no_json_is_a_mistake_of_the_program(store):
    with pytest.raises(TypeError):
        store.save(1, {"x": {"x": jnp.arange(3)}}, {"a": object()})
    assert store.steps() == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": jnp.zeros((2, 4)), "y": jnp.zeros(2)}, "y is absent there and float32[2] here"),
        ({}, "x is float32[2, 4] there and absent here"),
        ({"x": jnp.zeros((4, 2))}, "x is float32[2, 4] there and float32[4, 2] here"),
        ({"x": jnp.zeros((2, 4), jnp.int32)}, "x is float32[2, 4] there and int32[2, 4] here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(store, other, message):
    store.save(1, {"state": {"x": jnp.zeros((2, 4))}}, {})
    with pytest.raises(UserError) as error:
        store.restore_latest({"state": other})
    assert message in one_line(error)
    assert store.steps() == [1]


@pytest.mark.parametrize("change", [cut, flip, lambda content: b""])
def test_damage_to_any_file_is_found(damaged, three_saves, directory, change):
    files = [p.relative_to(three_saves / "3") for p in (three_saves / "3").rglob("*")]
    files = [name for name in files if (three_saves / "3" / name).is_file()]
    assert len(files) > 8
    for name in files:
        store = damaged(name, change, read_only=True)
        with pytest.raises(DamagedCheckpointError) as error:
            read_all(store, 3)
        assert f"{directory / '3'}: this checkpoint is damaged (" in one_line(error)
        # An altered seal may accuse another file.
        assert f"({name} is " in str(error.value) or name.name == "files.json"
        (directory / "3" / name).write_bytes((three_saves / "3" / name).read_bytes())
    assert_same_bits(CheckpointStore(directory).restore_latest(items_of(0))[1], items_of(3))


def test_a_missing_file_is_found(damaged, directory):
    store = damaged("state/manifest.ocdbt", cut)
    (directory / "3" / "state" / "manifest.ocdbt").unlink()
    with pytest.raises(DamagedCheckpointError, match=r"state/manifest\.ocdbt is missing"):
        store.restore(3, "state", state_of(0))


@pytest.mark.parametrize("name", ["host/metadata", "params/manifest.ocdbt"])
def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(damaged, directory, name, capfd):
    store = damaged(name, flip)
    step, items, host = store.restore_latest(items_of(0))
    assert (step, host) == (2, {"saved": 2})
    assert_same_bits(items, items_of(2))
    told = capfd.readouterr().err
    assert told.startswith(f"warning: {directory / '3'}: this checkpoint is damaged")
    assert told.count("\n") == 1
    # It is not thrown away, and the step can be reached and saved again.
    assert (directory / "damaged" / "3" / "state").is_dir()
    store.save(3, items_of(33), {})
    assert_same_bits(store.restore(3, "state", state_of(0)), state_of(33))


def test_no_whole_checkpoint_is_an_error(damaged, directory):
    damaged("host/metadata", cut)
    store = damaged("host/metadata", cut, step=2)
    with pytest.raises(DamagedCheckpointError, match="remove that folder and start again"):
        store.restore_latest(items_of(0))
    assert (directory / "2").is_dir()


def test_reading_changes_nothing(damaged, directory):
    store = damaged("host/metadata", cut, read_only=True)
    (directory / "4.orbax-checkpoint-tmp").mkdir()
    (directory / "5").mkdir()
    assert store.restore_latest(items_of(0))[0] == 2
    names = {path.name for path in directory.iterdir()}
    assert names == {"2", "3", "4.orbax-checkpoint-tmp", "5"}


def test_a_reader_sees_what_is_saved_meanwhile(directory, store):
    store.save(1, {"state": {"x": jnp.zeros(3)}}, {})
    reader = CheckpointStore(directory, read_only=True)
    store.save(2, {"state": {"x": jnp.ones(3)}}, {})
    assert reader.latest_step() == 2
    read = reader.restore(2, "state", {"x": jnp.zeros(3)})
    np.testing.assert_array_equal(read["x"], np.ones(3))


def test_leftovers_of_a_killed_process_are_ignored_and_removed(three_saves, directory):
    shutil.copytree(three_saves, directory)
    (directory / "4.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (directory / "trash" / "2").mkdir(parents=True)
    shutil.copytree(directory / "3", directory / "5")
    (directory / "5" / "files.json").unlink()
    store = CheckpointStore(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["2", "3"]
    assert store.restore_latest(items_of(0))[0] == 3


@pytest.mark.parametrize("limit", [20_000, 100])
def test_a_full_disk_costs_no_checkpoint(directory, store, limit, capfd):
    """A limit on the size of files stands in for the full disk."""
    noise = {"x": jax.random.normal(jax.random.key(0), (100, 100))}
    # Computed here, for within the limit JAX could not keep a program that it compiles.
    negated = jax.tree.map(jnp.negative, noise)
    store.save(1, {"state": noise}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError, match="could not be written") as error:
            store.save(2, {"state": negated}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "too large" in one_line(error)
    assert store.steps() == [1]
    assert_same_bits(store.restore_latest({"state": noise})[1], {"state": noise})
    store.save(2, {"state": noise}, {})
    assert store.steps() == [1, 2]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("change", [cut, flip])
def test_what_is_not_read_back_is_not_saved(change, directory):
    state = {"state": {"x": jax.random.normal(jax.random.key(0), (50,))}}

    def alter_the_second(folder):
        if folder.name == "2":
            for path in folder.glob("state/**/d/*"):
                path.write_bytes(change(path.read_bytes()))

    store = CheckpointStore(directory, after_write=alter_the_second)
    store.save(1, state, {})
    with pytest.raises(UserError, match="what is read back is not what was written") as error:
        store.save(2, state, {})
    assert f"{directory / '2'}: the checkpoint could not be written" in one_line(error)
    assert CheckpointStore(directory, read_only=True).steps() == [1]


# Orbax takes some of these for patterns, escapes, placeholders or schemes.
_NAMES = [
    *("a b", " a", "a ", "a.", "~", "a~b", "a#b", "a%20b", "a{b}", "{a,b}", "$HOME", "a'b", 'a"b'),
    *("a:b", "gs:b", "s3:b", "-a", ".a", "a;b", "a&b=1", "a,b", "a|b", "(a)", "!a", "a\tb", "a@b"),
    *("seed=0,latent.concentration=40", "ünï", "日本", "x" * 200),
]
# Whose absolute paths differ more.
_RELATIVE = ["-a", ".a", "a:b", "gs:b", "s3:b", " a", "$HOME", "{a,b}"]
_REFUSED = ["a[0]", "[", "a]", "a*b", "**", "a?b", "a\\b", "gs:", "file:", "a\udcff"]


@pytest.mark.thorough
@pytest.mark.parametrize("relative", [False, True])
def test_what_is_saved_is_found_whatever_its_folder_is_called(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    state = {"state": {"x": jnp.arange(3)}}
    names = _RELATIVE if relative else _NAMES
    for name in names:
        folder = Path(name if relative else tmp_path / name)
        store = CheckpointStore(folder)
        store.save(1, state, {})
        store.save(2, state, {})
        store.close()
        later = CheckpointStore(folder, read_only=True)
        assert later.steps() == [1, 2]
        assert_same_bits(later.restore_latest(state)[1], state)
        later.close()
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_folder_that_could_not_be_read_is_refused_before_anything_is_written(tmp_path):
    for name in _REFUSED:
        for folder in (tmp_path / name, tmp_path / name / "below"):
            with pytest.raises(UserError, match="cannot be read back from there; allowed: ") as e:
                CheckpointStore(folder)
            one_line(e)
    for url in ("gs://bucket/run", "s3://bucket/run", "file:///run", "gs:/bucket"):
        with pytest.raises(UserError, match="a URL, allowed: a folder"):
            CheckpointStore(url)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot hold checkpoints"):
        CheckpointStore(tmp_path / "file" / "checkpoints")


def test_a_process_killed_while_saving_loses_nothing(directory):
    script = SUPPORT / "kill_while_saving.py"
    done = subprocess.run(
        [sys.executable, script, directory, "20181101", "15"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    played = json.loads(done.stdout)
    # The test has power only if kills fell into saves, and some saves were finished.
    assert played["cut_short"] >= 3
    assert played["saves"] >= 3


_ON_FOUR_DEVICES = """
import sys, jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from spherical_vae.runs.checkpoint import CheckpointStore
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
copied, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
values = {"copied": jnp.arange(6.0), "split": jnp.arange(8, dtype=jnp.bfloat16)}
layout = {"copied": copied, "split": split}
store = CheckpointStore(sys.argv[1])
store.save(1, {"state": jax.device_put(values, layout)}, {})
for wanted in (layout, {"copied": copied, "split": copied}):
    zeros = jax.device_put(jax.tree.map(jnp.zeros_like, values), wanted)
    found = store.restore(1, "state", zeros)
    for name, array in found.items():
        assert array.sharding == wanted[name], (name, array.sharding)
        np.testing.assert_array_equal(array, values[name])
"""


def test_shardings_are_those_asked_for(directory):
    flags = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", _ON_FOUR_DEVICES, str(directory)]
    done = subprocess.run(command, env=flags, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # And one device reads what four have written.
    found = CheckpointStore(directory).restore(
        1, "state", {"copied": jnp.zeros(6), "split": jnp.zeros(8, jnp.bfloat16)}
    )
    np.testing.assert_array_equal(found["split"], np.arange(8))
