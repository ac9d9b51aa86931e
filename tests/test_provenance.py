"""A record says which code it is of, None if there is no commit, and the cores it could use."""

import datetime
import os
import subprocess

import pytest

from spherical_vae.system.provenance import circumstances, commit


def git(folder, *arguments):
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def _nothing_remembered():
    commit.cache_clear()
    yield
    commit.cache_clear()


@pytest.fixture
def clone(tmp_path):
    for name in ("spherical_vae/code.py", "configs/ptb.py", "results/runs/a.json"):
        path = tmp_path / "clone" / name
        path.parent.mkdir(parents=True)
        path.write_text("1\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet", "clone")
    git(tmp_path / "clone", "add", ".")
    git(tmp_path / "clone", "commit", "--quiet", "--no-gpg-sign", "--message=first")
    return tmp_path / "clone"


def test_the_commit_of_a_clone(clone):
    assert commit(clone) == git(clone, "rev-parse", "HEAD")[:10]


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("spherical_vae/code.py", True),
        ("spherical_vae/new.py", True),
        ("configs/ptb.py", True),
        ("paper/code.py", True),
        ("results/runs/a.json", False),  # else every run after the first would say so
    ],
)
def test_code_that_was_changed_is_said_to_be(clone, changed, counts):
    (clone / changed).parent.mkdir(exist_ok=True)
    (clone / changed).write_text("2\n", encoding="utf-8")
    assert commit(clone).endswith("-modified") == counts


def test_records_may_depend_on_more_folders(clone):
    (clone / "benchmarks").mkdir()
    (clone / "benchmarks" / "code.py").write_text("1\n", encoding="utf-8")
    assert not commit(clone).endswith("-modified")
    assert commit(clone, "benchmarks").endswith("-modified")


def test_no_clone_no_git_and_no_commit_are_null(clone, tmp_path, monkeypatch):
    assert commit(tmp_path) is None
    assert commit(clone / "spherical_vae") is None  # a package inside of another repository
    git(tmp_path, "init", "--quiet", "empty")
    assert commit(tmp_path / "empty") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(clone) is None


def test_a_copy_is_told_its_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("SPHERICAL_VAE_COMMIT", "0123456789")
    assert commit(tmp_path) == "0123456789"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound here")
def test_the_cores_of_a_record_are_those_that_the_process_may_use():
    circumstances()  # JAX starts with all of them
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert circumstances()["device"] == "1 CPU core"
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_date_is_that_of_the_call(monkeypatch):
    """A grid of runs may take several days."""

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 2, tzinfo=tz)

    before = circumstances()["date"]
    monkeypatch.setattr(datetime, "datetime", Later)
    assert before != circumstances()["date"] == "2030-01-02"
