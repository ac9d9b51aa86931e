"""What docs/extending.md adds, as it stands there, goes through the commands."""

import itertools
import json
import re
import sys

import pytest
from small_run import ROOT, SMALL_MODEL, overrides

from spherical_vae import evaluate, generate, train
from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.__main__ import main as data_command
from spherical_vae.system.errors import UserError

WORDS = ("time", "money", "early", "late", "bird", "worm", "nothing", "something")
LINES = [
    f"{'de' if i % 3 else 'en'}\t{a.title()}, {b} and {c}"
    for i, (a, b, c) in enumerate(itertools.permutations(WORDS, 3))
]


NAME = "my_package.proverbs"


def write_section(title, file):
    """Writes the first code block of a section as a module."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    _, _, section = page.partition(f"## {title}\n")
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    file.parent.mkdir()
    file.write_text(code[1], encoding="utf-8")


@pytest.fixture
def proverbs(tmp_path, monkeypatch):
    """Where Python finds the corpus; returns the flags that say where its file is."""
    write_section("A corpus", tmp_path / "my_package" / "proverbs.py")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "proverbs.tsv").write_text("\n".join(LINES), encoding="utf-8")
    yield {"manual_dir": str(tmp_path), "cache_dir": str(tmp_path / "cache")}
    for name in ("my_package", NAME):
        sys.modules.pop(name, None)


def test_a_corpus_is_prepared_verified_and_counted(proverbs, capsys):
    flags = [f"--{key}={value}" for key, value in proverbs.items()]
    data_command(["data", "prepare", NAME, *flags])
    assert f"{len(LINES)} proverbs read = {len(LINES)} kept" in capsys.readouterr().out
    for name in ([NAME], []):
        data_command(["data", "verify", *name, flags[1]])
        assert "1 prepared in" in capsys.readouterr().out
    data_command(["data", "stats", NAME, "--json", "--label_classes=2", *flags])
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert {key: split["examples"] for key, split in splits.items()} == {
        "train": 302,
        "valid": 17,
        "test": 17,
    }
    languages = [sum(s["labels"][i] for s in splits.values()) for i in range(2)]
    assert languages == [112, 224]


def test_mistakes_name_what_is_allowed(proverbs, tmp_path):
    config = base_config().data
    config.update(name=NAME, **proverbs)
    for key, value, message in [
        (
            "label_classes",
            3,
            "label_classes: 3 given, allowed: 0 or 2 with data.name=my_package.proverbs",
        ),
        ("manual_dir", "", "proverbs.tsv is not here: bring the table of proverbs"),
    ]:
        wrong = config.copy_and_resolve_references()
        wrong[key] = value
        with pytest.raises(UserError, match=re.escape(message)):
            load_corpus(wrong)
    (tmp_path / "proverbs.tsv").write_text("fr\tLe temps\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 1: 'fr' given, allowed: \('en', 'de'\)"):
        load_corpus(config)


def test_a_corpus_is_trained_on(proverbs, tmp_path, capsys):
    data = {f"data.{key}": value for key, value in proverbs.items()}
    settings = {"data.name": NAME, "train.steps": 2, **data}
    workdir = f"--workdir={tmp_path / 'run'}"
    train.main([workdir, *overrides(SMALL_MODEL, settings)])
    assert "2 steps" in capsys.readouterr().out
    evaluate.main([workdir, "--json"])
    assert json.loads(capsys.readouterr().out)["corpus"] == "proverbs"
    generate.main([workdir, "--label=1", "--text=Time, money and bird"])
    assert capsys.readouterr().out.startswith("[time , money and bird]")


@pytest.mark.thorough
def test_where_python_does_not_find_the_module_it_is_told(proverbs, tmp_path, monkeypatch):
    data = {f"data.{key}": value for key, value in proverbs.items()}
    settings = {"data.name": NAME, "train.steps": 1, **data}
    workdir = f"--workdir={tmp_path / 'run'}"
    train.main([workdir, *overrides(SMALL_MODEL, settings)])
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    for name in ("my_package", NAME):
        sys.modules.pop(name)
    for command in (evaluate, generate):
        with pytest.raises(UserError, match=r"'my_package.proverbs' given, but No module named"):
            command.main([workdir])
