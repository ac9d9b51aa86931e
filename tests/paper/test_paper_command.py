"""`python -m paper`: refusals, listing, and all of it in small."""

import json
import os
import subprocess
import sys

import pytest
from small_run import ROOT, environment, one_error_line, refusal, run

from paper.__main__ import NAMES, is_chosen, main
from paper.catalogue import EXPERIMENTS


def command(*arguments):
    return [sys.executable, "-m", "paper", *arguments]


def test_names_are_those_of_the_experiments():
    assert (*EXPERIMENTS, "all", "list", "report") == NAMES


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tabel4"], "did you mean 'table4'"),
        ([], "the first argument must be one of table1, table2"),
        (["table4", "--scale=huge"], "scale"),
        (["fig1", "--only=kappa"], "--only: not with fig1, allowed: --scale, --workdir"),
        (["report", "--seeds=2"], "--seeds: not with report, allowed: --results"),
        (["table3", "--only=PTB vFM"], "no row has it in its name; did you mean 'PTB"),
        (["table3", "--only==PTB standard"], "--only==PTB standard: no row has it in its name"),
        (["table3", "--workdir=pyproject.toml"], "--workdir=pyproject.toml: pyproject.toml cannot"),
        (["table3", "--results=pyproject.toml"], "--results=pyproject.toml: pyproject.toml cannot"),
        (["report", "--results=tests"], "--results=tests: no store is here"),
    ],
)
def test_mistakes_are_refused(arguments, part, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert part in refusal(main, *arguments)


def test_rows_are_chosen_by_a_part_of_their_name_or_by_all_of_it():
    names = [row.name for row in EXPERIMENTS["table3"].rows("full")]
    assert len([name for name in names if is_chosen(name, "PTB inputless vMF")]) > 1
    assert [name for name in names if is_chosen(name, "=PTB inputless vMF")] == [
        "PTB inputless vMF"
    ]
    assert all(is_chosen(name, "") for name in names)


def test_what_is_wrong_in_the_store_is_told_before_anything_is_trained(tmp_path):
    (tmp_path / "smoke" / "runs").mkdir(parents=True)
    (tmp_path / "smoke" / "runs" / "ptb-0.json").mkdir()
    done = run(command("fig6", f"--workdir={tmp_path}"), environment(), expect=2, cwd=ROOT)
    assert "ptb-0.json: not a run" in one_error_line(done)
    assert not (tmp_path / "runs").exists()


def test_without_matplotlib_nothing_is_begun(tmp_path):
    hidden = (
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'matplotlib' else find(name, *rest)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hidden, encoding="utf-8")
    variables = environment()
    variables["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(tmp_path), variables.get("PYTHONPATH")])
    )
    done = run(command("report"), variables, expect=2, cwd=ROOT)
    assert 'pip install -e ".[experiments]"' in one_error_line(done)


def test_the_listing_has_every_experiment():
    done = subprocess.run(
        command("list", "--scale=cpu"), capture_output=True, text=True, check=True, cwd=ROOT,
        env=environment(),
    )  # fmt: skip
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    assert rows == list(EXPERIMENTS)


@pytest.mark.slow
def test_all_experiments_at_smoke_scale(tmp_path):
    variables = environment()
    done = run(command("all", f"--workdir={tmp_path}"), variables, cwd=ROOT)
    for name in EXPERIMENTS:
        assert (tmp_path / "smoke" / "tables" / f"{name}.md").is_file()
    runs = [json.loads(path.read_text()) for path in (tmp_path / "smoke" / "runs").glob("*.json")]
    assert len(runs) > 20
    assert "not here" not in done.stderr
