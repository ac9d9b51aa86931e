"""The reduced Yelp corpus: official test, and no review of it or of validation in train."""

import lzma

import numpy as np
import pytest

from spherical_vae.data import load_corpus
from spherical_vae.data.corpora import yelp13_reduced
from spherical_vae.data.corpora.yelp13_reduced import matches, tokenize
from spherical_vae.data.sources import blob_id

WORDS = [f"{a}{b}ing" for a in "bcdfghklmnprst" for b in ("all", "end", "ill", "own", "ust")]
# Raw reviews; the first ones are official ones, too.
RAW = [
    'We LOVE it (really)! Don\'t miss the so-so soup... "Best" in town.',
    "Perfect",
    "Très bon bistro, le chef est de Lyon",
    "A place we come back to week after week, and the waiter knows us all by our first names!!",
]


def sentence(i, words=12):
    generator = np.random.default_rng(i)
    return " ".join(generator.choice(WORDS, words))


@pytest.fixture
def files(write_files, monkeypatch):
    """Writes both archives, official reviews being registered; returns the folder."""
    official = {
        "test.txt": [
            "4 we love it -lrb- really -rrb- ! do n't miss the so-so <unk> ... `` best '' in town",
            "4 perfect",
            *(f"{i % 5} {sentence(1000 + i)}" for i in range(40)),
        ],
        "valid.txt": [
            "2 <unk> bon <unk> , le chef est de lyon",
            "3 a place we come back to week after week , and the waiter knows us",
            *(f"{i % 5} {sentence(2000 + i)}" for i in range(60)),
            # One that is in test as well.
            f"0 {sentence(1000)}",
        ],
    }
    contents = {file: "\n".join(lines) + "\n" for file, lines in official.items()}
    monkeypatch.setattr(
        yelp13_reduced, "BLOBS", {k: blob_id(v.encode()) for k, v in contents.items()}
    )
    texts = [*RAW, *(sentence(i) for i in range(50)), "Perfect for us"]
    rows = "".join(
        '{},{},"{}"\r\n'.format(i, 1 + i % 5, text.replace('"', '""'))
        for i, text in enumerate(texts)
    )
    folder = write_files(contents, archive=True).rename
    archive = folder(folder.__self__.with_name("yelp13_official.zip"))
    table = lzma.compress(("review_id,stars,text\r\n" + rows).encode())
    (archive.parent / "yelp10k.csv.xz").write_bytes(table)
    return archive.parent


def reviews(corpus, split):
    part, words = corpus.splits[split], np.array(corpus.vocabulary.words)
    return [" ".join(words[ids[:-1]]) for ids in np.split(part.ids, part.offsets[1:-1])]


def test_no_official_review_is_trained_on(files, data_config, check_corpus):
    config = data_config("yelp13_reduced", manual_dir=str(files), label_classes=5)
    corpus = load_corpus(config)
    check_corpus(corpus)
    sizes = {key: len(split) for key, split in corpus.splits.items()}
    assert sizes["test"] == 42
    assert sizes["valid"] == 31
    # Of 63 official validation reviews one is in test; four raw ones are official.
    assert sizes["train"] == 62 - 31 + 51
    train = reviews(corpus, "train")
    assert not set(train) & {" ".join(tokenize(text)) for text in RAW}
    assert sentence(1000) not in train + reviews(corpus, "valid")
    assert any(line.startswith("raw: 55 reviews read = 51 kept + 4") for line in corpus.report)
    assert any("2 are like validation reviews, 2 like test" in line for line in corpus.report)
    assert corpus.report[1].startswith("official test, reduced train")


def test_split_of_validation_depends_on_the_seed(files, data_config):
    def valid(seed):
        config = data_config("yelp13_reduced", manual_dir=str(files), seed=seed)
        return reviews(load_corpus(config), "valid")

    assert valid(1) == valid(1)
    assert valid(1) != valid(2)


def test_other_files_are_told(files, data_config, refusal, monkeypatch):
    config = data_config("yelp13_reduced", manual_dir=str(files))
    monkeypatch.setattr(yelp13_reduced, "BLOBS", {"test.txt": "0" * 40, "valid.txt": "0" * 40})
    assert "is not the published file" in refusal(load_corpus, config)
    (files / "yelp13_official.zip").unlink()
    assert "yelp13_official.zip is not here" in refusal(load_corpus, config)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's \"so-so\" (I'd say)", "it 's `` so-so '' -lrb- i 'd say -rrb-"),
        ("Wow!! Don't.... go -- $3.50 at 6:30pm?!", "wow !! do n't ... go -- $ 3.50 at 6:30pm ?!"),
        ("Mr. B's etc. and/or 1/2 [x] & co.", "mr. b 's etc. and/or 1/2 -lsb- x -rsb- & co."),
    ],
)
def test_words_are_those_of_the_official_files(text, words):
    assert tokenize(text) == words.split()


def test_matching_does_not_depend_on_signs_or_unknown_words():
    official = [text.split() for text in ("the <unk> was good", "<unk> " * 50, "ok .")]
    texts = ["The soup was good!", "The soup was good, really", "OK", "ok then", "was good"]
    assert matches(texts, official[:1]).tolist() == [True, False, False, False, False]
    assert matches(texts, official[2:]).tolist() == [False, False, True, False, False]
    # An unknown word may hold what follows it.
    official = [text.split() for text in ("i love <unk> 's !", "<unk> <unk> a <unk>")]
    texts = ["I love Carlos's!", "I love Maria's", "Bananas", "Carlos"]
    assert matches(texts, official).tolist() == [True, True, True, False]
    # A long one is found by any of its stretches, as an edit may change the others.
    long = sentence(0, 40)
    assert matches(["x" + long, sentence(1, 40)], [long.split()]).tolist() == [True, False]
