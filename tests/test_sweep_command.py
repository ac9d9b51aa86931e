"""Sweeps as a user starts them: trained, evaluated, written from, and mistakes.

The reference for a replica is the single run with its settings.
"""

import json

import pytest
from small_run import (
    PLATEAU_SGD,
    SIZES,
    metrics_without_times,
    training_command,
    without_rates,
    write_text_corpus,
)

from spherical_vae import evaluate, generate, train
from spherical_vae.system.errors import UserError

SETTINGS = {**PLATEAU_SGD, "optimizer.learning_rate": 1.0}
NAMES = [
    f"seed={seed},latent.concentration={concentration}"
    for seed in (0, 1)
    for concentration in (10, 40)
]
SWEEP = "--sweep=seed=0,1;latent.concentration=10,40"


def train_it(corpus, workdir, settings, *arguments):
    train.main([*training_command(corpus, workdir, settings)[3:], *arguments])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_text_corpus(tmp_path_factory.mktemp("sweep_command") / "corpus")


@pytest.fixture(scope="module")
def sweep(corpus, tmp_path_factory):
    """The working directory of a finished sweep."""
    workdir = tmp_path_factory.mktemp("sweep_command") / "run"
    train_it(corpus, workdir, SETTINGS, SWEEP)
    return workdir


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep=latent.dimension=2,4"], "'latent.dimension' given, allowed: seed, "),
        (["--sweep=seed=1,1"], "seed=1 is given twice"),
        (
            ["--sweep=seed=0", "--sweep=dropout_rate=0"],
            "keys dropout_rate given, allowed: those of",
        ),
        (["--sweep=seed=0,1", "--config.baselines=none"], "config.baselines: ('none',) given"),
        (["--sweep=seed=0,1", "--config.mesh.model=2"], "config.mesh.model: 2 given, allowed: 1"),
    ],
)
def test_bad_sweeps_are_errors_before_anything_is_written(corpus, tmp_path, arguments, message):
    with pytest.raises(UserError) as error:
        train_it(corpus, tmp_path / "run", {}, *arguments)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_table_and_the_results(corpus, sweep, capsys):
    train_it(corpus, sweep, SETTINGS, SWEEP)  # Once more: it is finished, and printed again.
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0] for row in rows[:4]] == NAMES
    assert [row.split()[:2] for row in rows[4:]] == [
        [f"latent.concentration={concentration}", word]
        for concentration in (10, 40)
        for word in ("mean", "standard")
    ]
    written = json.loads((sweep / "results.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in written["replicas"]] == NAMES
    assert {one["result"]["examples"] for one in written["replicas"]} == {SIZES["test"]}


@pytest.mark.slow
def test_a_replica_is_measured_and_written_from_as_its_single_run(corpus, sweep, tmp_path, capsys):
    single = {**SETTINGS, "seed": 1, "latent.concentration": 40.0}
    train_it(corpus, tmp_path / "run", single)
    replica_metrics = metrics_without_times(sweep / "replicas" / NAMES[3])
    assert metrics_without_times(tmp_path / "run") == replica_metrics

    def printed(command, *arguments):
        capsys.readouterr()
        command.main(arguments)
        return capsys.readouterr().out

    alone, one = [f"--workdir={tmp_path / 'run'}"], [f"--workdir={sweep}", f"--replica={NAMES[3]}"]
    results = [json.loads(printed(evaluate, "--json", *at)) for at in (alone, one)]
    assert without_rates(results[0]) == without_rates(results[1])
    assert printed(generate, "--label=2", *alone) == printed(generate, "--label=2", *one)
    whole = json.loads(printed(evaluate, "--json", f"--workdir={sweep}"))
    assert whole == json.loads((sweep / "results.json").read_text(encoding="utf-8"))
    with pytest.raises(UserError) as error:
        generate.main([f"--workdir={sweep}"])
    allowed = f"--replica: is missing, allowed for the sweep in {sweep}: {NAMES[0]} "
    assert allowed in str(error.value)


@pytest.mark.slow
def test_another_sweep_is_an_error(corpus, sweep):
    for given in ([], ["--sweep=seed=0,1"]):
        with pytest.raises(UserError) as error:
            train_it(corpus, sweep, SETTINGS, *given)
        assert f"--sweep: replicas {NAMES[0]} " in str(error.value)
        assert str(error.value).endswith("given; use another --workdir")
