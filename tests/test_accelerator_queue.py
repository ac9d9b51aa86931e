"""The queue of benchmarks/accelerator.py: what becomes of jobs that fail, hang, or were done."""

import importlib
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import ROOT, SMALL_MODEL, training_command, write_text_corpus

from spherical_vae import train
from spherical_vae.runs.trained_model import load_all
from spherical_vae.system.provenance import commit

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def queue(monkeypatch):
    """Returns the module that runs jobs; the folder of benchmarks is no package."""
    monkeypatch.syspath_prepend(FOLDER)
    # Remembered by the process; these tests are of several commits.
    commit.cache_clear()
    yield importlib.import_module("job_queue")
    commit.cache_clear()


def job(queue, name, function, seconds=1.0):
    return queue.Job(name, f"what {name} asks", seconds, f"queue_jobs:{function}")


def run(queue, tmp_path, jobs, seconds=300.0, smoke=False, archive=None, cache="none"):
    return queue.run_queue(
        jobs, queue.Settings(smoke, seconds, tmp_path / "out", str(cache), archive)
    )


def record(tmp_path, name):
    return json.loads((tmp_path / "out" / f"{name}.json").read_text())


@pytest.mark.thorough
def test_a_job_that_fails_is_told_and_the_next_begins(queue, tmp_path, capfd):
    archive = tmp_path / "not" / "there" / "records.tar.gz"
    jobs = [
        job(queue, "first", "fails"),
        job(queue, "second", "dies"),
        job(queue, "third", "answers"),
        job(queue, "fourth", "answers"),
        queue.Job("fifth", "what is not there", 1.0, "no_such_module:function"),
        job(queue, "sixth", "no_json"),
        job(queue, "seventh", "numbers_of_numpy"),
        job(queue, "eighth", "does_not_hold"),
    ]
    failed = ["first", "second", "fifth", "sixth", "eighth"]
    assert run(queue, tmp_path, jobs, archive=archive) == failed
    told = capfd.readouterr().err
    records = [record(tmp_path, one.name) for one in jobs]
    first, second, third, fourth, fifth, sixth, seventh, eighth = records
    assert {one["status"] for one in (first, second, fifth, sixth)} == {"failed"}
    assert {one["status"] for one in (third, fourth, seventh, eighth)} == {"done"}
    assert "ValueError: on purpose" in first["error"]
    assert first["error"].rstrip() in told
    assert second["error"].endswith("status 7")
    assert second["error"] in told
    assert "no_such_module" in fifth["error"]
    assert third["result"]["value"] == 1
    assert {"device", "versions", "date", "commit", "seconds"} <= third.keys()
    # Measurements share a process.
    assert third["result"]["process"] == fourth["result"]["process"] != os.getpid()
    assert seventh["result"] == {"single": 0.5, "whole": [3], "yes": True}
    assert "gradients of a step" in told
    with tarfile.open(archive) as file:
        assert file.getnames() == sorted(f"{one.name}.json" for one in jobs)


def test_a_job_that_hangs_is_ended(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "SHORTEST_LIMIT", 3.0)
    monkeypatch.setattr(queue, "PATIENCE", 1.0)
    # The first starts the process, for which it has a minute; the second one keeps to its limit.
    jobs = [
        job(queue, "first", "answers", 60.0),
        job(queue, "quick", "answers"),
        job(queue, "slow", "hangs"),
    ]
    assert run(queue, tmp_path, jobs) == ["slow"]
    assert record(tmp_path, "quick")["status"] == "done"
    assert "no result within 3 s" in record(tmp_path, "slow")["error"]


def test_what_was_done_is_not_done_again(queue, tmp_path, monkeypatch, capfd):
    archive = tmp_path / "records.tar.gz"
    monkeypatch.setenv("SPHERICAL_VAE_COMMIT", "0123456789")
    names = ("good", "bad", "broken")
    run(queue, tmp_path, [job(queue, "good", "answers"), job(queue, "bad", "fails")])
    (tmp_path / "out" / "broken.json").write_text('{"job": "bro')
    capfd.readouterr()
    # With a function that gives something else, so that it shows which of them ran.
    again = [job(queue, name, "answers_anew") for name in names]
    assert not run(queue, tmp_path, again)
    assert "good: done before, at commit 0123456789" in capfd.readouterr().err
    # One that failed has given no answer, nor has what is half a record.
    assert [record(tmp_path, name)["result"]["value"] for name in names] == [1, 2, 2]
    # The archive is there as well where there was nothing to do.
    assert not run(queue, tmp_path, again, archive=archive)
    with tarfile.open(archive) as file:
        assert file.getnames() == ["bad.json", "broken.json", "good.json"]


def test_a_record_of_other_code_is_made_anew(queue, tmp_path, monkeypatch):
    for named, function, value in (("0" * 10, "answers", 1), ("1" * 10, "answers_anew", 2)):
        commit.cache_clear()
        monkeypatch.setenv("SPHERICAL_VAE_COMMIT", named)
        run(queue, tmp_path, [job(queue, "good", function)])
        found = record(tmp_path, "good")
        assert (found["commit"], found["result"]["value"]) == (named, value)


def test_a_smoke_run_leaves_measurements_as_they_are(queue, tmp_path):
    archive = tmp_path / "records.tar.gz"
    run(queue, tmp_path, [job(queue, "good", "answers")])
    run(queue, tmp_path, [job(queue, "good", "answers_anew")], smoke=True, archive=archive)
    assert (record(tmp_path, "good")["smoke"], record(tmp_path, "smoke/good")["smoke"]) == (
        False,
        True,
    )
    assert record(tmp_path, "good")["result"]["value"] == 1
    with tarfile.open(archive) as file:
        assert set(file.getnames()) == {"good.json", "smoke/good.json"}


def test_compiled_programs_come_home_while_they_fit(queue, tmp_path, monkeypatch, capsys):
    home = importlib.import_module("bring_home")
    monkeypatch.setattr(home, "SETTLED", -60.0)
    monkeypatch.setattr(home, "MOST_COMPILED_BYTES", 3000)
    monkeypatch.setattr(home, "PART_BYTES", 1000)
    generator, cache, out = np.random.default_rng(0), tmp_path / "cache", tmp_path / "out"
    cache.mkdir()
    sizes = {"large": 2000, "middle": 1500, "small": 700}
    for name, size in sizes.items():
        (cache / name).write_bytes(generator.bytes(size))
    programs = home.CompiledPrograms(str(cache), out)
    # As an earlier packing left it.
    (out / "compiled").mkdir(parents=True)
    (out / "compiled" / "09").write_bytes(b"stale")
    programs.write()
    assert "1 of 3 compiled programs stay" in capsys.readouterr().err
    parts = sorted((out / "compiled").iterdir())
    assert len(parts) > 2
    (tmp_path / "all.tar.gz").write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(tmp_path / "all.tar.gz") as file:
        assert file.getnames() == ["large", "small"]
        assert file.extractfile("small").read() == (cache / "small").read_bytes()
    # Nothing new: nothing is written.
    programs.write()
    assert [part.stat().st_mtime_ns for part in parts] == [
        part.stat().st_mtime_ns for part in sorted((out / "compiled").iterdir())
    ]


def test_an_archive_lacks_what_was_removed_meanwhile(queue, tmp_path):
    home = importlib.import_module("bring_home")
    (tmp_path / "here").write_text("here")
    files = [tmp_path / "gone", tmp_path / "here"]
    home.write_archive(tmp_path / "files.tar.gz", files, tmp_path)
    with tarfile.open(tmp_path / "files.tar.gz") as file:
        assert file.getnames() == ["here"]


def test_a_job_that_does_not_fit_is_not_begun(queue, tmp_path, capfd):
    jobs = [job(queue, "long", "answers", seconds=1000.0), job(queue, "short", "answers")]
    assert not run(queue, tmp_path, jobs, seconds=60.0)
    assert "long: skipped; it needs 1000 s" in capfd.readouterr().err
    assert not (tmp_path / "out" / "long.json").exists()
    assert record(tmp_path, "short")["status"] == "done"


def test_no_job_is_expected_to_take_less_than_it_took(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    jobs = {one.name: one for one in importlib.import_module("accelerator").JOBS}
    paths = (ROOT / "results" / "accelerator").glob("*.json")
    took = {path.stem: json.loads(path.read_text()).get("seconds", 0.0) for path in paths}
    assert took.keys() & jobs.keys()
    for name in took.keys() & jobs.keys():
        assert jobs[name].seconds >= took[name], name


def command(*arguments, script="accelerator.py"):
    return subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1500,
    )


def test_a_dry_run_lists_all_jobs_and_runs_none(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    jobs = importlib.import_module("accelerator").JOBS
    done = command("--dry_run", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [one.name for one in jobs]
    for line, one in zip(lines, jobs, strict=False):
        assert f"{one.seconds:.0f} s" in line
        assert one.question in line
    assert not (tmp_path / "out").exists()


def smoke(tmp_path, *options):
    """Runs jobs at their smallest; returns their records by name."""
    out = tmp_path / "out"
    given = ("--smoke", f"--out={out}", "--compilation_cache=none", "--seconds=1500", *options)
    done = command(*given)
    assert done.returncode == 0, done.stderr
    return {path.stem: json.loads(path.read_text())["result"] for path in out.glob("smoke/*.json")}


@pytest.mark.slow
def test_the_measurements_of_functions(tmp_path):
    found = smoke(tmp_path, "--only=special,recurrence")
    assert {row["function"] for row in found["special"]["functions"]} >= {"kl_to_uniform", "log_iv"}
    layers = found["recurrence"]["layers"]
    exact = [row["relative_norm_to_ours"] for row in layers if row["layer"] == "ours, float32"]
    rounded = [row["relative_norm_to_ours"] for row in layers if row["layer"] == "ours, bfloat16"]
    assert len(exact) == 2
    assert max(exact) == 0 < min(rounded) <= max(rounded) < 0.03
    assert min(row["seconds_median"] for row in layers) > 0
    if jax.default_backend() == "cpu":
        # A layer that is not there is told, and does not stop the others.
        assert len([name for name in found["recurrence"]["missing"] if "cudnn" in name]) == 4


@pytest.mark.thorough
def test_what_cudnn_is_given_is_our_layer(monkeypatch):
    from jax.experimental import rnn

    monkeypatch.syspath_prepend(FOLDER)
    functions = importlib.import_module("accelerator_functions")

    def reference(x, hidden, cell, weights, lengths, precision, **shape):
        sizes = shape["input_size"], shape["hidden_size"], shape["num_layers"]
        parts = rnn.unpack_lstm_weights(weights, *sizes, shape["bidirectional"])
        return rnn.lstm_ref(
            x, hidden, cell, *parts, lengths, *sizes, shape["dropout"], shape["bidirectional"]
        )

    # JAX's own statement of what cuDNN computes, which runs anywhere.
    monkeypatch.setattr(rnn, "lstm", reference)
    *arguments, _ = functions.recurrence_inputs(5, 3, 4, 6)
    ours = functions.LAYERS["ours, float32"](*arguments)
    theirs = functions.LAYERS["cudnn, float32"](*arguments)
    assert ours.shape == theirs.shape == (5, 3, 6)
    assert jnp.abs(ours - theirs).max() < 1e-6 < jnp.abs(ours).max()


@pytest.mark.slow
def test_every_job(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    pytest.importorskip("torch", reason="PyTorch is missing; pip install '.[bench]' has it")
    found = smoke(tmp_path)
    assert found["agreement"]["all_hold"], found["agreement"]
    for name in ("train_step", "train_step_torch"):
        assert {row["model"] for row in found[name]["steps"]} == {"nvrnn", "nvdm"}
    for row in found["host"]["steps"]:
        assert 0 < row["host_seconds_a_step"] <= row["seconds_a_step"]


def test_a_job_that_is_not_there(tmp_path):
    done = command("--only=agreemnt", f"--out={tmp_path}")
    assert done.returncode == 2
    assert "'agreemnt' given, allowed: agreement, " in done.stderr


def test_every_job_is_there(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    jobs = importlib.import_module("accelerator").JOBS
    assert len({one.name for one in jobs}) == len(jobs)
    for one in jobs:
        module, _, function = one.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(
    ("chains", "part"),
    [
        (["table3:one:PTB"], "'table3:one:PTB' given"),
        (["table3:0:PTB"], "'table3:0:PTB' given"),
        (["tabel3:1:PTB"], "'tabel3' given, allowed: table1, table3"),
        (["table3:1:PTB", "table3:1:PTB vFM"], "no row has 'PTB vFM' in its name"),
        (["fig1:1:none"], "'fig1' given, allowed: table1"),
        ([], "no CHAIN is given"),
    ],
)
def test_a_chain_that_would_train_nothing(chains, part, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    rows = importlib.import_module("accelerator_rows")
    words = ["--seconds=1", f"--folder={tmp_path / 'rows'}", f"--out={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["accelerator_rows.py", *words, *chains])
    with pytest.raises(SystemExit) as stop:
        rows.main()
    assert part in f"{stop.value.code}{capsys.readouterr().err}"
    assert not (tmp_path / "rows").exists()
    assert not (tmp_path / "out").exists()


def test_the_page_names_chains_that_are_there(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    rows = importlib.import_module("accelerator_rows")
    page = (ROOT / "docs" / "accelerators.md").read_text(encoding="utf-8")
    chains = re.findall(r'"(\w+:\d+:[^"]*)"', page)
    assert len(chains) > 10
    for chain in chains:
        assert rows.commands(chain, tmp_path)


def test_what_is_there_comes_home_while_rows_are_trained(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    rows = importlib.import_module("accelerator_rows")
    monkeypatch.setattr(rows, "RENEWAL", 0.0)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "0.log").write_text("step 1\n")
    found = []

    class Home:
        def renew(self):
            # The chain is over by now; the command would otherwise wait for it.
            found.append((tmp_path / "logs" / "0.over").exists())
            (tmp_path / "logs" / "0.over").write_text("0\n")

    rows.wait(tmp_path, time.monotonic() + 300, Home())
    assert found == [False, True]


@pytest.mark.slow
def test_rows_go_on_when_the_command_ends_and_come_home(tmp_path):
    # Rows that the store has are not trained, and a store that cannot be read ends a command.
    folder, out = tmp_path / "rows", tmp_path / "out"
    words = [f"--folder={folder}", f"--out={out}"]
    (tmp_path / "carried" / "parameters").mkdir(parents=True)
    (tmp_path / "carried" / "parameters" / "damaged-0.json").write_text("{}")
    chain, carried = "table4:1:=20NG vMF d=25", f"--carried={tmp_path / 'carried'}"
    done = command(chain, "--seconds=0", carried, *words, script="accelerator_rows.py")
    assert done.returncode == 0, done.stderr
    # What was carried damaged is told, and nothing of it stays.
    assert "damaged-0" in done.stderr
    assert not (folder / "work" / "runs" / "damaged-0").exists()
    done = command("--seconds=300", *words, script="accelerator_rows.py")
    assert done.returncode == 0, done.stderr
    assert "0.log: ended with 0\n" in done.stdout
    (folder / "results" / "runs" / "damaged-0.json").write_text("{}")
    run = folder / "work" / "runs" / "ptb-0"
    run.mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl", "test-7.examples.json", ".metrics.jsonl.1-2.tmp"):
        (run / name).write_text("{}\n")
    # Further chains have logs of their own.
    done = command(f"{chain}+{chain}", "--seconds=300", *words, script="accelerator_rows.py")
    assert done.returncode == 1, done.stderr
    assert "1.log: ended with 2, 2\n" in done.stdout
    # Of a run that cannot be packed all but the parameters comes home.
    assert "damaged-0: its parameters could not be packed" in done.stderr
    with tarfile.open(out / "store.tar.gz") as file:
        names = set(file.getnames())
    assert {f"logs/{i}.{end}" for i in (0, 1) for end in ("log", "over")} <= names
    assert "results/runs/damaged-0.json" in names
    assert {name for name in names if name.startswith("work/")} == {
        f"work/runs/ptb-0/{name}"
        for name in ("config.json", "metrics.jsonl", "test-7.examples.json")
    }


def test_what_to_carry(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    pack = importlib.import_module("pack_accelerator")
    there = tmp_path / "installed.json"
    listed = [
        {"name": "Jax", "version": "0.11.2"},
        {"name": "old_one", "version": "1.2"},
        {"name": "of-today", "version": "2.0rc1"},
    ]
    there.write_text(json.dumps(listed))
    needed = [pack.Requirement(x) for x in ("jax>=0.10", "Old.One>=1.3", "of_today>=1", "new>=3")]
    found = pack.lacking(pack.installed_there(there), needed)
    assert found == {"Old.One>=1.3": "1.2 there", "new>=3": "missing there"}
    # What a job imports counts as what the package needs.
    assert {one.name for one in pack.requirements()} >= {"jax", "numpyro", "packaging"}


def test_packing_leaves_what_it_did_not_make(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    pack = importlib.import_module("pack_accelerator")
    wheels, corpora = tmp_path / "wheels", tmp_path / "corpora"
    names = ("mine-2.0-py3-none-any.whl", "new-1.0-py3-none-any.whl")
    for path in (wheels / names[0], wheels / names[1], corpora / "mine.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")

    def downloaded(command, check):
        folder = next(word for word in command if word.startswith("--dest=")).removeprefix(
            "--dest="
        )
        (Path(folder) / "new-1.1-py3-none-any.whl").write_text("new")
        return subprocess.CompletedProcess(command, 0)

    prepared = f"kjv-{'0' * 16}-{'1' * 16}"

    def made(command, check):
        folder = Path(next(word for word in command if "cache_dir" in word).split("=")[1])
        if not (folder / prepared).exists():
            (folder / prepared).mkdir()
            (folder / prepared / "made").write_text(str(time.monotonic_ns()))
        (folder / "kjv.lock").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(pack.subprocess, "run", downloaded)
    pack.download(["new>=1.1"], wheels, "3.12")
    # One version of a package is there.
    assert {path.name for path in wheels.iterdir()} == {names[0], "new-1.1-py3-none-any.whl"}
    monkeypatch.setattr(pack.subprocess, "run", made)
    pack.prepare(["kjv"], corpora, "")
    first = (corpora / prepared / "made").read_text()
    # What is prepared is found.
    pack.prepare(["kjv"], corpora, "")
    assert (corpora / prepared / "made").read_text() == first
    assert {path.name for path in corpora.iterdir()} == {"mine.txt", prepared}


def test_packing_says_what_is_missing(tmp_path):
    words = [f"--to={tmp_path / 'to'}", f"--installed={tmp_path / 'none.json'}"]
    done = command(*words, script="pack_accelerator.py")
    assert done.returncode == 2
    assert "none.json: there is no such file" in done.stderr
    assert not (tmp_path / "to").exists()


@pytest.mark.slow
def test_carried_parameters_are_those_of_the_best_replica(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    carry = importlib.import_module("carry_parameters")
    monkeypatch.setattr(carry, "PART_BYTES", 10_000)
    workdir, copy = tmp_path / "sweep", tmp_path / "copy"
    corpus = write_text_corpus(tmp_path / "corpus")
    words = training_command(corpus, workdir, SMALL_MODEL | {"train.epochs": 1})[3:]
    train.main([*words, "--sweep=dropout_rate=0.1,0.5"])
    files = carry.pack(workdir, tmp_path / "packed" / "small")
    assert len(files) > 2
    carry.unpack(tmp_path / "packed" / "small", copy)
    model, again = carry.best_model(workdir), carry.best_model(copy)
    losers = [one for one in load_all(workdir) if one.replica.name != model[1]]
    assert again[2] == model[2]
    jax.tree.map(np.testing.assert_array_equal, again[0].params, model[0].params)
    lowest = min(point["perplexity"] for point in model[2])
    curves = [workdir / "replicas" / one.replica.name / "metrics.jsonl" for one in losers]
    for curve in curves:
        assert lowest <= min(point["perplexity"] for point in carry.validation(curve))
