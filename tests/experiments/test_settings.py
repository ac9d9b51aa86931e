"""Rows of tables: chosen on dev, trained seed by seed, and marked where they are missing."""

from pathlib import Path

import pytest

from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Elsewhere, Laboratory, Unavailable
from spherical_vae.experiments.laboratory.settings import Setting, rows, values
from spherical_vae.experiments.rendering.row_tables import (
    Column,
    bounds_table,
    printed_cell,
    runs_table,
    verdicts,
    wins,
)

KAPPAS = ({"latent.concentration": 10.0}, {"latent.concentration": 20.0})
COLUMN = Column("PPL", "honest", "perplexity", compared=True)


class RecordedLaboratory(Laboratory):
    """Answers from a function instead of training, and remembers what it was asked for."""

    def __init__(self, dev=lambda run: 100.0, missing=lambda run: False):
        super().__init__(Path("nowhere"), "full", seeds=2)
        self.asked = []
        self._dev, self._missing = dev, missing

    def train(self, run, trainer=None):
        if self._missing(run):
            raise Unavailable("not run")
        self.asked.append(run)
        return {
            "command": run.command,
            "seed": run.seed,
            "dev_perplexity": self._dev(run),
            "dev_kl_nats": 1.0,
            "best_step": 1,
        }

    def measure(self, run, protocol="honest", split="test"):
        return {
            "protocol": protocol,
            "split": split,
            "perplexity": 50.0 + run.seed,
            "importance_samples": 7,
            "mutual_information_ceiling_nats": 4.0,
        }


def two_rows():
    trial = {"train.epochs": 3}
    return [
        Setting("vMF", "news20", {"latent.dimension": 25}, KAPPAS, trial),
        Setting("Gaussian", "news20:gaussian"),
    ]


def test_the_best_on_dev_is_run_with_every_seed():
    laboratory = RecordedLaboratory(lambda run: run.overrides.get("latent.concentration", 0.0))
    found, _ = rows(laboratory, two_rows())
    assert found["chosen"] == KAPPAS[0]
    assert [trial["dev_perplexity"] for trial in found["trials"]] == [10.0, 20.0]
    assert values(found, "honest", "perplexity") == [50.0, 51.0]
    # Trials are short, and the runs are not.
    assert [run.overrides.get("train.epochs") for run in laboratory.asked] == [3, 3, *[None] * 4]


def test_a_trial_that_diverged_is_not_chosen():
    laboratory = RecordedLaboratory(
        lambda run: None if run.overrides.get("latent.concentration") == 10.0 else 300.0
    )
    assert rows(laboratory, two_rows())[0]["chosen"] == KAPPAS[1]


def test_seeds_are_run_row_by_row_so_that_stopping_leaves_whole_columns():
    laboratory = RecordedLaboratory()
    rows(laboratory, two_rows())
    assert [run.seed for run in laboratory.asked] == [0, 0, 0, 0, 1, 1]


def test_what_is_missing_is_said_and_costs_the_other_rows_nothing():
    laboratory = RecordedLaboratory(missing=lambda run: run.seed == 1 or "gaussian" in run.config)
    vmf, gaussian = rows(laboratory, two_rows())
    assert [run["seed"] for run in vmf["runs"]] == [0]
    assert vmf["missing"] == "seed 1: not run"
    assert gaussian["runs"] == []
    table = bounds_table([vmf, gaussian], [COLUMN], lambda row: 0).markdown()
    assert "| Gaussian | not run | - |" in table
    assert "| vMF | 50.0 | 1 |" in table  # not bold: it has no rival


@pytest.mark.parametrize("busy", ["trial", "run"])
def test_what_another_process_is_at_is_asked_for_once_more_in_the_end(busy):
    turned_away = []

    def elsewhere(run):
        if ("train.epochs" in run.overrides) == (busy == "trial") and not turned_away:
            turned_away.append(run)
            raise Elsewhere("another process is at it")
        return False

    laboratory = RecordedLaboratory(missing=elsewhere)
    found = rows(laboratory, two_rows())
    assert len(turned_away) == 1
    assert [[run["seed"] for run in row["runs"]] for row in found] == [[0, 1], [0, 1]]
    assert [row["missing"] for row in found] == [None, None]


def test_what_is_done_elsewhere_is_asked_for_as_long_as_passes_bring_something():
    settings = [Setting("Gaussian", "news20:gaussian")]
    passes = []

    def elsewhere(run):
        if run.seed == 0:
            passes.append(run)
        # Seed 0 is done elsewhere after one pass, seed 1 after two.
        if len(passes) <= 1 + run.seed:
            raise Elsewhere("another process is at it")
        return False

    (row,) = rows(RecordedLaboratory(missing=elsewhere), settings)
    assert [run["seed"] for run in row["runs"]] == [0, 1]
    assert len(passes) == 3

    def stuck(run):
        raise Elsewhere("another process is at it")

    (row,) = rows(RecordedLaboratory(missing=stuck), settings)
    assert row["missing"] == "seed 1: another process is at it"


def test_the_record_of_a_run_has_what_more_finds():
    laboratory = RecordedLaboratory()
    found = rows(laboratory, two_rows(), lambda setting, run: {"more": [setting.name, run.seed]})
    assert [run["more"] for run in found[1]["runs"]] == [["Gaussian", 0], ["Gaussian", 1]]


def test_a_row_that_lacks_a_seed_says_why():
    laboratory = RecordedLaboratory(missing=lambda run: run.seed == 1)
    found = rows(laboratory, [Setting("Gaussian", "news20:gaussian")])
    run = found[0]["runs"][0]
    run |= {"train_seconds": 1.0, "device": "CPU", "date": "today"}
    assert runs_table(found).rows[0][1] == "0; seed 1: not run"


@pytest.mark.parametrize(
    ("gaussian", "vmf", "said"),
    [
        (
            [790.0, 794.0],
            [800.0, 802.0],
            "**the Gaussian is ahead of vMF** (PPL: Gaussian 792.0; vMF 801",
        ),
        (
            [790.0, 801.0],
            [800.0, 802.0],
            "**the Gaussian is ahead of vMF**, within the spread of the se",
        ),
        (
            [810.0, 804.0],
            [800.0, 802.0],
            "vMF is ahead of the Gaussian (PPL: Gaussian 807.0; vMF 801.0)",
        ),
        ([790.0], [800.0, 802.0], "**the Gaussian is ahead of vMF**, by one seed (PPL"),
    ],
)
def test_a_verdict_says_how_sure_it_is(gaussian, vmf, said):
    found = [measured_row("Gaussian", gaussian), measured_row("vMF", vmf)]
    (line,) = verdicts(found, COLUMN, lambda row: "all")
    assert line.startswith(f"all: {said}")
    assert verdicts(found[:1], COLUMN, lambda row: "all") == []


def measured_row(name, perplexities, dev=(1.0,)):
    measured = [{"honest": {"perplexity": perplexity}} for perplexity in perplexities]
    runs = [
        {"measured": one, "dev_perplexity": dev[min(i, len(dev) - 1)]}
        for i, one in enumerate(measured)
    ]
    return {"name": name, "runs": runs}


def test_a_verdict_is_on_the_rows_that_dev_chose():
    found = [
        measured_row("Gaussian", [800.0], [790.0]),
        measured_row("vMF, best on test", [700.0], [795.0]),
        measured_row("vMF, best on dev", [810.0], [780.0]),
        measured_row("vMF, diverged on dev", [600.0], [None]),
        {"name": "vMF, not run", "runs": []},
        measured_row("vMF, not finite on test", [None], [700.0]),
    ]
    (line,) = verdicts(found, COLUMN, lambda row: "all")
    assert line == (
        "all: **the Gaussian is ahead of vMF**, by one seed (PPL: Gaussian 800.0; vMF 810.0, best "
        "of 3 on dev)."
    )


def test_the_winner_is_the_lowest_mean_whoever_it_is():
    def row(name, *perplexities):
        runs = [{"measured": {"honest": {"perplexity": value}}} for value in perplexities]
        return {"name": name, "runs": runs}

    vmf, gaussian = row("vMF", 800.0, 802.0), row("Gaussian", 790.0, 813.0)
    assert wins(vmf, [vmf, gaussian], COLUMN)
    assert not wins(gaussian, [vmf, gaussian], COLUMN)
    better = row("Gaussian", 790.0, 791.0)
    assert wins(better, [vmf, better], COLUMN)


def test_the_command_of_a_run_names_everything_that_is_set():
    run = Run("ptb:inputless", {"condition_on_bag": True, "latent.dimension": 50}, seed=2)
    assert run.command == (
        "python -m spherical_vae.train --config=configs/ptb.py:inputless --workdir=DIR "
        "--config.data.manual_dir=FOLDER --config.seed=2 --config.condition_on_bag=true "
        "--config.latent.dimension=50"
    )


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (793.0, "793"), (4.4, "4.4")])
def test_printed_values_are_shown_as_printed(value, shown):
    assert printed_cell(value) == shown
