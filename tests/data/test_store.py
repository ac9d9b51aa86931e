"""Prepared corpora: equal to what was read, never stale, never half, and what a damage does."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spherical_vae.data import load_corpus
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.corpus import DamagedStoreError, open_corpus, verify
from spherical_vae.data.loading import prepared_folders

SENTENCES = {"train.txt": "1 the cat\n2 a\u2028dog sat\n2 the\n", "test.txt": "1 the\n"}
DOCUMENTS = {
    "train.feat": "2 1:3 2:1\n1 2:2\n1 3:1\n",
    "test.feat": "1 3:1\n",
    "vocab.new": "u\nv\nw",
}


def assert_equal(one, other):
    assert (one.name, one.kind, one.label_classes) == (other.name, other.kind, other.label_classes)
    assert one.report == other.report
    assert one.vocabulary.words == other.vocabulary.words
    np.testing.assert_array_equal(one.vocabulary.train_counts, other.vocabulary.train_counts)
    assert one.fingerprint == other.fingerprint
    assert list(one.splits) == list(other.splits)
    for key, split in one.splits.items():
        assert split.tokens == other.splits[key].tokens
        for part in ("ids", "counts", "offsets", "labels"):
            ours, theirs = getattr(split, part), getattr(other.splits[key], part)
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert ours.dtype == theirs.dtype
                np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def corpus_at(write_files, data_config, tmp_path):
    """Returns a function that gives `config.data` of a corpus whose cache is `tmp_path`."""

    def make(name, files, archive=False, **changes):
        path = write_files(files, archive)
        changes = {"label_classes": 2, "cache_dir": str(tmp_path / "cache"), **changes}
        return data_config(name, path, **changes)

    return make


def folders(config):
    """Returns the prepared corpora in the cache of a configuration."""
    return list(prepared_folders(Path(config.cache_dir)))


def without_cache(config):
    with_none = config.copy_and_resolve_references()
    with_none.cache_dir = "none"
    return load_corpus(with_none)


@pytest.mark.parametrize(("name", "files"), [("text", SENTENCES), ("feat", DOCUMENTS)])
@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("labels", [0, 2])
def test_what_is_opened_is_what_was_read(corpus_at, check_corpus, name, files, archive, labels):
    config = corpus_at(name, files, archive, label_classes=labels)
    read, first, second = without_cache(config), load_corpus(config), load_corpus(config)
    check_corpus(first)
    assert_equal(first, read)
    assert_equal(second, read)
    assert len(folders(config)) == 1
    # The fingerprint that is stored is that of the arrays.
    vars(second).pop("fingerprint")
    assert second.fingerprint == read.fingerprint
    # The second is mapped from files, and nobody can write into it.
    assert second.splits["train"].ids.base is not None
    assert not second.splits["train"].ids.flags.writeable


TRACE = """
import sys
from pathlib import Path
from spherical_vae.config import base_config
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.loading import read_corpus
data = base_config().data
data.name, data.path = sys.argv[1:]
opened = set()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and "r" in (arguments[1] or "r"):
        opened.add(Path(arguments[0]).resolve())
listed = {path.resolve() for path in CORPORA[data.name].source.files(data)}
sys.addaudithook(hook)
read_corpus(data)
library = Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path("/proc"), Path("/sys")
for path in opened - listed:
    # Code that is imported on the way.
    if path.suffix not in (".py", ".pyc") and not any(path.is_relative_to(p) for p in library):
        print(path)
assert opened & listed
"""


@pytest.mark.parametrize(("name", "files"), [("text", SENTENCES), ("feat", DOCUMENTS)])
def test_loaders_read_no_other_file(write_files, name, files):
    """A file that is read and not listed could change without a new preparation."""
    done = subprocess.run(
        [sys.executable, "-c", TRACE, name, str(write_files(files))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_change_of_a_source_is_never_missed(corpus_at):
    """Content of the same size, written within the clock's tick, with the old times put back."""
    config = corpus_at("text", SENTENCES)
    train = Path(config.path) / "train.txt"
    for i in range(5):
        before = train.stat()
        train.write_text(SENTENCES["train.txt"].replace("cat", f"c{i:02d}"), encoding="utf-8")
        os.utime(train, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert f"c{i:02d}" in load_corpus(config).vocabulary.words


def test_new_file_and_other_setting_are_a_new_preparation(corpus_at):
    config = corpus_at("text", SENTENCES)
    carved = load_corpus(config)
    (Path(config.path) / "valid.txt").write_text("1 new\n")
    assert len(load_corpus(config).splits["train"]) == len(carved.splits["train"]) + 1
    config.max_length = 1
    assert load_corpus(config).splits["train"].lengths.max() == 2
    assert len(folders(config)) == 3
    config.buckets += 1
    load_corpus(config)
    assert len(folders(config)) == 3


def test_source_that_changes_while_it_is_read(corpus_at, monkeypatch, refusal):
    config = corpus_at("text", SENTENCES)
    spec = CORPORA["text"]

    def slow(place, data, scratch):
        raw = spec.read(place, data, scratch)
        with (place / "train.txt").open("a") as file:
            file.write("1 late\n")
        return raw

    monkeypatch.setitem(CORPORA, "text", replace(spec, read=slow))
    assert "train.txt changed while it was read" in refusal(load_corpus, config)
    assert not folders(config)


def damages():
    """Yields what to do to a prepared folder; all of it must show when it is opened."""

    def truncate(name):
        def act(folder):
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[:-2])

        return act

    def remove(name):
        return lambda folder: (folder / name).unlink()

    def edit_manifest(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["content"]["fingerprint"] += 1
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def empty_manifest(folder):
        (folder / "manifest.json").write_text("[]")

    def other_word(folder):
        path = folder / "vocabulary.json"
        path.write_text(path.read_text().replace("cat", "cow"))

    def other_header(folder):
        path = folder / "train.ids.npy"
        path.write_bytes(path.read_bytes().replace(b"<i4", b"|O8"))

    def nothing_left(folder):
        for path in folder.iterdir():
            path.unlink()

    for name in ("train.ids.npy", "test.labels.npy", "vocabulary.json", "manifest.json"):
        yield pytest.param(truncate(name), id=f"truncated {name}")
    for name in ("train.offsets.npy", "vocabulary.json", "manifest.json"):
        yield pytest.param(remove(name), id=f"no {name}")
    yield pytest.param(edit_manifest, id="edited manifest")
    yield pytest.param(empty_manifest, id="empty manifest")
    yield pytest.param(other_word, id="another word")
    yield pytest.param(other_header, id="objects")
    yield pytest.param(nothing_left, id="empty")


@pytest.mark.parametrize("damage", list(damages()))
def test_damage_is_found_and_made_good(corpus_at, damage, capsys):
    config = corpus_at("text", SENTENCES)
    load_corpus(config)
    (folder,) = folders(config)
    damage(folder)
    with pytest.raises(DamagedStoreError):
        open_corpus(folder)
    assert_equal(load_corpus(config), without_cache(config))
    message = capsys.readouterr().err
    assert "is damaged (" in message
    assert len(message.splitlines()) == 1
    verify(folder)
    assert folders(config) == [folder]


def test_verify_reads_everything(corpus_at):
    config = corpus_at("text", SENTENCES)
    load_corpus(config)
    (folder,) = folders(config)
    verify(folder)
    path = folder / "train.ids.npy"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    open_corpus(folder)  # sizes alone do not show it
    with pytest.raises(DamagedStoreError, match=r"train\.ids\.npy is not as it was written"):
        verify(folder)
    content[-4] ^= 1
    path.write_bytes(content)
    (folder / "stranger").touch()
    with pytest.raises(DamagedStoreError, match="stranger"):
        verify(folder)


def test_cache_that_cannot_be_written(corpus_at, tmp_path, refusal):
    (tmp_path / "file").write_text("")
    config = corpus_at("text", SENTENCES, cache_dir=str(tmp_path / "file"))
    message = refusal(load_corpus, config)
    assert "--config.data.cache_dir=FOLDER" in message
    config.cache_dir = str(tmp_path / "file" / "below")
    assert "--config.data.cache_dir=FOLDER" in refusal(load_corpus, config)


def test_a_disk_that_is_full_is_not_a_fault_of_the_text(corpus_at, refusal, monkeypatch):
    def save(file, array, allow_pickle):
        raise OSError("11000 requested and 3040 written")  # As NumPy says it, without a number.

    monkeypatch.setattr("numpy.save", save)
    message = refusal(load_corpus, corpus_at("text", SENTENCES))
    assert "No space left on device" in message
    assert "--config.data.cache_dir=FOLDER" in message


def test_mistakes_leave_nothing_to_open(corpus_at, refusal):
    config = corpus_at("text", {"train.txt": "7 a\n", "test.txt": "1 b\n"})
    assert "not with a label in 1..2" in refusal(load_corpus, config)
    assert not folders(config)


LOAD = """
import os, sys, time
from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
data = base_config().data
data.update({"name": "text", "path": sys.argv[1], "cache_dir": sys.argv[2], "label_classes": 2})
if len(sys.argv) > 3:
    # Stops, and says so, before the file of that name would be on the disk.
    fsync = os.fsync
    def stop(file):
        if sys.argv[3] in os.readlink(f"/proc/self/fd/{file}"):
            print("here", flush=True)
            time.sleep(60)
        fsync(file)
    os.fsync = stop
print(load_corpus(data).fingerprint, flush=True)
"""


def start(config, *stop_at):
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, config.path, config.cache_dir, *stop_at],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files")
@pytest.mark.parametrize("stop_at", ["train.labels.npy", "manifest.json"])
def test_killed_preparation_leaves_nothing_that_passes(corpus_at, stop_at):
    config = corpus_at("text", SENTENCES)
    process = start(config, stop_at)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not folders(config)
    assert_equal(load_corpus(config), without_cache(config))
    (folder,) = folders(config)
    verify(folder)
    # What the killed one left is gone.
    assert not list(folder.parent.glob(".*.tmp"))


def test_concurrent_preparations_leave_one_good_copy(corpus_at):
    config = corpus_at("text", SENTENCES)
    processes = [start(config) for _ in range(3)]
    ended = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ended
    assert {out.strip() for out, _ in ended} == {str(without_cache(config).fingerprint)}
    (folder,) = folders(config)
    verify(folder)
    assert not list(folder.parent.glob(".*.tmp"))
