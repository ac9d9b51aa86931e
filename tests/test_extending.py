"""What docs/extending.md adds, as it stands there, goes through the commands."""

import importlib.util
import itertools
import json
import re

import pytest
from small_run import ROOT, SMALL_MODEL, overrides

from spherical_vae import train
from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.__main__ import main as data_command
from spherical_vae.data.corpora import CORPORA
from spherical_vae.system.errors import UserError

WORDS = ("time", "money", "early", "late", "bird", "worm", "nothing", "something")
LINES = [
    f"{'de' if i % 3 else 'en'}\t{a.title()}, {b} and {c}"
    for i, (a, b, c) in enumerate(itertools.permutations(WORDS, 3))
]


def load_section(title, folder):
    """Imports the first code block of a section as a module of its own."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    _, _, section = page.partition(f"## {title}\n")
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    file = folder / f"{title.lower().replace(' ', '_')}.py"
    file.write_text(code[1], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def proverbs(tmp_path):
    """Registers the corpus for one test; returns the flags that say where its file is."""
    before = dict(CORPORA)
    load_section("A corpus", tmp_path)
    (tmp_path / "proverbs.tsv").write_text("\n".join(LINES), encoding="utf-8")
    yield {"manual_dir": str(tmp_path), "cache_dir": str(tmp_path / "cache")}
    CORPORA.clear()
    CORPORA.update(before)


def test_a_corpus_is_listed_prepared_and_counted(proverbs, capsys):
    flags = [f"--{key}={value}" for key, value in proverbs.items()]
    data_command(["data", "list", *flags])
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("proverbs ")]
    assert line.endswith("ready")
    data_command(["data", "prepare", "proverbs", *flags])
    assert f"{len(LINES)} proverbs read = {len(LINES)} kept" in capsys.readouterr().out
    data_command(["data", "list", *flags])
    assert "prepared\n" in capsys.readouterr().out
    data_command(["data", "stats", "proverbs", "--json", "--label_classes=2", *flags])
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
    config.update(name="proverbs", **proverbs)
    for key, value, message in [
        ("label_classes", 3, "label_classes: 3 given, allowed: 0 or 2 with data.name=proverbs"),
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
    settings = {"data.name": "proverbs", "train.steps": 2, **data}
    train.main([f"--workdir={tmp_path / 'run'}", *overrides(SMALL_MODEL, settings)])
    assert "2 steps" in capsys.readouterr().out
