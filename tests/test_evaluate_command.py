"""`python -m spherical_vae.evaluate` as a user starts it: what it prints, and what it refuses."""

import json
import math
import shutil

import pytest
from small_run import (
    SIZES,
    command,
    environment,
    one_error_line,
    run,
    run_together,
    trained_documents,
    trained_sentences,
)

RATE = "token_samples_per_second"  # the only value that differs from run to run
KEYS = {
    *("protocol", "split", "examples", "tokens", "nll_nats", "reconstruction_nats", "kl_nats"),
    *("perplexity", "iw_nll_nats", "iw_perplexity", "importance_samples", "active_units"),
    *("participation_ratio", "mutual_information_nats", "mutual_information_ceiling_nats"),
}
EXTRA_KEYS = {"corpus", "step", "seed", "mutual_information_at_ceiling", RATE}
DOCUMENT_KEYS = {"document_perplexity", "iw_document_perplexity"}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """A run on labelled sentences, and the environment to look at it in."""
    workdir, _, variables = trained_sentences(tmp_path_factory.getbasetemp())
    return workdir, variables


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A run on bags of words, and the environment to look at it in."""
    return trained_documents(tmp_path_factory.getbasetemp())


def evaluate(workdir, *arguments):
    return command("evaluate", f"--workdir={workdir}", *arguments)


def without_rate(printed):
    """Returns what was printed as JSON but for the rate, which must be there."""
    result = json.loads(printed)
    assert result.pop(RATE) > 0
    return result


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


def test_sentences(sentences):
    workdir, variables = sentences
    done = run(evaluate(workdir, "--split=test", "--json"), variables)
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


def test_a_run_that_is_older_than_some_keys(sentences, tmp_path):
    workdir, variables = sentences
    shutil.copytree(workdir, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del (
        content["config"]["compute"],
        content["config"]["mesh"],
        content["config"]["train"]["samples"],
    )
    path.write_text(json.dumps(content), encoding="utf-8")
    results = run_together(
        [evaluate(folder, "--json") for folder in (workdir, tmp_path / "run")], variables
    )
    assert without_rate(results[0]) == without_rate(results[1])


def test_a_seed_fixes_the_result_and_another_changes_only_what_is_drawn(sentences):
    workdir, variables = sentences
    # Alone, so that the others find its programs compiled.
    first = without_rate(run(evaluate(workdir, "--seed=3", "--json"), variables).stdout)
    again, other, valid = (
        without_rate(out)
        for out in run_together(
            [
                evaluate(workdir, "--seed=3", "--json"),
                evaluate(workdir, "--seed=4", "--json"),
                evaluate(workdir, "--seed=3", "--json", "--split=valid"),
            ],
            variables,
        )
    )
    assert first == again
    assert other["reconstruction_nats"] != first["reconstruction_nats"]
    assert other["iw_nll_nats"] != first["iw_nll_nats"]
    for fixed in ("kl_nats", "tokens", "active_units", "participation_ratio"):
        assert other[fixed] == first[fixed]
    assert (valid["split"], valid["examples"]) == ("valid", SIZES["valid"])
    assert valid["tokens"] != first["tokens"]


def test_a_corpus_that_has_moved_is_found_where_it_is_now(sentences, tmp_path):
    workdir, variables = sentences
    moved = tmp_path / "run"
    shutil.copytree(workdir, moved)
    config = moved / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    path = content["config"]["data"]["path"]
    content["config"]["data"]["path"] = str(tmp_path / "gone")
    config.write_text(json.dumps(content), encoding="utf-8")
    told = one_error_line(run(evaluate(moved, "--json"), variables, expect=2))
    assert "gone" in told
    there = run(evaluate(moved, "--json", f"--path={path}"), variables)
    here = run(evaluate(workdir, "--json"), variables)
    assert without_rate(there.stdout) == without_rate(here.stdout)


def test_the_papers_protocol_says_so(sentences):
    workdir, variables = sentences
    paper = json.loads(run(evaluate(workdir, "--protocol=paper", "--json"), variables).stdout)
    assert paper.keys() == KEYS | EXTRA_KEYS | {"note"}
    assert paper["protocol"] == "paper"
    assert "not a bound" in paper["note"]
    for absent in ("iw_nll_nats", "iw_perplexity", "importance_samples", RATE):
        assert paper[absent] is None


def test_documents_as_json_and_as_text(documents):
    workdir, variables = documents
    given = "--importance_samples=8"
    as_json = run(evaluate(workdir, given, "--json"), variables).stdout
    as_text = run(evaluate(workdir, given), variables).stdout
    result = json.loads(as_json)
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
    arguments = [argument.format(tmp_path) for argument in arguments]
    assert told in one_error_line(run(command("evaluate", *arguments), environment(), expect=2))
