"""A run is read as it was written; a file that is none is an error that names the field."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
from made import made_run, made_tight
from small_run import ROOT

from paper.specs import Place, Spec
from paper.store import Bounds, Point, Store, family, read_run, run_id, to_json
from spherical_vae.system.errors import UserError

COMMITTED = Store(ROOT / "results" / "runs")


def whole_run():
    points = [
        SimpleNamespace(step=0, mean=[0.1, 0.2], kl_nats=0.5, deviation=[1.0, 1.0]),
        SimpleNamespace(step=5, mean=[1.0, 0.0], kl_nats=4.0, concentration=9.0),
    ]
    return dataclasses.replace(
        made_run(nats=[1.25, 2.5], tight=[1.0, 3.0]),
        overrides={"latent.kind": "vmf", "train.epochs": 5, "decoder.skip": True, "x": 2.0},
        validation=(Point(1, 0.5, 90.0), Point(2, None, None)),
        swaps=[SimpleNamespace(probability=0.5, mean_cosine=0.9, standard_error=0.01)],
        probes=[SimpleNamespace(bag="counts", direction="code_to_bag", cosine=0.5, epochs=3)],
        trace=SimpleNamespace(split="valid", example=0, tokens=7, points=points),
        note="by hand",
    )


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = whole_run()
    path = Store(tmp_path).save(run)
    assert read_run(path) == run
    assert Store(tmp_path).get(run.id) == run
    # The type of an override decides what a command says: 2.0 is not 2.
    assert type(read_run(path).overrides["x"]) is float
    assert type(read_run(path).overrides["decoder.skip"]) is bool


def test_what_is_not_finite_is_left_out(tmp_path):
    run = made_run(perplexity=math.inf, nll_nats=math.nan)
    read = read_run(Store(tmp_path).save(run))
    assert read.training.perplexity is None
    assert read.bounds["test/honest"].nll_nats is None


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda content: content.update(colour=3), "colour"),
        (lambda content: content["training"].update(best_step="3"), "Training.best_step"),
        (lambda content: content["bounds"]["test/honest"].pop("tokens"), "tokens"),
        (lambda content: content["settings"].update(name="another"), "another-"),
    ],
)
def test_a_file_that_is_not_a_run_is_an_error_that_names_what_is_wrong(change, part, tmp_path):
    path = Store(tmp_path).save(made_run())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=part) as error:
        read_run(path)
    assert str(path) in str(error.value)


def test_seeds_of_a_family_come_in_order(tmp_path):
    store = Store(tmp_path)
    for seed in (10, 2, 0):
        store.save(made_run(seed))
    store.save(dataclasses.replace(made_run(), settings={"name": "made", "train.epochs": 2}))
    assert [run.seed for run in store.of_family(family({"name": "made"}))] == [0, 2, 10]
    assert store.get(run_id({"name": "made"}, 1)) is None


def test_committed_runs_are_those_of_their_configurations():
    """Whoever changes a file in configs/ learns here that runs are of what it was."""
    runs = list(COMMITTED)
    assert len(runs) >= 99
    for run in runs:
        scale = "cpu" if "train.nats_per" in run.overrides else "full"
        origin = COMMITTED.get(run.settings.get("init_from", ""))
        start = origin and Spec(origin.config, origin.overrides, origin.seed)
        spec = Spec(run.config, run.overrides, run.seed, start)
        assert Place(ROOT, scale).settings(spec) == run.settings, run.id
        assert run.training.best_step is not None
        assert run.provenance.command.startswith("python -m spherical_vae.train --config=configs/")


def test_a_committed_run_is_written_as_it_lies_there():
    for run in COMMITTED:
        path = COMMITTED.folder / f"{run.id}.json"
        assert to_json(run) == path.read_text(encoding="utf-8"), run.id


def test_a_bound_has_the_level_of_its_nats():
    assert Bounds(2, 4, 1, nll_nats=3.0, iw_nll_nats=2.0).level == 2.0
    assert Bounds(2, 4, 1, nll_nats=3.0).level == 3.0
    assert made_tight([1.0, 3.0]).level == 2.0
