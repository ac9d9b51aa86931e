"""`python -m spherical_vae.evaluate`: what it prints, and what it refuses."""

import json
import math
import shutil

import pytest
from small_run import (
    SIZES,
    call,
    command,
    environment,
    one_error_line,
    refusal,
    run,
    trained_documents,
    trained_sentences,
)

from spherical_vae import evaluate

RATE = "token_samples_per_second"  # the only value that differs from run to run
KEYS = {
    *("protocol", "split", "examples", "tokens", "nll_nats", "reconstruction_nats", "kl_nats"),
    *("perplexity", "iw_nll_nats", "iw_perplexity", "importance_samples", "active_units"),
    *("participation_ratio", "mutual_information_nats", "mutual_information_ceiling_nats"),
}
EXTRA_KEYS = {
    *("corpus", "step", "seed", RATE),
    *("mutual_information_at_ceiling", "mutual_information_nats_standard_error"),
}
DOCUMENT_KEYS = {"document_perplexity", "iw_document_perplexity"}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """A run on labelled sentences."""
    workdir, _ = trained_sentences(tmp_path_factory.getbasetemp())
    return workdir


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A run on bags of words."""
    return trained_documents(tmp_path_factory.getbasetemp())


def as_json(workdir, *arguments):
    """Returns the result that is printed as JSON, but for the rate, which must be there."""
    result = json.loads(call(evaluate.main, f"--workdir={workdir}", "--json", *arguments).stdout)
    assert result.pop(RATE) > 0
    return result


@pytest.fixture(scope="module")
def expected(sentences):
    """The result of the run with the flags' defaults."""
    return as_json(sentences)


def assert_consistent(result):
    """Checks what must hold between the numbers of any honest result."""
    total = result["reconstruction_nats"] + result["kl_nats"]
    assert result["nll_nats"] == pytest.approx(total)
    per_token = result["examples"] / result["tokens"]
    assert result["perplexity"] == pytest.approx(math.exp(result["nll_nats"] * per_token))
    assert result["iw_perplexity"] == pytest.approx(math.exp(result["iw_nll_nats"] * per_token))
    assert result["iw_nll_nats"] < result["nll_nats"]
    assert result["mutual_information_ceiling_nats"] == pytest.approx(math.log(result["examples"]))
    assert 0 <= result["active_units"] <= 4
    assert 0 <= result["participation_ratio"] <= 4


def test_sentences(sentences, expected):
    """As a process."""
    done = run(
        command("evaluate", f"--workdir={sentences}", "--split=test", "--json"), environment()
    )
    # Logs go to standard error: this is the object and nothing else.
    result = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert result.keys() == KEYS | EXTRA_KEYS
    assert (result["protocol"], result["split"]) == ("honest", "test")
    assert result["importance_samples"] == 7  # as configured
    assert result["examples"] == SIZES["test"]
    assert_consistent(result)
    assert "evaluating step" in done.stderr
    assert f"{result[RATE]:,.0f} tokens x samples a second" in done.stderr
    assert "test: 40 examples" in done.stderr
    # Called in a process that compiles in another way, it is the same but for rounding.
    assert result["nll_nats"] == pytest.approx(expected["nll_nats"], rel=1e-5)


def test_another_seed_changes_only_what_is_drawn(sentences, expected):
    other = as_json(sentences, "--seed=4")
    assert other["reconstruction_nats"] != expected["reconstruction_nats"]
    assert other["iw_nll_nats"] != expected["iw_nll_nats"]
    for fixed in ("kl_nats", "tokens", "active_units", "participation_ratio"):
        assert other[fixed] == expected[fixed]


def test_an_older_run_of_a_corpus_that_has_moved_gives_the_same(sentences, expected, tmp_path):
    """A run that lacks keys, whose corpus is found where it is now, by the default seed."""
    moved = tmp_path / "run"
    shutil.copytree(sentences, moved)
    stored = moved / "config.json"
    content = json.loads(stored.read_text(encoding="utf-8"))
    config = content["config"]
    path = config["data"]["path"]
    config["data"]["path"] = str(tmp_path / "gone")
    del config["compute"], config["mesh"], config["train"]["samples"]
    stored.write_text(json.dumps(content), encoding="utf-8")
    assert "gone" in refusal(evaluate.main, f"--workdir={moved}", "--json")
    assert as_json(moved, f"--path={path}", "--seed=0") == expected


def test_the_papers_protocol_says_so_and_the_split_is_the_one_asked_for(sentences, expected):
    flags = "--protocol=paper", "--split=valid", "--json"
    paper = json.loads(call(evaluate.main, f"--workdir={sentences}", *flags).stdout)
    assert paper.keys() == KEYS | EXTRA_KEYS | {"note"}
    assert (paper["protocol"], paper["split"]) == ("paper", "valid")
    assert paper["examples"] == SIZES["valid"]
    assert paper["tokens"] != expected["tokens"]
    assert "not a bound" in paper["note"]
    for absent in ("iw_nll_nats", "iw_perplexity", "importance_samples", RATE):
        assert paper[absent] is None


def test_documents_as_json_and_as_text(documents):
    given = f"--workdir={documents}", "--importance_samples=8"
    result = json.loads(call(evaluate.main, *given, "--json").stdout)
    as_text = call(evaluate.main, *given).stdout
    assert result["importance_samples"] == 8
    assert result.keys() == KEYS | EXTRA_KEYS | DOCUMENT_KEYS
    assert_consistent(result)
    assert 1 < result["iw_document_perplexity"] < result["document_perplexity"] < 60
    # Documents differ in length, so the two ways of averaging do.
    assert result["document_perplexity"] != pytest.approx(result["perplexity"], rel=1e-6)
    shown = dict(line.split(maxsplit=1) for line in as_text.splitlines())
    assert shown.keys() == result.keys()
    assert float(shown["perplexity"]) == pytest.approx(result["perplexity"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workdir={}/nothing"], "no run here"),
        (["--split=tset", "--workdir={}"], "split"),
        (["--importance_samples=0", "--workdir={}"], "importance_samples"),
        (["--protocol=papers", "--workdir={}"], "protocol"),
        (
            ["--protocol=paper", "--importance_samples=9", "--workdir={}"],
            "--importance_samples=9: given with --protocol=paper",
        ),
        ([], "workdir"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, arguments, told):
    assert told in refusal(evaluate.main, *(argument.format(tmp_path) for argument in arguments))


def test_a_mistake_ends_the_process_with_one_line(tmp_path):
    done = run(command("evaluate", f"--workdir={tmp_path}"), environment(), expect=2)
    assert "no run here" in one_error_line(done)
