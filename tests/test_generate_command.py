"""`python -m spherical_vae.generate`: texts by mode, and what it refuses."""

import pytest
from small_run import (
    call,
    command,
    environment,
    refusal,
    run,
    trained_documents,
    trained_sentences,
    training_command,
    write_text_corpus,
)

from spherical_vae import generate, train

OF_LABEL = {1: {"cat", "dog", "sheep"}, 2: {"king", "river", "house"}}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """A run on labelled sentences, and its corpus."""
    return trained_sentences(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A run on bags of words."""
    return trained_documents(tmp_path_factory.getbasetemp())


def written(workdir, *arguments):
    """Returns the lines that the command writes."""
    return lines(call(generate.main, f"--workdir={workdir}", *arguments).stdout)


def refused(workdir, *arguments):
    return refusal(generate.main, f"--workdir={workdir}", *arguments)


def lines(text):
    # Sentences may be empty, so that lines are counted by their ends.
    assert text.endswith("\n")
    return text[:-1].split("\n")


def words(text):
    return set(text.split())


def test_the_prior(sentences):
    workdir, _ = sentences
    arguments = ("--mode=prior", "--count=12", "--label=1")
    first, again, other_seed, other_label, hot = (
        written(workdir, *arguments, *more)
        for more in ([], [], ["--seed=1"], ["--label=2"], ["--temperature=20"])
    )
    assert len(first) == 12
    assert first == again
    assert first != other_seed
    # At this temperature words are all but uniform: sentences of every order and all words.
    known = set().union(*OF_LABEL.values())
    assert len(words(" ".join(hot)) & known) == len(known)

    def mine(texts, label):
        return sum(word in OF_LABEL[label] for text in texts for word in text.split())

    assert mine(first, 1) > 2 * mine(first, 2)
    assert mine(other_label, 2) > 2 * mine(other_label, 1)


def test_greedy_is_temperature_zero_and_depends_on_the_code_alone(sentences):
    workdir, corpus = sentences
    arguments = ("--mode=reconstruct", "--count=4")
    greedy = written(workdir, *arguments, "--greedy")
    assert greedy == written(workdir, *arguments, "--temperature=0")
    assert len(greedy) == 8
    # Each pair starts with an example of test, its label left out.
    test = (corpus / "test.txt").read_text(encoding="utf-8").splitlines()
    originals = [line.split(" ", 1)[1] for line in test]
    for line in greedy[::2]:
        assert line[0] + line[-1] == "[]"
        assert line[1:-1] in originals


def test_interpolation(sentences):
    workdir, _ = sentences
    first, *between, last = written(workdir, "--mode=interpolate", "--count=3", "--greedy")
    assert len(between) == 3
    for end in (first, last):
        assert end[0] + end[-1] == "[]"
    assert first != last


def test_a_text_is_reconstructed(sentences):
    """As a process; then several texts in one call, and one that is known."""
    workdir, _ = sentences
    arguments = ("--label=1", "--greedy")
    text = "the big ox sees the\tdog"
    process = command("generate", f"--workdir={workdir}", f"--text={text}", *arguments)
    done = run(process, environment())
    original, reconstruction = lines(done.stdout)
    assert original == "[the big <unk> sees the dog]"
    assert "<unk>" not in reconstruction
    assert done.stderr.splitlines() == ["note: not in the vocabulary, read as <unk>: ox"]
    texts = [f"--text={text}", "--text=the king fears the river", "--mode=reconstruct"]
    pairs = written(workdir, *texts, *arguments)
    assert pairs[:2] == [original, reconstruction]
    assert pairs[2] == "[the king fears the river]"
    assert len(pairs) == 4


def test_a_walk_between_texts(sentences):
    workdir, _ = sentences
    ends = ["the cat sees the dog", "the old red dog fears the sheep"]
    texts = [f"--text={text}" for text in ends]
    arguments = ("--label=1", "--greedy")
    walk = written(workdir, *texts, *arguments, "--count=3")
    pairs = written(workdir, *texts, *arguments, "--mode=reconstruct")
    assert [walk[0], walk[-1]] == [f"[{text}]" for text in ends]
    assert len(walk) == 5
    assert [walk[1], walk[-2]] == pairs[1::2]


def test_a_document_is_reconstructed_without_its_unknown_words(documents):
    done = call(generate.main, f"--workdir={documents}", "--text=word3 ox word2 word3")
    original, reconstruction = lines(done.stdout)
    assert original == "[word3 word2]"
    assert len(words(reconstruction)) == 15
    assert done.stderr.splitlines() == ["note: not in the vocabulary, left out: ox"]


def test_documents_print_their_likely_words(documents):
    prior = written(documents, "--mode=prior", "--count=2")
    assert len(prior) == 2
    for text in prior:
        assert len(words(text)) == 15
        assert all(word.startswith("word") for word in words(text))
    pairs = written(documents, "--mode=reconstruct", "--count=2")
    assert len(pairs) == 4
    assert 3 <= len(words(pairs[0])) <= 9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--label=3"], "a label in 1..2"),
        ([], "a label in 1..2"),
        (["--mode=reconstruct", "--label=1"], "examples carry their own"),
        (["--mode=reconstruct", "--count=41"], "40 examples"),
        (["--text=the cat"], "--label: is missing, allowed: this model needs a label in 1..2"),
        ([f"--text={'cat ' * 51}", "--label=1"], "has 51 words, allowed: at most 50"),
    ],
)
def test_wrong_arguments_for_a_labelled_model(sentences, arguments, told):
    assert told in refused(sentences[0], *arguments)


def test_labels_of_a_model_without(documents):
    assert "the model uses no labels" in refused(documents, "--label=1")


@pytest.mark.parametrize("argument", ["--temperature=0.5", "--unknown"])
def test_words_of_documents_are_not_sampled(documents, argument):
    name, _, _ = argument.partition("=")
    assert f"{name}: not with this model of documents" in refused(documents, argument)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--text=a", "--text=b", "--text=c"], "--text: 3 given, allowed: one or two; more with"),
        (["--text=a", "--mode=interpolate"], "--text: 1 given, allowed: two with --mode=interp"),
        (["--text=a", "--mode=prior"], "--text: not with --mode=prior"),
        (["--split=train"], "--split: not with --mode=prior"),
        (["--text=a", "--count=2"], "--count: not with the given texts"),
        (["--text=a", "--text=b", "--split=valid"], "--split: not with the given texts"),
        (["--mode=interpolation"], "did you mean 'interpolate'?"),
        (["--top_p=0"], "--top_p=0.0: a number > 0 and <= 1 is allowed"),
        (["--greedy", "--top_p=0.5"], "--greedy: not with --top_p"),
        (["--mode=interpolate", "--count=1"], "--count=1: at least 2"),
        (["--text=a", "--text=b", "--count=1"], "--count=1: at least 2"),
    ],
)
def test_arguments_that_do_not_go_together_are_told_without_a_look_at_the_run(
    arguments, told, tmp_path
):
    assert told in refused(tmp_path, *arguments)


@pytest.mark.slow
def test_the_prior_is_not_for_a_decoder_that_needs_a_sentence(tmp_path):
    corpus = write_text_corpus(tmp_path / "corpus")
    told_the_words = {"condition_on_bag": True, "train.steps": 1}
    call(train.main, *training_command(corpus, tmp_path / "run", told_the_words)[3:])
    line = refused(tmp_path / "run", "--mode=prior", "--label=1")
    assert "config.condition_on_bag" in line
    assert "--mode=reconstruct" in line
