"""The `feat` corpus: bags, the vocabulary cap, documents that vanish, and every refusal."""

from itertools import pairwise

import pytest

from spherical_vae.data import load_corpus

VOCABULARY = "apple 9\nbanana 8\ncherry 7\ndate 6\n"
TRAIN = "1 2:3 1:1\n2 4:2 2:1\n1\n"
TEST = "2 3:1\n1 1:2 4:1\n"


def documents(corpus, split):
    """Returns the documents of a split as dictionaries from word to occurrences."""
    part, words = corpus.splits[split], corpus.vocabulary.words
    pairs = [(words[i], int(n)) for i, n in zip(part.ids, part.counts, strict=True)]
    bounds = part.offsets
    return [dict(pairs[a:b]) for a, b in pairwise(bounds)]


@pytest.fixture
def load(write_files, data_config):
    def call(archive=False, vocabulary_file="vocab.new", **changes):
        files = {"train": TRAIN, "valid": "1 1:1\n", "test": TEST, "vocabulary": VOCABULARY}
        contents = {}
        for key, content in files.items():
            name = vocabulary_file if key == "vocabulary" else f"{key}.feat"
            contents[name] = changes.pop(key, content)
        path = write_files({k: v for k, v in contents.items() if v is not None}, archive)
        return load_corpus(data_config("feat", path, **changes))

    return call


@pytest.mark.parametrize("archive", [False, True])
def test_documents_are_read(load, check_corpus, archive):
    corpus = load(archive=archive)
    check_corpus(corpus)
    # Most frequent in train first; ties, and words train lacks, in the order of the file.
    assert corpus.vocabulary.words == ("banana", "date", "apple", "cherry")
    assert corpus.vocabulary.train_counts.tolist() == [4, 2, 1, 0]
    assert documents(corpus, "train") == [{"banana": 3, "apple": 1}, {"date": 2, "banana": 1}]
    assert documents(corpus, "test") == [{"cherry": 1}, {"apple": 2, "date": 1}]
    assert corpus.kind == "bags"
    assert corpus.splits["train"].tokens == 7
    assert "train: 3 lines read = 2 kept + 1 empty, dropped" in corpus.report
    assert "1 of them never in train" in corpus.report[0]


def test_words_beyond_the_cap_are_taken_out_and_counted(load, check_corpus):
    corpus = load(valid="1 2:1\n", test="2 3:1\n1 3:2 4:1\n", vocabulary_size=3)
    check_corpus(corpus)
    assert corpus.vocabulary.words == ("banana", "date", "apple")
    assert documents(corpus, "test") == [{"date": 1}]
    assert corpus.report[-1].endswith("75.00% (3 of 4 tokens) and with them 1 of 2 documents")


def test_vocabulary_without_counts_and_by_its_other_name(load):
    corpus = load(vocabulary_file="vocab.txt", vocabulary="a\nb\r\nc\nd")
    assert corpus.vocabulary.words == ("b", "d", "a", "c")


def test_labels(load, check_corpus):
    corpus = load(label_classes=2)
    check_corpus(corpus)
    assert corpus.splits["train"].labels.tolist() == [0, 1]
    assert corpus.splits["test"].labels.tolist() == [1, 0]
    assert load(train="77 1:1\n").splits["train"].labels is None


def test_valid_is_carved_by_the_seed(load, check_corpus):
    train = "".join(f"1 1:{i}\n" for i in range(1, 101))

    def valid(seed):
        corpus = load(train=train, valid=None, valid_fraction=0.1, seed=seed)
        check_corpus(corpus)
        parts = [corpus.splits[name].counts.tolist() for name in ("train", "valid")]
        assert sorted(parts[0] + parts[1]) == list(range(1, 101))
        return parts[1]

    assert valid(0) == valid(0)
    assert valid(0) != valid(1)
    assert len(valid(0)) == 10


def test_blank_lines_are_empty_documents_and_lines_keep_their_numbers(load, refusal):
    corpus = load(train="\ufeff\r\n1 1:1\r\n \t\n1\u00a02:1\u20283:1\n")
    assert documents(corpus, "train") == [{"apple": 1}, {"banana": 1, "cherry": 1}]
    assert "train: 4 lines read = 2 kept + 2 empty, dropped" in corpus.report
    message = refusal(lambda: load(train="\n\n1 1:1\n1 5:1\n"))
    assert "train.feat, line 4: word id 5" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": None}, "has no test.feat"),
        ({"train": None}, "has no train.feat"),
        ({"vocabulary": None}, "has no vocab.new or vocab.txt"),
        ({"vocabulary": ""}, "vocab.new is empty"),
        ({"vocabulary": "a 1\n\nb 1\n"}, "vocab.new, line 2: '' is not `word`"),
        ({"vocabulary": "a 1 2\n"}, "vocab.new, line 1: 'a 1 2' is not"),
        ({"vocabulary": "a x\n"}, "vocab.new, line 1"),
        ({"vocabulary": "a\nb\na\n"}, "vocab.new, line 3: 'a' is already line 1"),
        ({"train": ""}, "train.feat is empty"),
        ({"train": "1\n2\n"}, "no example is left in train"),
        ({"train": b"1 1:1\n\xe9\n"}, "train.feat, line 2: byte 0xe9 is not UTF-8"),
        ({"train": "1 0:1\n"}, "line 1: word id 0 is not in 1..4"),
        ({"train": "1 1:1\n1 5:1\n"}, "line 2: word id 5 is not in 1..4"),
        ({"train": "1 1:1 2:2 1:3\n"}, "line 1: word id 1 is given twice"),
        ({"train": "1 1:0\n"}, "line 1: count 0 is not a positive integer"),
        ({"train": "1 1:-1\n"}, "'1:-1' is not `id:count`"),
        ({"train": "1 1:1.5\n"}, "'1:1.5' is not `id:count`"),
        ({"train": "1 1:x\n"}, "'1:x' is not `id:count`"),
        ({"train": "1 1:nan\n"}, "'1:nan' is not `id:count`"),
        ({"train": "1 1\n"}, "'1' is not `id:count`"),
        ({"train": "1 1:2:3\n"}, "'1:2:3' is not `id:count`"),
        ({"train": "1 1 :2\n"}, "is not `id:count`"),
        ({"train": "1 1:9999999999\n"}, "is not `id:count`"),
        ({"train": "1 1:" + "9" * 9999 + "\n"}, "is not `id:count`"),
        ({"train": "1 1:٣\n"}, "is not `id:count`"),
        ({"train": "2:3 1:1\n"}, "begins with '2:3', not an integer label"),
        ({"train": "x 1:1\n"}, "begins with 'x', not an integer label"),
        ({"train": "1 1:1\n3 1:1\n", "label_classes": 2}, "line 2: label 3 is not in 1..2"),
        ({"train": "0 1:1\n", "label_classes": 2}, "line 1: label 0 is not in 1..2"),
        ({"train": "1 1:1\n", "valid": None}, "too few to carve valid"),
        (
            {"valid": None, "train": "1 1:1\n" * 9, "test": "1 4:1\n", "vocabulary_size": 3},
            "no example of test has a word of the vocabulary",
        ),
        ({"vocabulary_size": 0}, "vocabulary_size: 0 given"),
    ],
)
def test_refusals(load, refusal, changes, message):
    assert message in refusal(lambda: load(**changes))
