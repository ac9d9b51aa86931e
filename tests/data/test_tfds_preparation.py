"""Preparing by TFDS, by several processes or killed: one good copy, or none that passes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spherical_vae.data.corpus import verify
from spherical_vae.data.loading import prepared_folders

TEXTS = {
    "train.txt": "".join(f"a b w{i % 50}\n" for i in range(400)),
    "valid.txt": "a w1\n",
    "test.txt": "b w2\n",
}

# Loads `ptb` with the facts of the small corpus; the third argument is a longest sentence. With a
# fourth one it stops, and says so, when the records are to be renamed to their place.
LOAD = """
import sys, time
from dataclasses import replace
from pathlib import Path
from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.corpora import CORPORA
spec = CORPORA["ptb"]
counts = {"train": 400, "valid": 1, "test": 1}
publication = replace(spec.publication, examples=counts, vocabulary=54)
source = replace(spec.source, blob_id="", url="")
CORPORA["ptb"] = replace(spec, publication=publication, source=source)
if len(sys.argv) > 4:
    def stop(self, target):
        print("here", file=sys.__stdout__, flush=True)
        time.sleep(60)
    Path.rename = stop
data = base_config().data
data.update(name="ptb", path=sys.argv[1], cache_dir=sys.argv[2], max_length=int(sys.argv[3]))
print(load_corpus(data).fingerprint, flush=True)
"""


def start(path, cache, longest, *stop):
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, str(path), str(cache), str(longest), *stop],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends_well(processes):
    """Returns what the processes print, once all of them have ended."""
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), ended
    return [out.strip() for out, _ in ended]


@pytest.fixture(scope="module")
def archive(write_files):
    return write_files(TEXTS, archive=True)


@pytest.fixture(scope="module")
def fingerprint(archive):
    """What is read where nothing is kept."""
    return ends_well([start(archive, "none", 50)])[0]


def record_folders(cache):
    return [path for path in (cache / "tfds").iterdir() if path.name != "locks"]


def test_killed_preparation_leaves_nothing_that_passes(archive, fingerprint, tmp_path):
    process = start(archive, tmp_path, 50, "stop")
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert all(path.name.startswith(".") for path in record_folders(tmp_path))
    assert not list(prepared_folders(tmp_path, "ptb"))
    assert ends_well([start(archive, tmp_path, 50)]) == [fingerprint]
    (folder,) = prepared_folders(tmp_path, "ptb")
    verify(folder)
    # What the killed one left is gone.
    assert [path.name[0] for path in record_folders(tmp_path)] == ["p"]
    assert not list(tmp_path.glob(".*.tmp"))


def test_concurrent_preparations_leave_one_good_copy(archive, fingerprint, tmp_path):
    # Two settings, that is two corpora, of one set of records.
    found = ends_well([start(archive, tmp_path, longest) for longest in (50, 2, 50)])
    assert found[0] == found[2] == fingerprint != found[1]
    assert len(record_folders(tmp_path)) == 1
    folders = list(prepared_folders(tmp_path, "ptb"))
    assert len(folders) == 2
    for folder in folders:
        verify(folder)
    assert not list(tmp_path.glob(".*.tmp"))


def test_damaged_records_are_refused_in_one_line(archive, fingerprint, tmp_path):
    ends_well([start(archive, tmp_path, 50)])
    (records,) = record_folders(tmp_path)
    (train,) = Path(records).rglob("*train*")
    train.write_bytes(train.read_bytes()[:-40])
    process = start(archive, tmp_path, 3)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "UserError" in error.splitlines()[-1]
    assert str(records) in error.splitlines()[-1]
