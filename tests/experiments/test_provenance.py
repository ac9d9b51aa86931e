"""The commit in a record is that of the code, and null where there is none."""

import subprocess
from types import SimpleNamespace

import pytest

from spherical_vae.experiments.laboratory import provenance, starts
from spherical_vae.experiments.laboratory.provenance import commit


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
    for name in ("spherical_vae/code.py", "configs/ptb.py", "results/table4.json"):
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
        ("results/table4.json", False),  # else every record after the first would say so
    ],
)
def test_code_that_was_changed_is_said_to_be(clone, changed, counts):
    (clone / changed).write_text("2\n", encoding="utf-8")
    assert commit(clone).endswith("-modified") == counts


def test_no_clone_no_git_and_no_commit_are_null(clone, tmp_path, monkeypatch):
    assert commit(tmp_path) is None
    assert commit(clone / "spherical_vae") is None  # a package inside of another repository
    git(tmp_path, "init", "--quiet", "empty")
    assert commit(tmp_path / "empty") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(clone) is None


def start(folder, seconds, monkeypatch, commit="aaa"):
    """What is said of all starts after one more that took so long."""
    clock = iter([100.0, 100.0 + seconds])
    monkeypatch.setattr(starts, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(starts, "commit", lambda: commit)
    with starts.timed(folder) as found:
        assert found == []
    return starts.in_all(found)


def test_a_run_that_went_on_with_other_code_names_both(tmp_path, monkeypatch):
    start(tmp_path, 1.5, monkeypatch)
    said = start(tmp_path, 2.0, monkeypatch, commit="bbb")
    assert (said["train_seconds"], said["starts"], said["commit"]) == (3.5, 2, "aaa, bbb")
    assert set(provenance.circumstances()) <= set(said)


def test_a_start_of_before_commits_were_noted_makes_the_commit_unknown(tmp_path, monkeypatch):
    (tmp_path / "starts.json").write_text("[4.0]", encoding="utf-8")
    said = start(tmp_path, 1.0, monkeypatch)
    assert (said["train_seconds"], said["commit"]) == (5.0, None)


def test_a_start_that_was_killed_counts_but_not_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(starts, "commit", lambda: "aaa")
    before = tmp_path / "killed" / "starts.json"
    before.parent.mkdir()
    with starts.timed(tmp_path):
        # As it lies there when the process dies now.
        before.write_bytes((tmp_path / "starts.json").read_bytes())
    said = start(before.parent, 2.0, monkeypatch, commit="bbb")
    assert (said["train_seconds"], said["starts"], said["commit"]) == (None, 2, "aaa, bbb")
