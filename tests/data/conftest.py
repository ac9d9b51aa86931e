"""Fixtures of the tests of corpora: a configuration, files on disk, the contract of a corpus."""

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.data.batch import END_ID
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.corpus import Corpus
from spherical_vae.system.errors import UserError


@pytest.fixture(scope="session")
def data_config():
    """Returns a function that gives `config.data` with some keys changed."""

    def make(name: str, path: object = "", **changes: object) -> ConfigDict:
        config = base_config().data
        # The tests of the readers keep nothing; those of the cache name a folder.
        config.update({"name": name, "path": str(path), "cache_dir": "none", **changes})
        return config

    return make


@pytest.fixture(scope="session")
def write_files(tmp_path_factory):
    """Returns a function that writes files into a new folder or archive and gives its path."""

    def write(files: dict[str, bytes | str], archive: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("corpus", numbered=True)
        contents = {k: v.encode() if isinstance(v, str) else v for k, v in files.items()}
        if not archive:
            for name, content in contents.items():
                (folder / name).write_bytes(content)
            return folder
        with zipfile.ZipFile(folder / "corpus.zip", "w", zipfile.ZIP_DEFLATED) as handle:
            for name, content in contents.items():
                handle.writestr(name, content)
        return folder / "corpus.zip"

    return write


@pytest.fixture
def no_network(monkeypatch):
    def urlopen(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


@pytest.fixture
def publish(monkeypatch):
    """Returns a function that gives a published corpus small counts, and its archive another id."""

    def change(name, examples, vocabulary, blob_id="", url=""):
        spec = CORPORA[name]
        publication = replace(spec.publication, examples=examples, vocabulary=vocabulary)
        source = replace(spec.source, blob_id=blob_id, url=url)
        monkeypatch.setitem(CORPORA, name, replace(spec, publication=publication, source=source))

    return change


def check_counts(report) -> None:
    """Asserts that the report says what became of all that was read, to the last example."""
    sums = [line for line in report if " read = " in line]
    assert sums
    for line in sums:
        read, _, parts = line.partition(" read = ")
        whole = int(re.findall(r"([\d,]+) \w+$", read)[0].replace(",", ""))
        # What follows a semicolon happened to those that were kept.
        terms = [part.split()[0] for part in parts.partition(";")[0].split(" + ")]
        assert whole == sum(int(term.replace(",", "")) for term in terms), line


@pytest.fixture(scope="session")
def check_corpus():
    """Returns a function that asserts everything a corpus promises."""

    def check(corpus: Corpus) -> None:
        size = len(corpus.vocabulary)
        assert len(set(corpus.vocabulary.words)) == size
        assert set(corpus.splits) == {"train", "valid", "test"}
        assert all(len(line.splitlines()) == 1 for line in corpus.report)
        check_counts(corpus.report)
        occurrences = np.zeros(size, np.int64)
        for name, split in corpus.splits.items():
            assert len(split) >= 1
            assert split.offsets[0] == 0
            assert split.offsets[-1] == len(split.ids)
            assert split.lengths.min() >= 1
            assert split.ids.min() >= 0
            assert split.ids.max() < size
            assert (split.labels is None) == (corpus.label_classes == 0)
            if split.labels is not None:
                assert set(split.labels.tolist()) <= set(range(corpus.label_classes))
            if corpus.kind == "sequences":
                assert split.counts is None
                assert split.lengths.min() >= 2
                ends = np.flatnonzero(split.ids == END_ID)
                np.testing.assert_array_equal(ends, split.offsets[1:] - 1)
            else:
                assert split.counts is not None
                assert split.counts.min() >= 1
            if name == "train":
                np.add.at(occurrences, split.ids, 1 if split.counts is None else split.counts)
        np.testing.assert_array_equal(corpus.vocabulary.train_counts, occurrences)
        words = occurrences[2:] if corpus.kind == "sequences" else occurrences
        assert (np.diff(words) <= 0).all()

    return check


@pytest.fixture(scope="session")
def refusal():
    """Returns a function that gives the one-line message with which a call is refused."""

    def message(call, *arguments) -> str:
        with pytest.raises(UserError) as caught:
            call(*arguments)
        text = str(caught.value)
        assert len(text.splitlines()) == 1
        return text

    return message
