"""The paper's corpora: archives checked, counts asserted, TFDS without TensorFlow, stand-ins."""

import gzip
import lzma
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.corpora.rcv1 import read_token_file
from spherical_vae.data.raw_text import content_words, tokenize_review
from spherical_vae.data.sources import blob_id

SENTENCES = {
    "train.txt": "0 good food\n4 bad <unk> food\n\n2 food\n",
    "valid.txt": "1 good\n",
    "test.txt": "3 odd food\n",
}


@pytest.fixture
def config(tmp_path):
    def make(name, **changes) -> ConfigDict:
        data = base_config().data
        data.name = name
        data.cache_dir = str(tmp_path / "cache")
        data.update(changes)
        return data

    return make


@pytest.fixture(autouse=True)
def _private_cache(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def small_yelp(publish):
    publish("yelp", {"train": 3, "valid": 1, "test": 1}, 5)


def test_yelp_has_stars_from_zero_and_is_the_same_from_records(
    small_yelp, config, write_files, check_corpus
):
    archive = write_files({f"yelp/{k}": v for k, v in SENTENCES.items()}, archive=True)
    settings = config("yelp", path=str(archive), label_classes=5)
    first, second = load_corpus(settings), load_corpus(settings)
    check_corpus(first)
    assert first.name == "yelp"
    assert first.splits["train"].labels.tolist() == [0, 4, 2]
    assert first.vocabulary.words == ("<unk>", "</s>", "food", "bad", "good")
    assert first.fingerprint == second.fingerprint
    assert any("4 lines read = 3 kept + 1 empty" in line for line in first.report)


def test_other_counts_are_refused_with_both(small_yelp, config, write_files, refusal):
    folder = write_files({**SENTENCES, "test.txt": "3 odd\n1 x\n"})
    message = refusal(load_corpus, config("yelp", path=str(folder), label_classes=5))
    assert "test 2" in message
    assert "expected train 3, valid 1, test 1" in message


def test_label_out_of_range_is_refused(small_yelp, config, write_files, refusal):
    folder = write_files({**SENTENCES, "test.txt": "5 odd\n"})
    message = refusal(load_corpus, config("yelp", path=str(folder), label_classes=5))
    assert "test.txt, line 1" in message
    assert "0..4" in message


def test_changed_archive_is_refused_with_both_ids(config, write_files, refusal):
    archive = write_files({"train.txt": "a\n"}, archive=True)
    message = refusal(load_corpus, config("ptb", path=str(archive)))
    assert CORPORA["ptb"].source.blob_id in message
    assert blob_id(archive.read_bytes()) in message


@pytest.mark.parametrize(
    "name", ["ptb", "yelp", "news20", "news20_prodlda", "rcv1", "yelp10k", "reuters"]
)
def test_missing_file_says_what_to_fetch_and_where_to_put_it(name, config, refusal):
    message = refusal(load_corpus, config(name))
    assert "--config.data.manual_dir=FOLDER" in message


def test_blob_id_is_gits():
    """`printf 'hello\\n' | git hash-object --stdin`."""
    assert blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_nothing_imports_tensorflow():
    code = (
        "import sys; from spherical_vae.data import published; assert 'tensorflow' not in "
        "sys.modules and 'tensorflow_datasets' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    code = "import sys, spherical_vae.train; assert 'tensorflow_datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_token_files(tmp_path, refusal):
    path = tmp_path / "tokens.dat.gz"
    path.write_bytes(gzip.compress(b".I 7\n.W\noil oil\nprice\n\n.I 8\n.W\nrain\n\n"))
    assert list(read_token_file(path)) == [("7", ["oil", "oil", "price"]), ("8", ["rain"])]
    path.write_bytes(gzip.compress(b".I 7\n.W\n" + b"oil " * 9999)[:-20])
    assert "cannot be read" in refusal(lambda: list(read_token_file(path)))


def review_table(rows):
    lines = ["review_id,stars,text", *(f'{i},{stars},"{text}"' for i, stars, text in rows)]
    return lzma.compress("\r\n".join(lines).encode())


def test_yelp10k_is_tokenised_cut_and_carved_under_its_own_name(config, write_files, check_corpus):
    rows = [(i, 1 + i % 5, f"It isn't <br />GOOD... no\nnumber{i % 7}!") for i in range(60)]
    folder = write_files({"yelp10k.csv.xz": review_table(rows)})
    corpus = load_corpus(config("yelp10k", manual_dir=str(folder), label_classes=5, max_length=6))
    check_corpus(corpus)
    assert corpus.name == "yelp10k"
    assert sum(len(split) for split in corpus.splits.values()) == 60
    assert "60 of those kept were cut" in corpus.report[1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1, 6, "x")], "record 1: stars '6' is not in 1..5"),
        ([(1, 5, "x"), (1, 5, "y")], "record 2: review_id '1' is there twice"),
    ],
)
def test_bad_reviews_are_refused(rows, message, config, write_files, refusal):
    folder = write_files({"yelp10k.csv.xz": review_table(rows)})
    assert message in refusal(load_corpus, config("yelp10k", manual_dir=str(folder)))


@pytest.mark.parametrize("name", ["yelp10k.csv.xz", "reuters21578.tar.xz"])
def test_truncated_xz_is_refused(name, config, write_files, refusal):
    content = review_table([(i, 5, "word " * 50) for i in range(99)])
    folder = write_files({name: content[: len(content) // 2]})
    corpus = name.split(".")[0].removesuffix("21578")
    assert "cannot be unpacked" in refusal(load_corpus, config(corpus, manual_dir=str(folder)))


def test_tokens_of_reviews():
    assert tokenize_review("Don't go!<br /><br />It\u2019s... a so-so place.") == [
        *["do", "n't", "go", "!", "it", "'s", "...", "a", "so-so", "place", "."]
    ]
    assert content_words("The 2 prices of OIL<br/>rose") == ["prices", "oil", "rose"]
