"""A run directory keeps its configuration exactly, refuses to mix two runs, and is locked."""

import json
import subprocess
import sys
import threading

import pytest
from ml_collections import ConfigDict

from spherical_vae.atomic_file import write_atomically
from spherical_vae.config import base_config
from spherical_vae.errors import UserError
from spherical_vae.run_directory import RunDirectory, load_config, open_run


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "runs" / "one"


def refusal(workdir, config=None):
    with pytest.raises(UserError) as caught:
        open_run(workdir, config or base_config())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_first_use_writes_the_configuration(workdir):
    with open_run(workdir, base_config()) as run:
        assert run.path == workdir
        assert load_config(workdir) == base_config()
    assert {path.name for path in workdir.iterdir()} == {"config.json", ".lock"}


def test_the_same_configuration_resumes(workdir):
    for _ in range(3):
        open_run(workdir, base_config()).close()


def test_values_keep_their_types(workdir):
    values = {
        "none": None,
        "tuple": ("a", (1, 2.0)),
        "empty": (),
        "list": [1, 2],
        "small": 1e-3,
        "exact": 0.1 + 0.2,
        "large": 1e300,
        "int": 40,
        "float": 40.0,
        "flag": True,
        "text": 'Zürich "quoted"\n',
        "group": {"tuple": (1,), "empty": {}},
    }
    config = ConfigDict(values)
    open_run(workdir, config).close()
    loaded = load_config(workdir)
    assert loaded == config
    assert repr(loaded.to_dict()) == repr(config.to_dict())
    open_run(workdir, config).close()


def test_loaded_configuration_can_be_overridden_like_the_base(workdir):
    open_run(workdir, base_config()).close()
    loaded = load_config(workdir)
    loaded.latent.concentration = 80
    assert loaded.latent.concentration == 80.0
    with pytest.raises(TypeError):
        loaded.latent.dimension = "x"


def test_differing_keys_are_named_with_both_values(workdir):
    open_run(workdir, base_config()).close()
    config = base_config()
    config.latent.concentration = 80.0
    config.name = "other"
    message = refusal(workdir, config)
    assert f"config.latent.concentration: 30.0 in {workdir}, 80.0 given" in message
    assert f"config.name: 'kjv' in {workdir}, 'other' given" in message
    assert message.endswith("use another --workdir")
    assert message.count("config.") == 2
    assert load_config(workdir) == base_config()


def test_a_run_goes_on_with_other_values_of_what_changes_no_result(workdir):
    open_run(workdir, base_config()).close()
    config = base_config()
    config.data.cache_dir = "elsewhere"
    config.train.steps_per_call = 7
    config.mesh.model = 2
    config.data.path = "where it lies now"
    open_run(workdir, config).close()
    # Those that evaluation needs: of the last start.
    assert load_config(workdir) == config


def test_keys_of_one_side_are_named(workdir):
    config = base_config()
    del config.seed
    config.other = 1
    open_run(workdir, config).close()
    message = refusal(workdir)
    assert f"config.seed: absent in {workdir}, 0 given" in message
    assert f"config.other: 1 in {workdir}, absent given" in message


def test_types_differ_too(workdir):
    open_run(workdir, ConfigDict({"a": 1, "b": (1,)})).close()
    message = refusal(workdir, ConfigDict({"a": 1.0, "b": [1]}))
    assert "config.a: 1 in" in message
    assert "config.b: (1,) in" in message


def test_two_cannot_train_in_the_same_directory(workdir):
    with open_run(workdir, base_config()):
        assert "another process or thread is training here" in refusal(workdir)
    open_run(workdir, base_config()).close()


@pytest.mark.parametrize(
    ("number", "reason"), [(37, "No locks available"), (38, "Function not implemented")]
)
def test_a_file_system_without_locks_is_told(workdir, monkeypatch, number, reason):
    def fail(*args):
        raise OSError(number, reason)

    monkeypatch.setattr("fcntl.flock", fail)
    assert f"this file system has no locks ({reason})" in refusal(workdir)
    # Nothing that a killed process would leave behind stands in for a lock.
    assert [path.read_bytes() for path in workdir.iterdir()] == [b""]


def test_a_run_that_was_opened_in_one_thread_can_be_closed_in_another(workdir):
    run = open_run(workdir, base_config())
    refusals = []
    threads = [
        threading.Thread(target=lambda: refusals.append(refusal(workdir))),
        threading.Thread(target=run.close),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert "another process or thread is training here" in refusals[0]
    open_run(workdir, base_config()).close()


def test_a_killed_process_leaves_no_lock(workdir):
    script = (
        "import os, signal, sys\n"
        "from spherical_vae.config import base_config\n"
        "from spherical_vae.run_directory import open_run\n"
        "run = open_run(sys.argv[1], base_config())\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, workdir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "locked\n"
        assert "another process" in refusal(workdir)
        process.kill()
    open_run(workdir, base_config()).close()


def test_a_refused_run_gives_the_lock_back(workdir):
    open_run(workdir, base_config()).close()
    refusal(workdir, ConfigDict({"a": 1}))
    open_run(workdir, base_config()).close()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with open_run("~/runs/one", base_config()) as run:
        assert run.path == tmp_path / "home" / "runs" / "one"
    assert load_config("~/runs/one") == base_config()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert "there is no such home folder" in refusal("~nobody-is-called-so/x")


@pytest.mark.parametrize("name", ["runs[1]", "a*", r"a\b", "a?/b", "gs:/b"])
def test_a_folder_that_could_not_be_read_is_not_even_made(tmp_path, name):
    message = refusal(tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: checkpoints cannot be read back from there")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="cannot be read back"):
        load_config(tmp_path / name)


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file; --workdir must be a directory" in refusal(tmp_path / "file")
    assert "cannot be written" in refusal(tmp_path / "file" / "below")


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_directory_that_cannot_be_written(workdir, monkeypatch, call):
    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, whom no file mode stops.
    monkeypatch.setattr(f"pathlib.Path.{call}", deny)
    assert refusal(workdir) == (
        f"{workdir}: cannot be written (Permission denied); choose another --workdir"
    )


def test_a_full_disk_leaves_no_half_written_configuration(workdir, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert "cannot be written (No space left on device)" in refusal(workdir)
    assert {path.name for path in workdir.iterdir()} == {".lock"}
    open_run(workdir, base_config()).close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format": 2, "config": {}}',
        b'{"format": 1, "config": 3}',
        b"\xff",
    ],
)
def test_a_broken_configuration_is_one_line(workdir, content):
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_bytes(content)
    assert f"{workdir / 'config.json'}: cannot be read as a run's configuration" in refusal(workdir)
    assert (workdir / "config.json").read_bytes() == content


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_missing_run_is_one_line(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="no run here") as caught:
        load_config(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_what_json_cannot_hold_is_not_written(workdir):
    with pytest.raises(ValueError, match="JSON"):
        open_run(workdir, ConfigDict({"a": float("nan")}))
    assert not (workdir / "config.json").exists()


def test_the_file_is_for_people_too(workdir):
    open_run(workdir, base_config()).close()
    content = json.loads((workdir / "config.json").read_text())
    assert content["config"]["latent"]["kind"] == "vmf"


def test_paths_lie_in_the_directory(workdir):
    run = RunDirectory(workdir)
    paths = {run.config_path, run.metrics_path, run.tensorboard_path, run.checkpoints_path}
    assert len(paths) == 4
    assert {path.parent for path in paths} == {workdir}


def test_atomic_writing_replaces_or_leaves(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(*args):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", fail)
        with pytest.raises(OSError, match="Input/output"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    write_atomically(path, "néw")
    assert path.read_text(encoding="utf-8") == "néw"
