"""Sweeps as a user starts them: refused, killed, resumed, evaluated and generated from.

The reference is the same command, never interrupted, and single runs with a replica's settings.
"""

import contextlib
import json
import signal
import subprocess
import time

import pytest
from small_run import (
    PLATEAU_SGD,
    ROOT,
    SIZES,
    checkpoint_contents,
    command,
    environment,
    metrics_without_times,
    one_error_line,
    run,
    training_command,
    write_text_corpus,
)

SETTINGS = {**PLATEAU_SGD, "optimizer.learning_rate": 1.0}
NAMES = [
    f"seed={seed},latent.concentration={concentration}"
    for seed in (0, 1)
    for concentration in (10, 40)
]
SWEEP = "--sweep=seed=0,1;latent.concentration=10,40"


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A sweep that was never interrupted: corpus, working directory, environment, output."""
    folder = tmp_path_factory.mktemp("sweep_command")
    variables = environment(cache=folder / "compiled")
    corpus = write_text_corpus(folder / "corpus")
    done = run([*training_command(corpus, folder / "run", SETTINGS), SWEEP], variables)
    return corpus, folder / "run", variables, done


def replica_metrics(workdir):
    return {name: metrics_without_times(workdir / "replicas" / name) for name in NAMES}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sweep=latent.dimension=2,4"], "'latent.dimension' given, allowed: seed, "),
        (["--sweep=seed=1,1"], "seed=1 is given twice"),
        (
            ["--sweep=seed=0", "--sweep=dropout_rate=0"],
            "keys dropout_rate given, allowed: those of",
        ),
        (["--sweep=seed=0,1", "--config.baselines=none"], "config.baselines: ('none',) given"),
    ],
)
def test_bad_sweeps_are_refused_in_one_line_before_jax_starts(tmp_path, arguments, told):
    (tmp_path / "jax.py").write_text("raise SystemExit('JAX was imported')", encoding="utf-8")
    corpus = write_text_corpus(tmp_path / "corpus")
    variables = environment() | {"PYTHONPATH": str(tmp_path)}
    line = one_error_line(
        run([*training_command(corpus, tmp_path / "run"), *arguments], variables, expect=2)
    )
    assert told in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_table_and_the_results(reference):
    _, workdir, _, done = reference
    rows = done.stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows[:4]] == NAMES
    assert [row.split()[:2] for row in rows[4:]] == [
        [f"latent.concentration={concentration}", word]
        for concentration in (10, 40)
        for word in ("mean", "standard")
    ]
    written = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in written["replicas"]] == NAMES
    assert {one["result"]["examples"] for one in written["replicas"]} == {SIZES["test"]}


@pytest.mark.slow
def test_killed_and_started_again_it_ends_the_same(reference, tmp_path):
    corpus, workdir, variables, _ = reference
    arguments = [*training_command(corpus, tmp_path / "run", SETTINGS), SWEEP]
    checkpoints = tmp_path / "run" / "checkpoints"
    for step in ("5", "15", "30"):
        process = subprocess.Popen(
            arguments, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        # While the checkpoint of that step is being written, or soon after.
        deadline = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                if any(path.name.startswith(step) for path in checkpoints.iterdir()):
                    break
            time.sleep(0.0005)
        process.kill()
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err.decode()
    run(arguments, variables)
    assert checkpoint_contents(tmp_path / "run") == checkpoint_contents(workdir)
    assert replica_metrics(tmp_path / "run") == replica_metrics(workdir)
    results = [(path / "results.json").read_bytes() for path in (tmp_path / "run", workdir)]
    assert results[0] == results[1]


@pytest.mark.slow
def test_a_replica_is_measured_and_written_from_as_its_single_run(reference, tmp_path):
    corpus, workdir, variables, _ = reference
    single = {**SETTINGS, "seed": 1, "latent.concentration": 40.0}
    run(training_command(corpus, tmp_path / "run", single), variables)
    assert metrics_without_times(tmp_path / "run") == replica_metrics(workdir)[NAMES[3]]
    chosen = [[f"--workdir={tmp_path / 'run'}"], [f"--workdir={workdir}", f"--replica={NAMES[3]}"]]
    for module, arguments in (("evaluate", ["--json"]), ("generate", ["--label=2"])):
        alone, one = (run(command(module, *arguments, *at), variables).stdout for at in chosen)
        assert alone == one
    whole = json.loads(run(command("evaluate", "--json", chosen[1][0]), variables).stdout)
    assert whole == json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    line = one_error_line(run(command("generate", chosen[1][0]), variables, expect=2))
    assert f"--replica: is missing, allowed for the sweep in {workdir}: {NAMES[0]} " in line


@pytest.mark.slow
def test_another_sweep_is_refused(reference):
    corpus, workdir, variables, _ = reference
    for given in ([], ["--sweep=seed=0,1"]):
        arguments = [*training_command(corpus, workdir, SETTINGS), *given]
        line = one_error_line(run(arguments, variables, expect=2))
        assert f"--sweep: replicas {NAMES[0]} " in line
        assert line.endswith("given; use another --workdir")
