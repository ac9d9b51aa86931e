"""The `text` corpus: vocabulary, labels, the length limit, carving, and every refusal."""

import numpy as np
import pytest

from spherical_vae.data import load_corpus

TRAIN = "the cat sat\nthe dog sat down\n<unk> cat\n"
TEST = "the bird sat\nZ\n"


def sentences(corpus, split):
    """Returns the sentences of a split as text."""
    part = corpus.splits[split]
    words = np.array(corpus.vocabulary.words)[part.ids]
    return [" ".join(s) for s in np.split(words, part.offsets[1:-1])]


@pytest.fixture
def load(write_files, data_config):
    def call(train=TRAIN, valid="cat\n", test=TEST, archive=False, **changes):
        files = {"train.txt": train, "valid.txt": valid, "test.txt": test}
        path = write_files({k: v for k, v in files.items() if v is not None}, archive)
        return load_corpus(data_config("text", path, **changes))

    return call


@pytest.mark.parametrize("archive", [False, True])
def test_words_are_taken_as_they_stand(load, check_corpus, archive):
    corpus = load(archive=archive)
    check_corpus(corpus)
    # Frequency first, then code point; <unk> and </s> lead.
    assert corpus.vocabulary.words == ("<unk>", "</s>", "cat", "sat", "the", "dog", "down")
    assert corpus.vocabulary.train_counts.tolist() == [1, 3, 2, 2, 2, 1, 1]
    assert sentences(corpus, "train") == [
        "the cat sat </s>",
        "the dog sat down </s>",
        "<unk> cat </s>",
    ]
    assert sentences(corpus, "test") == ["the <unk> sat </s>", "<unk> </s>"]
    assert corpus.kind == "sequences"
    assert corpus.name.startswith("text:corpus")
    assert "unk rate 50.00% (2 of 4 words)" in corpus.report[-2]


def test_vocabulary_that_just_fits_leaves_nothing_unknown(load):
    """The shape of PTB: n words of train, the unknown word among them, and the end mark."""
    assert len(load(vocabulary_size=7).vocabulary) == 7
    capped = load(vocabulary_size=4)
    assert capped.vocabulary.words == ("<unk>", "</s>", "cat", "sat")
    assert capped.vocabulary.train_counts.tolist() == [5, 3, 2, 2]


def test_vocabulary_comes_from_train_only(load):
    corpus = load(valid="zebra zebra zebra\n")
    assert "zebra" not in corpus.vocabulary.words
    carved = load("\n".join(f"word{i}" for i in range(40)), valid=None, valid_fraction=0.25)
    assert len(carved.vocabulary) == 2 + 30
    assert set(sentences(carved, "valid")) == {"<unk> </s>"}


def test_order_of_lines_does_not_change_the_ids(load):
    words = [f"w{i}" for i in range(30)]
    forwards = load("\n".join(words), vocabulary_size=12)
    backwards = load("\n".join(words[::-1]), vocabulary_size=12)
    assert forwards.vocabulary.words == backwards.vocabulary.words


def test_long_lines_are_cut_or_dropped_and_counted(load):
    train = "a b c d e\na b\n\n  \t \na b c d\n"
    cut = load(train, max_length=3)
    assert sentences(cut, "train") == ["a b c </s>", "a b </s>", "a b c </s>"]
    # What was cut away is not in the vocabulary either.
    assert "d" not in cut.vocabulary.words
    assert (
        "train: 5 lines read = 3 kept + 2 empty, dropped; 2 of those kept were cut, "
        "losing 3 words" in cut.report
    )
    dropped = load(train, max_length=3, long_lines="drop")
    assert sentences(dropped, "train") == ["a b </s>"]
    assert "train: 5 lines read = 1 kept + 2 empty, dropped + 2 too long, dropped" in dropped.report


def test_labels_are_stored_from_zero(load, check_corpus):
    corpus = load("1 a b\n\n3 c\n3\n", valid="2 a\n", test="1 b\n", label_classes=3)
    check_corpus(corpus)
    assert corpus.splits["train"].labels.tolist() == [0, 2]
    assert corpus.splits["valid"].labels.tolist() == [1]
    assert sentences(corpus, "train") == ["a b </s>", "c </s>"]
    assert "train: 4 lines read = 2 kept + 2 empty, dropped" in corpus.report


def test_labels_go_with_their_sentences_when_carved(load):
    train = "".join(f"{1 + i % 4} label{i % 4}\n" for i in range(100))
    corpus = load(train, valid=None, test="1 x\n", label_classes=4, valid_fraction=0.3)
    for name in ("train", "valid"):
        labels = corpus.splits[name].labels
        assert sentences(corpus, name) == [f"label{label} </s>" for label in labels]
    assert (len(corpus.splits["train"]), len(corpus.splits["valid"])) == (70, 30)


def test_carving_depends_on_the_seed_alone_and_loses_nothing(load):
    # Between lines that are dropped.
    train = "\n\n".join(f"w{i}" for i in range(50))

    def carve(seed):
        settings = {"seed": seed, "valid_fraction": 0.2, "vocabulary_size": 100}
        corpus = load(train, valid=None, **settings)
        assert len(corpus.splits["valid"]) == 10
        return sentences(corpus, "train")

    assert len(set(carve(1))) == 40
    assert "<unk> </s>" not in carve(1)
    assert carve(1) == carve(1)
    assert carve(1) != carve(2)
    assert carve(1) == sorted(carve(1), key=lambda s: int(s.split()[0][1:]))


def test_lines_end_at_line_feeds_only_and_any_white_space_parts_words(load):
    corpus = load("\ufeffa\u2028b\u00a0c\r\nd\x85e\x0bf\rg\r\n")
    assert sentences(corpus, "train") == ["a b c </s>", "d e f g </s>"]


def test_longest_runs_of_characters_are_unknown(load):
    corpus = load("a " + "x" * 200 + " " + "y" * 201 + "\n")
    assert sentences(corpus, "train") == ["a " + "x" * 200 + " <unk> </s>"]


def test_very_long_line_is_cut_like_any_other(load):
    corpus = load("a b " * 1_000_000, max_length=4)
    assert sentences(corpus, "train") == ["a b a b </s>"]
    assert any("losing 1,999,996 words" in line for line in corpus.report)


def test_repeats_of_train_are_reported(load):
    corpus = load(test="the cat sat\nother\n")
    assert corpus.report[-1].endswith("1 examples that train has too")


def test_text_without_spaces_is_noted(load):
    """A whole sentence is a word then, and none of validation is known."""
    lines = [f"{chr(0x4E00 + i)}{chr(0x5E00 + i)}\n" for i in range(9)]
    corpus = load("".join(lines[:5]), valid="".join(lines[5:7]), test="".join(lines[7:]))
    assert [line for line in corpus.report if line.startswith("note: many words of valid")]
    corpus = load("a b\n" * 5, valid="a b\n", test="b\n")
    assert not [line for line in corpus.report if line.startswith("note:")]


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("valid", [None, "1 w3 w4\n2 w5\n"])
def test_blocks_of_any_size_give_the_same_corpus(load, monkeypatch, tmp_path, archive, valid):
    """Read at one go into memory, or a few bytes and words at a time through files."""
    generator = np.random.default_rng(0)
    train = "".join(
        f"{1 + i % 3} "
        + " ".join(f"w{n}" for n in generator.zipf(1.5, 1 + i % 9))
        + "\r\n" * (i % 3)
        + "\n"
        for i in range(200)
    )
    settings = {"label_classes": 3, "max_length": 6, "vocabulary_size": 20, "valid": valid}
    test = "1 w1 w2 w9999999\n3\n2 w1\n"
    whole = load(train, test=test, archive=archive, **settings)
    monkeypatch.setattr("spherical_vae.data.files._BLOCK_BYTES", 37)
    monkeypatch.setattr("spherical_vae.data.examples._BLOCK_ENTRIES", 11)
    cache = {"cache_dir": str(tmp_path / "cache")}
    for changes in ({}, cache, cache):
        pieces = load(train, test=test, archive=archive, **settings, **changes)
        assert pieces.report[1:] == whole.report[1:]
        assert pieces.vocabulary.words == whole.vocabulary.words
        assert pieces.fingerprint == whole.fingerprint
        assert pieces.splits["train"].labels.tolist() == whole.splits["train"].labels.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": None}, "has no test.txt"),
        ({"train": None}, "has no train.txt"),
        ({"train": ""}, "train.txt is empty"),
        ({"train": "\n \n"}, "no example is left in train"),
        ({"test": "\n"}, "no example is left in test"),
        ({"train": "a b\n", "max_length": 1, "long_lines": "drop"}, "no example is left in train"),
        ({"train": "<unk> <unk>\n"}, "vocabulary would be empty"),
        ({"train": b"a\n\xff\n"}, "train.txt, line 2: byte 0xff is not UTF-8"),
        ({"valid": b"a\0"}, "valid.txt, line 1: NUL"),
        ({"test": "ok\nbad </s>\n"}, "test.txt, line 2: </s> is the end mark"),
        ({"train": "1 a\nb c\n", "label_classes": 2}, "train.txt, line 2: begins with 'b'"),
        ({"train": "1 a\n\n3 c\n", "label_classes": 2}, "train.txt, line 3: begins with '3'"),
        ({"train": "0 a\n", "label_classes": 2}, "not with a label in 1..2"),
        ({"train": "9" * 5000 + " a\n", "label_classes": 2}, "not with a label in 1..2"),
        ({"train": "² a\n", "label_classes": 2}, "not with a label in 1..2"),
        ({"train": "a\n", "valid": None}, "too few to carve valid"),
        # The other rules are tested with the configuration.
        ({"vocabulary_size": 2}, "vocabulary_size: 2 given, allowed: a finite number >= 3"),
    ],
)
def test_refusals(load, refusal, changes, message):
    assert message in refusal(lambda: load(**changes))


def test_unknown_corpus_names_the_nearest(data_config, refusal):
    assert "did you mean 'text'?" in refusal(load_corpus, data_config("test"))
    assert "kjv, text, feat" in refusal(load_corpus, data_config("zzzzz"))
