"""Runs are made once: found again by their configuration, refused where that is another one."""

import json
import re
from pathlib import Path

import pytest
from small_models import quick_to_compile

from spherical_vae.config import base_config
from spherical_vae.experiments.laboratory import address as addressing
from spherical_vae.experiments.laboratory import runs
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory, Unavailable
from spherical_vae.experiments.language_models import setting
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_to_compile")

DOCUMENTS = {"latent.dimension": 25}


def test_address_follows_what_is_set_and_nothing_else(tmp_path, monkeypatch):
    here = Laboratory(tmp_path, "full", 1)
    there = Laboratory(tmp_path, "full", 1, manual_dir="elsewhere")
    run = Run("news20", DOCUMENTS)
    assert address(here.config(run)) == address(there.config(run))
    others = [
        Run("news20", DOCUMENTS, seed=1),
        Run("news20", {"latent.dimension": 26}),
        Run("news20:gaussian", DOCUMENTS),
    ]
    assert len({address(here.config(other)) for other in [run, *others]}) == 4

    # A key that the base gains later, and that no run sets, changes nothing.
    config = here.config(run)
    before, base = address(config), base_config()
    base.new_key = 1
    monkeypatch.setattr(addressing, "base_config", lambda: base)
    with config.unlocked():
        config.new_key = 1
    assert address(config) == before
    with config.unlocked():
        config.new_key = 2
    assert address(config) != before


def test_addresses_stay_what_they_were():
    """What was trained is found again by later code: these are of runs of 2026-11-27."""
    laboratory = Laboratory(Path("anywhere"), "cpu", 1)
    found = {
        mode: address(laboratory.config(setting("cpu", "yelp10k", mode, "vMF").run({}, 0)))
        for mode in ("standard", "inputless")
    }
    assert found == {"standard": "c748eac13295", "inputless": "306675572db1"}


def test_a_wrong_override_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match=r"latent\.dimension"):
        Laboratory(tmp_path, "full", 1).config(Run("news20", {"latent.dimension": 0}))


def test_a_missing_corpus_is_named_without_folders_of_this_machine(tmp_path, capsys):
    laboratory = Laboratory(tmp_path / "runs", "full", 1, manual_dir=str(tmp_path))
    with pytest.raises(Unavailable, match=r"^the files of rcv1 are not here$"):
        laboratory.train(Run("rcv1"))
    assert "rcv1.zip" in capsys.readouterr().err


def test_what_was_found_is_kept_and_another_run_is_not_taken_for_this_one(tmp_path):
    run = Run("news20", DOCUMENTS)
    with pytest.raises(Unavailable, match="not run"):
        Laboratory(tmp_path, "smoke", 1, training=False).train(run)
    assert not (tmp_path / "runs").exists()

    laboratory = Laboratory(tmp_path, "smoke", 1)
    config = laboratory.config(run)
    directory = laboratory.directory(config)
    open_run(directory, config).close()
    found = {"nats": [1.5, float("inf")]}
    assert laboratory.kept(run, "found", lambda: found) == {"nats": [1.5, None]}
    assert laboratory.kept(run, "found", lambda: pytest.fail("found out twice")) == {
        "nats": [1.5, None]
    }

    path = directory / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["config"]["dropout_rate"] = 0.9
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="another configuration"):
        laboratory.kept(run, "found", lambda: found)


def test_a_run_that_diverged_is_a_result_and_is_not_trained_again(tmp_path, monkeypatch):
    laboratory = Laboratory(tmp_path, "smoke", 1)
    run = Run("news20", {"optimizer.learning_rate": 1e30})
    with quick_to_compile():
        record = laboratory.train(run)
    assert re.fullmatch(r"diverged in step \d", record["diverged"])
    assert record["dev_perplexity"] is None
    assert str(tmp_path) not in json.dumps(record)
    monkeypatch.setattr(runs, "Trainer", None)
    assert laboratory.train(run) == record
    with pytest.raises(Unavailable, match=r"^diverged in step \d$"):
        laboratory.measure(run)
