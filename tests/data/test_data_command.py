"""`python -m spherical_vae.data`: the figures are those of the text, mistakes are one line."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spherical_vae.config import base_config
from spherical_vae.config.command_line import load_config_file
from spherical_vae.data import load_corpus
from spherical_vae.data.__main__ import main
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.statistics import histogram

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))
SENTENCES = {
    "train.txt": "a b a\n\na <unk>\nb\na b a b a\n",
    "valid.txt": "a c\n",
    "test.txt": "b\n\n\na a\n",
}
DOCUMENTS = {
    "vocab.new": "oil 9\nprice 5\nrain 1\n",
    "train.feat": "1 1:3 2:1\n2 1:2\n\n1 3:4\n",
    "valid.feat": "1 1:1\n",
    "test.feat": "2 2:7 3:1\n",
}


@pytest.fixture(autouse=True)
def _private_cache(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(capsys):
    """Returns a function that runs the command and gives what it printed."""

    def run(*arguments):
        capsys.readouterr()
        main(["data", *map(str, arguments)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def mistake(refusal):
    return lambda *arguments: refusal(main, ["data", *map(str, arguments)])


def selections():
    for path in CONFIGS:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # Half of the vocabulary is what that variant is about.
        yield from (f"{path}:{v}" for v in module.VARIANTS if v != "words2000")


@pytest.mark.parametrize("selected", list(selections()), ids=lambda selected: Path(selected).name)
def test_settings_are_those_of_the_configs(selected):
    """Else training would prepare anew what `prepare` has prepared."""
    config = load_config_file(selected).data
    expected = base_config().data
    expected.name = config.name
    expected.update(CORPORA[config.name].settings)
    free = {"path", "buckets"}
    assert {k: v for k, v in config.items() if k not in free} == {
        k: v for k, v in expected.items() if k not in free
    }


def test_list_says_what_is_missing(data, tmp_path):
    lines = data("list").splitlines()
    assert [line.split()[0] for line in lines] == list(CORPORA)
    state = {line.split()[0]: line for line in lines}
    for name, file in [("ptb", "ptb.zip"), ("rcv1", "rcv1.zip"), ("yelp10k", "yelp10k.csv.xz")]:
        assert f"needs {file}: " in state[name]
        assert state[name].endswith("and put it into --manual_dir=FOLDER")
    assert "train.txt and test.txt" in state["text"]
    assert state["kjv"].endswith("ready")
    (tmp_path / "yelp10k.csv.xz").touch()
    lines = data("list", f"--manual_dir={tmp_path}").splitlines()
    assert next(line for line in lines if line.startswith("yelp10k")).endswith("ready")


def test_what_is_prepared_is_opened_by_training(data, write_files, tmp_path):
    folder = write_files(SENTENCES)
    printed = data("prepare", "text", f"--path={folder}").splitlines()
    assert "train: 5 lines read = 4 kept + 1 empty, dropped" in printed
    assert printed[-1].startswith(f"text is prepared in {tmp_path / 'cache' / 'spherical_vae'}: ")
    prepared = list((tmp_path / "cache" / "spherical_vae").glob("text-*"))
    assert len(prepared) == 1
    config = load_config_file(str(CONFIGS[0].parent / "text.py")).data
    config.path = str(folder)
    load_corpus(config)
    assert list((tmp_path / "cache" / "spherical_vae").glob("text-*")) == prepared
    assert next(line for line in data("list").splitlines() if line.startswith("text")).endswith(
        "prepared"
    )


def test_statistics_of_sentences(data, write_files):
    folder = write_files(SENTENCES)
    found = json.loads(data("stats", "text", f"--path={folder}", "--json"))
    assert found["corpus"] == f"text:{folder.name}"
    assert found["vocabulary"] == 4
    assert found["splits"]["train"] == {
        "examples": 4,
        "tokens": 15,
        "words": 11,
        "mean_length": 2.75,
        "longest": 5,
        "unknown": 1,
        "unknown_rate": 1 / 11,
        "labels": None,
        "histogram": [
            {"low": n, "high": n, "examples": examples}
            for n, examples in [(1, 1), (2, 1), (3, 1), (4, 0), (5, 1)]
        ],
    }
    assert found["splits"]["valid"]["unknown_rate"] == 0.5
    assert "test: 4 lines read = 2 kept + 2 empty, dropped" in found["report"]
    text = data("stats", "text", f"--path={folder}")
    assert "train: words an example, 5 at most" in text
    assert "unk rate 9.09% (1 of 11 words)" in text


def test_statistics_of_documents(data, write_files):
    folder = write_files(DOCUMENTS)
    found = json.loads(data("stats", "feat", f"--path={folder}", "--label_classes=2", "--json"))
    train = found["splits"]["train"]
    assert (train["examples"], train["tokens"], train["words"]) == (3, 10, 10)
    assert (train["unknown"], train["unknown_rate"], train["labels"]) == (None, None, [2, 1])
    assert [bar["examples"] for bar in train["histogram"]] == [0, 1, 0, 2]
    assert "train: 4 lines read = 3 kept + 1 empty, dropped" in found["report"]
    text = data("stats", "feat", f"--path={folder}", "--label_classes=2")
    assert "train: examples of each label: 1: 2, 2: 1" in text


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=200))
def test_histogram_counts_every_example_once(words):
    words = np.array(words, np.int64)
    bars = [(bar["low"], bar["high"], bar["examples"]) for bar in histogram(words)]
    assert len(bars) <= 12
    assert (bars[0][0], bars[-1][1]) == (1, words.max())
    assert all(one[1] + 1 == other[0] for one, other in itertools.pairwise(bars))
    for low, high, examples in bars:
        assert examples == np.count_nonzero((words >= low) & (words <= high))
    assert sum(examples for *_, examples in bars) == len(words)


def test_verify_finds_a_changed_byte(data, mistake, write_files, tmp_path):
    folder = write_files(SENTENCES)
    data("prepare", "text", f"--path={folder}")
    data("prepare", "text", f"--path={folder}", "--max_length=2")
    *printed, count = data("verify", "text").splitlines()
    assert len(printed) == 2
    assert all(line.endswith("as they were written") for line in printed)
    assert count.startswith("2 prepared in ")
    path = sorted((tmp_path / "cache" / "spherical_vae").glob("text-*"))[1] / "train.ids.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = mistake("verify", "text")
    assert str(path.parent) in message
    assert "train.ids.npy is not as it was written" in message


def test_verify_without_a_name_takes_all_that_is_prepared(data, mistake, write_files, tmp_path):
    cache = tmp_path / "cache" / "spherical_vae"
    assert data("verify") == f"nothing is prepared in {cache}\n"
    assert data("verify", "--cache_dir=none") == "nothing is prepared as there is no cache\n"
    data("prepare", "text", f"--path={write_files(SENTENCES)}")
    data("prepare", "feat", f"--path={write_files(DOCUMENTS)}")
    # Neither what else is in the cache, nor a folder that somebody else made.
    for name in ("tfds", "downloads", "my-own-notes"):
        (cache / name).mkdir()
    feat, text, count = data("verify").splitlines()
    assert feat.startswith(f"{cache}/feat-")
    assert text.startswith(f"{cache}/text-")
    assert count == f"2 prepared in {cache}"
    for folder in cache.glob("*-*-*/"):
        if folder.name != "my-own-notes":
            (folder / "vocabulary.json").unlink()
    message = mistake("verify")
    assert all(f"{name}-" in message for name in ("feat", "text"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepar", "kjv"], "did you mean 'prepare'?"),
        (["stats", "ptbb"], "did you mean 'ptb'?"),
        (["stats", "PTB"], "did you mean 'ptb'?"),
        (["stats"], "stats: a corpus is missing, one of kjv, text"),
        (["list", "ptb"], "list: 'ptb' given, allowed: nothing"),
        (["prepare", "ptb", "--manul_dir=x"], "did you mean '--manual_dir'?"),
        (["prepare", "ptb", "more"], "more: there is no such argument"),
        (["prepare", "kjv", "--seed=x"], "--seed: invalid int value: 'x'"),
        (["prepare", "kjv", "--seed=-1"], "--seed: -1 given"),
        (["prepare", "kjv", "--long_lines=cur"], "did you mean 'cut'?"),
        (["prepare", "kjv", "--cache_dir=none"], "--cache_dir=none keeps nothing"),
        (["prepare", "ptb"], "--config.data.manual_dir=FOLDER"),
        (["prepare", "ptb", "--manual_dir=nowhere"], "nowhere is not a folder"),
        (["prepare", "--config.data.manual_dir=nowhere", "ptb"], "nowhere is not a folder"),
        (["list", "--json"], "--json: not with list"),
        (["list", "--manual_dir=nowhere"], "nowhere is not a folder"),
        (["verify", "ptbb"], "did you mean 'ptb'?"),
        (["verify", "ptb"], "nothing of ptb is prepared in"),
        (["verify", "ptb", "--max_length=3"], "--max_length: not with verify"),
        (["stats", "text", "--path=~nosuchuser/x"], "~nosuchuser/x is not a usable path"),
        ([], "the following arguments are required: command"),
    ],
    ids=" ".join,
)
def test_mistakes(arguments, message, mistake):
    assert message in mistake(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [("stats", "text", "--path="), ("stats", "ptb", "--manual_dir="),
     ("stats", "text", "--cache_dir=none", "--path="), ("list", "--manual_dir=")],
    ids=" ".join,
)  # fmt: skip
def test_a_folder_without_permission_is_one_line(arguments, mistake, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    *first, flag = arguments
    assert f"{tmp_path} cannot be read" in mistake(*first, f"{flag}{tmp_path}")


def test_as_a_process():
    command = [sys.executable, "-m", "spherical_vae.data"]
    bad = subprocess.run([*command, "stats", "ptbb"], capture_output=True, text=True)
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.startswith("error: corpus: 'ptbb' given")
    assert len(bad.stderr.splitlines()) == 1
    assert "jax" not in subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "spherical_vae.data", "list"],
        capture_output=True,
        text=True,
    ).stderr.replace("jaxtyping", "")
    assert subprocess.run([*command, "--help"], capture_output=True).returncode == 0
