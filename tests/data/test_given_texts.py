"""Texts that a person gives are encoded as those of the corpus are."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from small_models import small_corpus

from spherical_vae.config import base_config
from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.data.examples import Numbering, RawCorpus, collect, encode
from spherical_vae.data.given_texts import encode_texts
from spherical_vae.system.errors import UserError


def settings(name: str, max_length: int = 50) -> ConfigDict:
    config = base_config().data
    config.name, config.max_length = name, max_length
    return config


def corpus_of(name: str, sentences: list[str]) -> Corpus:
    words = Numbering()
    examples = collect([words.sentences([line.split() for line in sentences])])
    raw = RawCorpus(dict.fromkeys(("train", "valid", "test"), examples), list(words))
    return encode(name, "sequences", raw, settings("text"))


def read(split: Split, corpus: Corpus) -> str:
    return " ".join(corpus.vocabulary.words[i] for i in split.ids)


SENTENCES = ["the cat sees the dog", "the dog sees a cat"]


def test_sentences_are_encoded_as_those_of_the_corpus():
    corpus = corpus_of("text:x", SENTENCES)
    found, unknown = encode_texts(SENTENCES, corpus, settings("text"))
    train = corpus.splits["train"]
    np.testing.assert_array_equal(found.ids, train.ids)
    np.testing.assert_array_equal(found.offsets, train.offsets)
    assert found.counts is None
    assert found.labels is None
    assert unknown == ()


def test_unknown_words_are_told_once_and_in_order():
    corpus = corpus_of("text:x", SENTENCES)
    texts = ["the ox sees <unk> ox", "Cat a ibex"]
    found, unknown = encode_texts(texts, corpus, settings("text"))
    assert read(found, corpus) == "the <unk> sees <unk> <unk> </s> <unk> a <unk> </s>"
    assert found.offsets.tolist() == [0, 6, 10]
    assert unknown == ("ox", "Cat", "ibex")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "kjv",
            "3. And God said, Let there be [it is] LIGHT.",
            "and god said , let there be it is light .",
        ),
        ("movie_reviews", "It's good;<br />don't MISS it...", "it 's good ; do n't miss it ..."),
        ("yelp10k", "Don't", "do n't"),
        ("ptb", "it 's N % <unk> of n't", "it 's N % <unk> of n't"),
        ("kjv", "And <unk> said", "and <unk> said"),
        ("movie_reviews", "A <unk>, <unk> end", "a < unk > , <unk> end"),
    ],
)
def test_raw_text_is_split_into_words_as_its_corpus_was(name, text, words):
    corpus = corpus_of(name, ["it is light . < unk >", words])
    found, unknown = encode_texts([text], corpus, settings(name))
    assert read(found, corpus) == f"{words} </s>"
    assert unknown == ()


def test_labels_are_those_that_are_given():
    corpus = corpus_of("text:x", SENTENCES)
    labelled = Corpus(corpus.name, corpus.kind, corpus.vocabulary, corpus.splits, 3, ())
    found, _ = encode_texts(["a cat", "a dog"], labelled, settings("text"), label=2)
    assert found.labels.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' given, allowed: a text with a word at least"),
        (" \t\n ", "a word at least"),
        ("a cat sees a dog", "has 5 words, allowed: at most 4, config.data.max_length of the"),
        ("a </s> dog", "a text without </s>, the end mark"),
    ],
)
def test_sentences_that_cannot_be_meant(text, told):
    corpus = corpus_of("text:x", SENTENCES)
    with pytest.raises(UserError) as caught:
        encode_texts(["a cat sees it", text], corpus, settings("text", 4))
    assert str(caught.value).startswith("--text: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_verse_number_alone_is_no_text():
    with pytest.raises(UserError, match="a word at least"):
        encode_texts(["3."], corpus_of("kjv", SENTENCES), settings("kjv"))


def test_documents_are_counted_and_lose_their_unknown_words():
    plain = small_corpus("bags")
    words = tuple(f"w{i}" for i in range(len(plain.vocabulary)))
    corpus = Corpus("b", "bags", Vocabulary(words, plain.vocabulary.train_counts), {}, 0, ())
    found, unknown = encode_texts(["w7 ox w2 w7 w0 " * 30, "w3"], corpus, settings("feat", 4))
    # There is no unknown word and no end mark: ids 0 and 1 are words like the others.
    assert found.ids.tolist() == [0, 2, 7, 3]
    assert found.counts.tolist() == [30, 30, 60, 1]
    assert found.offsets.tolist() == [0, 3, 4]
    assert unknown == ("ox",)
    for text in ("", "ox ibex"):
        with pytest.raises(UserError, match="a text with a word of the vocabulary of b"):
            encode_texts([text], corpus, settings("feat"))


def test_raw_documents_lose_the_words_of_the_stop_list():
    corpus = Corpus("r", "bags", Vocabulary(("oil", "price"), np.ones(2, np.int64)), {}, 0, ())
    texts = ["The price of OIL, oil and gas"]
    found, unknown = encode_texts(texts, corpus, settings("reuters"))
    assert found.ids.tolist() == [0, 1]
    assert found.counts.tolist() == [2, 1]
    assert unknown == ("gas",)
