"""Processes that share runs: one at a time is at a run, and a dead one is at none."""

import subprocess
import sys

import pytest

from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Elsewhere, Laboratory
from spherical_vae.experiments.laboratory.turns import Taken, Turns

HOLD = """
import sys
from pathlib import Path
from spherical_vae.experiments.laboratory.turns import Turns
with Turns().at(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_holds_a_folder_again_and_another_does_not(tmp_path):
    folder = tmp_path / "run"
    ours, theirs = Turns(), Turns()
    with ours.at(folder), ours.at(folder):
        with pytest.raises(Taken, match="another process"), theirs.at(folder):
            pass
        with theirs.at(tmp_path / "other"):
            pass
    with theirs.at(folder), pytest.raises(Taken), ours.at(folder):
        pass


def test_what_failed_is_let_go_of(tmp_path):
    ours = Turns()
    with pytest.raises(ZeroDivisionError), ours.at(tmp_path):
        _ = 1 / 0
    with Turns().at(tmp_path):
        pass


def test_a_run_of_another_process_is_passed_over_until_that_has_died(tmp_path):
    laboratory = Laboratory(tmp_path, "smoke", 1)
    run = Run("news20")
    folder = laboratory.directory(laboratory.config(run))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Elsewhere, match="another process is at it"):
            laboratory.train(run)
        process.kill()
        process.wait()
    with Turns().at(folder):
        pass
