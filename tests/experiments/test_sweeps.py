"""Runs trained together are what they are alone, are resumed, and are not trained twice."""

import copy
import os
import shlex
import signal
from pathlib import Path

import pytest
from small_models import quick_to_compile, small_config

from spherical_vae.config.sweeps import parse_sweep
from spherical_vae.experiments.laboratory import together as sweeping
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.gathering import gather
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Elsewhere, Laboratory, Unavailable
from spherical_vae.experiments.laboratory.settings import Setting, rows
from spherical_vae.experiments.laboratory.together import train_together
from spherical_vae.experiments.laboratory.turns import Turns
from spherical_vae.experiments.rendering.row_tables import runs_table
from spherical_vae.system.errors import Interrupted
from spherical_vae.training.trainer import Trainer

KAPPAS = ({"latent.concentration": 10.0}, {"latent.concentration": 20.0})
# Without the trial's own dropout the trial of the chosen one would be the run of seed 0.
SETTING = Setting("vMF", "news20", {}, KAPPAS, {"dropout_rate": 0.5})
RUNS = [Run("news20", {"dropout_rate": rate}) for rate in (0.0, 0.1, 0.3)]
# Times, and how it came about.
APART = {"command", "commit", "date", "starts", "sweep", "train_seconds"}


@pytest.fixture(scope="module", autouse=True)
def _quick_to_compile():
    with quick_to_compile():
        yield


def numbers(value):
    """Returns nested JSON without what differs between a sweep and single runs."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items() if key not in APART}
    return [numbers(item) for item in value] if isinstance(value, list) else value


def laboratory(folder, sweeps=True, seeds=2, **options):
    return Laboratory(folder, "smoke", seeds, sweeps=sweeps, **options)


def curves(where, row):
    found = [where.dev_curve(SETTING.run(row["chosen"], seed)) for seed in (0, 1)]
    return [[numbers({**point, "seconds": 0, "time": 0}) for point in curve] for curve in found]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A row trained in two sweeps, one of its trials and one of its seeds: where, and the row."""
    where = laboratory(tmp_path_factory.mktemp("together"))
    (row,) = rows(where, [SETTING])
    return where, row


def test_on_a_cpu_there_are_no_sweeps_unless_asked_for(tmp_path):
    assert not laboratory(tmp_path, sweeps=None).sweeping
    assert laboratory(tmp_path, sweeps=True).sweeping
    assert not laboratory(tmp_path, sweeps=True, training=False).sweeping


@pytest.mark.slow
def test_together_and_alone_they_give_the_same_numbers(together, tmp_path):
    where, row = together
    alone = laboratory(tmp_path, sweeps=False)
    (expected,) = rows(alone, [SETTING])
    assert numbers(row) == numbers(expected)
    assert curves(where, row) == curves(alone, expected)
    assert not (tmp_path / "sweeps").exists()
    assert all("sweep" not in run for run in expected["runs"])


@pytest.mark.slow
def test_a_record_says_that_it_is_of_a_sweep_and_by_which_command(together):
    _, row = together
    assert [run["sweep"]["replicas"] for run in row["runs"]] == [2, 2]
    assert [run["sweep"]["replica"] for run in row["runs"]] == ["seed=0", "seed=1"]
    (command,) = {run["command"] for run in row["runs"]}
    kappa = row["chosen"]["latent.concentration"]
    assert command == (
        "python -m spherical_vae.train --config=configs/news20.py --workdir=DIR "
        f"--config.data.manual_dir=FOLDER --config.latent.concentration={kappa} --sweep=seed=0,1"
    )
    (command,) = {trial["command"] for trial in row["trials"]}
    assert command.endswith("--config.dropout_rate=0.5 --sweep=latent.concentration=10,20")
    (shown,) = runs_table([row]).rows
    assert shown[2].count("(sweep of 2)") == 2
    assert shown[-1].count("python") == 1


@pytest.mark.slow
def test_what_was_interrupted_goes_on(together, tmp_path, monkeypatch):
    _, expected = together
    advance, calls = Trainer._advance, []

    def stopping(self, step, chunk):
        advance(self, step, chunk)
        calls.append(step)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_advance", stopping)
    with pytest.raises(Interrupted):
        rows(laboratory(tmp_path), [SETTING])
    assert list((tmp_path / "runs").glob("*/trained.json")) == []
    # Another set of runs is wanted now, and the sweep that was begun is finished as it is.
    (row,) = rows(laboratory(tmp_path), [SETTING, Setting("more", "news20", RUNS[0].overrides)])[:1]
    assert calls[3] == 3
    assert numbers(row) == numbers(expected)
    assert {run["starts"] for run in row["runs"]} == {1}
    trial = laboratory(tmp_path).train(SETTING.trials("smoke")[0])
    assert trial["starts"] == 2


@pytest.mark.slow
def test_what_there_is_is_not_trained_again(tmp_path, monkeypatch):
    laboratory(tmp_path, sweeps=False).train(RUNS[0])
    where = laboratory(tmp_path)
    train_together(where, RUNS)
    records = [where.train(run) for run in RUNS]
    assert [record.get("sweep", {}).get("replicas") for record in records] == [None, 2, 2]
    assert len(list((tmp_path / "sweeps").iterdir())) == 1

    def refuse(*_):
        pytest.fail("trained again")

    monkeypatch.setattr(Trainer, "_advance", refuse)
    train_together(where, RUNS)
    # As if it had been killed between the end of training and the last record.
    (where.directory(where.config(RUNS[1])) / "trained.json").unlink()
    train_together(where, RUNS)
    assert numbers(where.train(RUNS[1])) == numbers(records[1])
    assert where.model(RUNS[1]).step == records[1]["best_step"]


def test_a_run_that_was_begun_alone_goes_on_alone(tmp_path, monkeypatch):
    gathered = []
    monkeypatch.setattr(sweeping, "gather", lambda found: gathered.extend(found) or [])
    where = laboratory(tmp_path)
    (where.directory(where.config(RUNS[0])) / "checkpoints").mkdir(parents=True)
    train_together(where, [*RUNS, RUNS[2]])
    assert [config.dropout_rate for _, config in gathered] == [0.1, 0.3]


@pytest.mark.parametrize("held", [0, 2])
def test_a_run_that_another_process_is_at_is_in_no_sweep(held, tmp_path, monkeypatch):
    trained = []
    where, other = laboratory(tmp_path), Turns()
    monkeypatch.setattr(
        sweeping, "_train_replicas", lambda lab, sweep, members, *rest: trained.append(members)
    )
    addresses = [address(where.config(run)) for run in RUNS]
    with other.at(where.directory(where.config(RUNS[held]))):
        train_together(where, RUNS)
        with pytest.raises(Elsewhere):
            where.train(RUNS[held])
    assert trained == [[one for i, one in enumerate(addresses) if i != held]]


def test_a_sweep_that_another_process_has_begun_is_left_to_it(tmp_path, monkeypatch):
    where, other = laboratory(tmp_path), Turns()
    configs = [where.config(run) for run in RUNS]
    (sweep,) = gather([("news20", config) for config in configs])
    missing = {address(config): run for config, run in zip(configs, RUNS, strict=True)}
    monkeypatch.setattr(sweeping, "_train_replicas", lambda *_: pytest.fail("trained twice"))
    with other.at(where.directory(configs[1])):
        sweeping._train_sweep(where, sweep, missing)
    assert missing == {}
    # None is held for nothing.
    with Turns().at(where.directory(configs[0])):
        pass


@pytest.mark.slow
def test_a_replica_that_diverged_is_not_chosen_and_cannot_be_measured(tmp_path):
    setting = Setting(
        "vMF", "news20", {}, tuple({"optimizer.learning_rate": x} for x in (1e30, 1e-3))
    )
    where = laboratory(tmp_path, seeds=1)
    (row,) = rows(where, [setting])
    assert [trial["dev_perplexity"] is None for trial in row["trials"]] == [True, False]
    assert row["chosen"] == setting.alternatives[1]
    assert len(row["runs"]) == 1
    with pytest.raises(Unavailable, match=r"^diverged in step \d$"):
        where.measure(setting.run(setting.alternatives[0], 0))


def configs_of(found):
    where = Laboratory(Path("nowhere"), "full", 1)
    return [(run.config, where.config(run)) for run in found]


def test_what_differs_by_more_than_what_can_be_swept_stays_apart():
    kappas = [Run("news20", changed, seed) for seed in (0, 1) for changed in KAPPAS]
    wide = [Run("news20", {"latent.dimension": 26}, seed) for seed in (0, 1)]
    others = [Run("news20:gaussian"), Run("ptb"), Run("ptb:inputless")]
    found = gather(configs_of([*kappas, *others, *wide]))
    assert [len(sweep.replicas) for sweep in found] == [4, 2]
    assert [replica.name for replica in found[0].replicas] == [
        f"seed={seed},latent.concentration={kappa}" for seed in (0, 1) for kappa in (10, 20)
    ]


def test_a_setting_without_effect_makes_no_sweep():
    gaussian = [Run("news20:gaussian", changed) for changed in KAPPAS]
    assert gather(configs_of(gaussian)) == []
    config = small_config(baselines=("none",))
    other = copy.deepcopy(config)
    other.seed = 1
    assert gather([("kjv", config), ("kjv", other)]) == []


def test_the_command_of_a_sweep_that_is_no_product_has_all_its_settings():
    alternatives = [{}, {"dropout_rate": 0.4}, {"kl_weight.schedule": "linear"}]
    found = [Run("news20:gaussian", {"latent.dimension": 25, **a}) for a in alternatives]
    (sweep,) = gather(configs_of(found))
    settings = [replica.settings for replica in sweep.replicas]
    commands = {run.sweep_command(settings) for run in found}
    assert len(commands) == 1
    words = shlex.split(commands.pop())
    texts = [word.removeprefix("--sweep=") for word in words if word.startswith("--sweep=")]
    assert [point for text in texts for point in parse_sweep(text)] == settings
    assert [word for word in words if word.startswith("--config.")] == [
        "--config.data.manual_dir=FOLDER",
        "--config.seed=0",
        "--config.latent.dimension=25",
    ]
