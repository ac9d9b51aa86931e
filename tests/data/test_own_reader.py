"""A corpus of a user's own module: what its `read` returns is checked, its errors name files."""

import pytest

from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.examples import encode, raw_corpus
from spherical_vae.data.sources import Archive, CorpusSpec

TEXTS = {"train": [["a", "b"], ["c"], ["a"]], "test": [["b"]]}
LABELS = {"train": [0, 1, 1], "test": [0]}


def complaint(refusal, texts, labels, classes=2):
    raw = raw_corpus("sequences", texts, "lines", labels)
    config = base_config().data
    config.label_classes = classes
    return refusal(encode, "mine", "sequences", raw, config)


def test_splits_are_those_of_a_corpus(refusal):
    texts = {"train": TEXTS["train"], "dev": TEXTS["test"]}
    assert "mine: splits train, dev were read, allowed: " in complaint(refusal, texts, None, 0)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (None, "mine: train: 0 labels of 3 examples"),
        (LABELS | {"train": [1, 2, 2]}, "mine: train: labels 1 to 2, allowed: 0 to 1"),
        (LABELS | {"test": [-1]}, "mine: test: labels -1 to -1, allowed: 0 to 1"),
    ],
)
def test_labels_are_those_of_the_classes(refusal, labels, told):
    assert complaint(refusal, TEXTS, labels).startswith(told)


def test_a_file_that_cannot_be_decoded_is_named(refusal, monkeypatch, tmp_path):
    def read(place, config_data, scratch):
        import gzip

        return raw_corpus("sequences", {"all": [gzip.open(place).read().split()]}, "lines")

    source = Archive("mine.gz", "bring it")
    spec = CorpusSpec("mine", "", "sequences", source, read, undivided=True)
    monkeypatch.setitem(CORPORA, "own.mine", spec)
    (tmp_path / "mine.gz").write_text("plain")
    config = base_config().data
    config.update(name="own.mine", manual_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    message = refusal(load_corpus, config)
    assert message.startswith(f"{tmp_path / 'mine.gz'}: cannot be read: Not a gzipped file")
