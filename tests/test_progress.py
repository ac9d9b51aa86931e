"""Progress of training in a log file: whole lines, few of them, and no carriage returns."""

import dataclasses

import pytest
from small_models import small_config, small_corpus

from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.runs.progress import Progress
from spherical_vae.training.schedules import Timetable
from spherical_vae.training.supervisor import ProgressBar, Supervisor

CORPUS = small_corpus()


@pytest.fixture
def clock(monkeypatch):
    """The time that is measured, in seconds, as a list of one number."""
    now = [0.0]
    monkeypatch.setattr("spherical_vae.training.supervisor.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def replica():
    config = small_config()
    timetable = Timetable(config, len(CORPUS.splits["train"]))
    return Supervisor(config, timetable, Progress(0), MetricsLog(None))


def test_a_file_gets_a_line_every_30_seconds_and_at_evaluations(clock, replica, capsys):
    with ProgressBar("kjv", 100, 1100) as progress:
        for step in range(1000):
            # The first step is compiled, which is in no speed.
            clock[0] += 10.0 if step == 0 else 0.25
            progress.advance(1)
            progress.show([replica], evaluated=False)
        replica.state = dataclasses.replace(replica.state, best=2.0, best_step=1100)
        progress.show([replica], evaluated=True)
    told = capsys.readouterr().err
    assert "\r" not in told
    lines = told.splitlines(keepends=True)
    assert len(lines) == 1 + 999 * 0.25 // 30 + 1
    assert lines[0].startswith("kjv: step 100 of 1100, ")
    assert lines[1] == "kjv: step 221 of 1100, 4 steps/s\n"
    assert lines[-1] == "kjv: step 1100 of 1100, 4 steps/s, validation perplexity 7.4\n"


def test_a_training_that_is_over_has_nothing_to_tell(clock, capsys):
    with ProgressBar("kjv", 10, 10):
        pass
    assert not capsys.readouterr().err


def test_a_terminal_gets_a_bar(clock, replica, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with ProgressBar("kjv", 0, 10) as progress:
        progress.advance(10)
        progress.show([replica], evaluated=True)
    told = capsys.readouterr().err
    assert "10/10" in told
    assert told.count("\n") == 1
