"""`python -m spherical_vae.experiments` as a process: refusals, listing, and all of it in small."""

import json
import os
import shutil

import pytest
from small_run import QUICK_TO_COMPILE, ROOT, command, environment, one_error_line, run

from spherical_vae.experiments import catalogue


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tabel4"], "did you mean 'table4'"),
        ([], "the first argument must be one of table1, table2"),
        (["--scale=smoke"], "the first argument must be one of table1, table2"),
        (["table4", "--scale=huge"], "scale"),
    ],
)
def test_mistakes_are_refused_in_one_line(arguments, part, tmp_path):
    done = run(command("experiments", *arguments), environment(), expect=2, cwd=tmp_path)
    assert part in one_error_line(done)


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
    done = run(command("experiments", "report"), variables, expect=2, cwd=tmp_path)
    assert 'pip install -e ".[experiments]"' in one_error_line(done)


def test_notrain_collects_what_another_record_has(tmp_path):
    folder = ROOT / "results"
    shutil.copy(folder / "table3-cpu.json", tmp_path)
    places = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path}"]
    run(command("experiments", "fig4", "--scale=cpu", "--notrain", *places), environment())
    rows = json.loads((tmp_path / "fig4-cpu.json").read_text(encoding="utf-8"))["rows"]
    taken = {row["name"]: [one["taken_from"] for one in row["runs"]] for row in rows}
    assert {name: found for name, found in taken.items() if found} == {
        "PTB inputless Gaussian alpha=1": ["table3"],
        "PTB inputless vMF kappa=80": ["table3"],
    }
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_all_experiments_at_smoke_scale(tmp_path):
    variables = environment(cache=tmp_path / "compiled", flags=QUICK_TO_COMPILE)
    arguments = ["all", "--scale=smoke", f"--workdir={tmp_path / 'runs'}"]
    run(command("experiments", *arguments), variables)
    for name in catalogue.NAMES:
        path = tmp_path / "runs" / "smoke" / f"{name}.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["scale"] == "smoke"
        for row in record.get("rows", []):
            assert row["missing"] is None
