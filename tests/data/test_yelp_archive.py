"""An archive with the layout and the counts of the real Yelp one goes the whole way."""

import os
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from spherical_vae.config.command_line import load_config_file
from spherical_vae.data import load_corpus
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.sources import blob_id

EXAMPLES = CORPORA["yelp"].publication.examples


def write_archive(path):
    """Writes `yelp/{train,valid,test}.txt` of table 2's sizes and returns its git blob id."""
    generator = random.Random(0)
    words = [f"w{i}" for i in range(14_998)]
    weights = np.cumsum([1 / (i + 10) for i in range(len(words))]).tolist()
    # A pool of sentences keeps the test quick; each word of the vocabulary is in train.
    pool = [
        " ".join(
            generator.choices(words, cum_weights=weights, k=generator.choice([50, 50, 50, 20]))
        )
        for _ in range(2000)
    ]
    every = [" ".join(words[i : i + 50]) for i in range(0, len(words), 50)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for split, size in EXAMPLES.items():
            texts = every + generator.choices(pool, k=size - len(every))
            archive.writestr(
                f"yelp/{split}.txt", "".join(f"{i % 5} {text}\n" for i, text in enumerate(texts))
            )
    return blob_id(path.read_bytes())


@pytest.mark.slow
def test_archive_of_the_real_layout_and_counts(tmp_path, publish, check_corpus):
    (tmp_path / "manual").mkdir()
    digest = write_archive(tmp_path / "manual" / "yelp.zip")
    config = load_config_file("configs/yelp.py").data
    config.cache_dir = str(tmp_path / "cache")
    publish("yelp", EXAMPLES, 15_000, digest)
    config.manual_dir = str(tmp_path / "manual")
    corpus = load_corpus(config)
    check_corpus(corpus)
    assert {key: len(split) for key, split in corpus.splits.items()} == EXAMPLES
    assert len(corpus.vocabulary) == 15_000
    assert set(corpus.splits["train"].labels.tolist()) == set(range(5))
    assert corpus.splits["train"].lengths.max() == 51


@pytest.mark.slow
def test_unpacked_archive_trains_by_the_users_command(tmp_path):
    """Only the sizes of the layers are smaller than in configs/yelp.py."""
    write_archive(tmp_path / "yelp.zip")
    with zipfile.ZipFile(tmp_path / "yelp.zip") as archive:
        archive.extractall(tmp_path)
    small = ["embedding_size=8", "encoder.hidden_size=8", "decoder.hidden_size=8"]
    short = ["train.steps=2", "evaluation.batch_size=512", "latent.dimension=4"]
    run = subprocess.run(
        [
            *[sys.executable, "-m", "spherical_vae.train", "--config=configs/yelp.py"],
            *[f"--workdir={tmp_path / 'run'}", f"--config.data.path={tmp_path / 'yelp'}"],
            *[f"--config.{setting}" for setting in small + short],
        ],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert "2 steps" in run.stdout
    assert "corpus yelp: sentences, vocabulary 15,000" in run.stderr
    assert "counts as in table 2" in run.stderr
