"""A run directory keeps its configuration exactly, refuses to mix two runs, and is locked."""

import json
import subprocess
import sys
import threading

import pytest
from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.runs.run_directory import RunDirectory, load_run, open_run
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "runs" / "one"


def refusal(workdir, config=None):
    with pytest.raises(UserError) as caught:
        open_run(workdir, config or base_config())
    message = str(caught.value)
    assert "\n" not in message
    return message


def begin(workdir, config, **options):
    """Makes a run that has a record."""
    with open_run(workdir, config, **options) as run:
        run.metrics_path.touch()


def test_first_use_writes_the_configuration(workdir):
    with open_run(workdir, base_config()) as run:
        assert run.path == workdir
        assert load_run(workdir).config == base_config()
    assert {path.name for path in workdir.iterdir()} == {"config.json", ".lock"}


def test_the_same_configuration_resumes(workdir):
    for _ in range(3):
        open_run(workdir, base_config()).close()


def test_values_keep_their_types(workdir):
    config = base_config()
    config.name = 'Zürich "quoted"\n'
    config.baselines = ("none", "vmf")
    config.latent.concentration = 0.1 + 0.2
    config.latent.max_concentration = 1e30
    config.optimizer.learning_rate = 1e-3
    config.decoder.inputless = False
    open_run(workdir, config).close()
    loaded = load_run(workdir).config
    assert loaded == config
    assert repr(loaded.to_dict()) == repr(config.to_dict())
    open_run(workdir, config).close()


def test_loaded_configuration_can_be_overridden_like_the_base(workdir):
    open_run(workdir, base_config()).close()
    loaded = load_run(workdir).config
    loaded.latent.concentration = 80
    assert loaded.latent.concentration == 80.0
    with pytest.raises(TypeError):
        loaded.latent.dimension = "x"


def test_differing_keys_are_named_with_both_values(workdir):
    begin(workdir, base_config())
    config = base_config()
    config.latent.concentration = 80.0
    config.name = "other"
    message = refusal(workdir, config)
    assert f"config.latent.concentration: 30.0 in {workdir}, 80.0 given" in message
    assert f"config.name: 'kjv' in {workdir}, 'other' given" in message
    assert message.endswith("use another --workdir")
    assert message.count("config.") == 2
    assert load_run(workdir).config == base_config()


def test_a_run_goes_on_with_other_values_of_what_changes_no_result(workdir):
    open_run(workdir, base_config()).close()
    config = base_config()
    config.data.cache_dir = "elsewhere"
    config.train.steps_per_call = 7
    config.mesh.model = 2
    config.data.path = "where it lies now"
    open_run(workdir, config).close()
    # Those that evaluation needs: of the last start.
    assert load_run(workdir).config == config


def test_epochs_that_are_not_read_may_change(workdir, capsys):
    config = base_config()
    config.train.steps, config.train.epochs = 100, 5
    begin(workdir, config)
    config.train.epochs = 2
    open_run(workdir, config).close()
    assert capsys.readouterr().err == ""
    config.train.steps = 0
    assert "config.train.steps" in refusal(workdir, config)


def test_an_empty_path_is_no_run():
    with pytest.raises(UserError, match="--workdir"):
        RunDirectory("")


def stored_without(workdir, *keys, **more):
    """Makes a run of the base configuration; takes keys out of what is stored, or adds some."""
    begin(workdir, base_config())
    path = workdir / "config.json"
    content = json.loads(path.read_text())
    for key in keys:
        *groups, name = key.split(".")
        inner = content["config"]
        for group in groups:
            inner = inner[group]
        del inner[name]
    content["config"] |= more
    path.write_text(json.dumps(content))


def test_keys_that_a_run_is_older_than_have_their_defaults(workdir):
    stored_without(workdir, "compute", "mesh", "latent.range", "train.steps_per_call")
    assert load_run(workdir).config == base_config()
    # And it goes on as a run that always had them: with other values it is another one.
    open_run(workdir, base_config()).close()
    config = base_config()
    config.latent.range = "clipped"
    assert f"config.latent.range: 'smooth' in {workdir}, 'clipped' given" in refusal(
        workdir, config
    )


@pytest.mark.parametrize(
    ("more", "key"), [({"other": 1}, "other"), ({"cache": {"size": 1}}, "cache.size")]
)
def test_keys_that_this_version_does_not_know_are_told(workdir, more, key):
    stored_without(workdir, **more)
    message = refusal(workdir)
    assert message.startswith(
        f"{workdir / 'config.json'}: config.{key}: this version has no such key"
    )
    with pytest.raises(UserError, match="no such key"):
        load_run(workdir)


@pytest.mark.parametrize(
    ("key", "before", "after", "told"),
    [
        ("train.epochs", 10, 20, None),
        (
            "train.epochs",
            10,
            5,
            "config.train.epochs: 10 in {run}, 5 given, allowed: at least 10; ",
        ),
        ("train.steps", 100, 200, None),
        ("train.steps", 200, 100, "config.train.steps: 200 in {run}, 100 given, allowed: at least"),
        ("train.steps", 0, 100, "config.train.steps: 0 in {run}, 100 given; "),
        ("train.steps", 100, 0, "config.train.steps: 100 in {run}, 0 given; "),
        ("train.early_stopping", 0, 3, None),
        ("train.log_every", 20, 7, None),
        ("train.checkpoint_every", 0, 7, None),
        ("evaluation.importance_samples", 100, 7, None),
        ("evaluation.batch_size", 64, 7, None),
        ("train.batch_size", 64, 32, "config.train.batch_size: 64 in {run}, 32 given; "),
        ("seed", 0, 1, "config.seed: 0 in {run}, 1 given; "),
        ("optimizer.learning_rate", 0.1, 0.2, "config.optimizer.learning_rate: 0.1 in {run}"),
    ],
)
def test_what_may_be_another_when_a_run_goes_on(workdir, capsys, key, before, after, told):
    config = base_config()
    config.update_from_flattened_dict({key: before})
    begin(workdir, config)
    config.update_from_flattened_dict({key: after})
    if told is None:
        with open_run(workdir, config) as run:
            run.keep_length()
        assert load_run(workdir).config == config
        said = f"config.{key}: {before} in {workdir}, {after} from now on\n"
        assert capsys.readouterr().err.startswith("" if key == "train.checkpoint_every" else said)
    else:
        assert refusal(workdir, config).startswith(told.format(run=workdir))
        assert load_run(workdir).config != config


def test_a_run_keeps_what_it_started_from(workdir):
    origin = {"workdir": "elsewhere", "step": 3}
    begin(workdir, base_config(), origin=origin)
    assert load_run(workdir).origin == origin
    config = base_config()
    config.train.epochs = 2
    open_run(workdir, config).close()
    open_run(workdir, config, origin={"workdir": "elsewhere", "step": 9}).close()
    assert load_run(workdir).origin == origin
    with pytest.raises(UserError, match=r"--init_from: elsewhere in .*, other given"):
        open_run(workdir, config, origin={"workdir": "other", "step": 3})


def test_a_mistake_before_the_first_record_binds_nobody(workdir):
    """Training may refuse a configuration after it is stored: a batch that does not divide, say."""
    origin = {"workdir": "elsewhere", "step": 3}
    open_run(workdir, base_config(), origin=origin).close()
    config = base_config()
    open_run(workdir, base_config()).close()
    assert load_run(workdir).origin == origin
    config.train.batch_size = 24
    begin(workdir, config)
    assert load_run(workdir).config == config
    # Its parameters need not fit another model.
    assert load_run(workdir).origin is None
    assert f"config.train.batch_size: 24 in {workdir}, 64 given" in refusal(workdir)


@pytest.mark.parametrize("part", ["baselines/none", "replicas/a", "checkpoints/0"])
def test_what_a_run_consists_of_binds(workdir, part):
    open_run(workdir, base_config()).close()
    (workdir / part).mkdir(parents=True)
    config = base_config()
    config.seed = 5
    assert "config.seed: 0 in" in refusal(workdir, config)
    assert load_run(workdir).config == base_config()


@pytest.mark.parametrize(
    ("changes", "replicas", "told"),
    [
        ({"optimizer.schedule": "cosine"}, None, ["config.optimizer.schedule=cosine"]),
        ({"kl_weight.schedule": "cyclical"}, None, ["config.kl_weight.schedule=cyclical"]),
        (
            {},
            {"a": {"optimizer.schedule": "cosine"}, "b": {"optimizer.schedule": "constant"}},
            ["config.optimizer.schedule=cosine"],
        ),
        ({"optimizer.schedule": "plateau"}, None, []),
    ],
    ids=str,
)
def test_schedules_that_depend_on_the_length_are_told(workdir, capsys, changes, replicas, told):
    config = base_config()
    config.optimizer.schedule = "constant"
    config.update_from_flattened_dict(changes)
    begin(workdir, config, replicas=replicas)
    config.train.epochs *= 2
    open_run(workdir, config, replicas=replicas).close()
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("config.train.epochs")
    assert [line.partition(":")[0] for line in rest] == told


def test_a_longer_training_that_has_saved_nothing_does_not_bind(workdir):
    config = base_config()
    begin(workdir, config)
    longer = base_config()
    longer.train.epochs, longer.train.log_every = 500, 7
    open_run(workdir, longer).close()
    assert load_run(workdir).config.train.epochs == config.train.epochs
    assert load_run(workdir).config.train.log_every == 7
    open_run(workdir, config).close()
    assert load_run(workdir).config == config
    with open_run(workdir, longer) as run:
        run.keep_length()
    assert "allowed: at least 500" in refusal(workdir, config)


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
        "from spherical_vae.runs.run_directory import open_run\n"
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
    begin(workdir, base_config())
    config = base_config()
    config.seed = 1
    refusal(workdir, config)
    open_run(workdir, base_config()).close()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with open_run("~/runs/one", base_config()) as run:
        assert run.path == tmp_path / "home" / "runs" / "one"
    assert load_run("~/runs/one").config == base_config()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert "there is no such home folder" in refusal("~nobody-is-called-so/x")


@pytest.mark.parametrize("name", ["runs[1]", "a*", r"a\b", "a?/b", "gs:/b"])
def test_a_folder_that_could_not_be_read_is_not_even_made(tmp_path, name):
    message = refusal(tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: checkpoints cannot be read back from there")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="cannot be read back"):
        load_run(tmp_path / name)


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
        load_run(tmp_path / name)
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
