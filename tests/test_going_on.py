"""A run that is over goes on where it shall be longer; a new one starts from another's weights."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from small_run import (
    STEPS_PER_EPOCH,
    checkpoint_contents,
    metrics_without_times,
    training_command,
    write_text_corpus,
)

from spherical_vae import evaluate, generate, train
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.runs.run_directory import load_run
from spherical_vae.runs.trained_model import load_all, load_trained
from spherical_vae.system.errors import UserError

SETTINGS = {
    "latent.kind": "gaussian",
    "decoder.kind": "bag_of_words",
    "optimizer.schedule": "constant",
    "train.checkpoint_every": 0,
    "train.log_every": 13,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_text_corpus(tmp_path_factory.mktemp("going_on") / "corpus")


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A finished run of two epochs."""
    workdir = tmp_path_factory.mktemp("going_on") / "finished"
    train_it(corpus, workdir, {"train.epochs": 2})
    return workdir


def train_it(corpus, workdir, settings, *arguments):
    train.main([*training_command(corpus, workdir, SETTINGS, settings)[3:], *arguments])


def refusal(*arguments):
    with pytest.raises(UserError) as caught:
        train_it(*arguments)
    return str(caught.value)


def test_more_epochs_are_those_of_a_run_that_was_as_long_from_the_start(
    corpus, finished, tmp_path, capsys
):
    once, twice = finished, tmp_path / "twice"
    train_it(corpus, twice, {"train.epochs": 1})
    capsys.readouterr()
    train_it(corpus, twice, {"train.epochs": 2})
    told = capsys.readouterr()
    assert f"config.train.epochs: 1 in {twice}, 2 from now on" in told.err
    assert "cosine" not in told.err
    assert f"resumed {twice} at step {STEPS_PER_EPOCH}" in told.err
    assert told.out.startswith(f"{2 * STEPS_PER_EPOCH} steps")
    assert metrics_without_times(twice) == metrics_without_times(once)
    last = 2 * STEPS_PER_EPOCH
    assert checkpoint_contents(twice)[last] == checkpoint_contents(once)[last]
    assert load_run(twice).config == load_run(once).config
    assert "config.train.epochs: 2 in" in refusal(corpus, twice, {"train.epochs": 1})


@pytest.mark.thorough
def test_a_cosine_is_that_of_the_longer_training_from_then_on(corpus, tmp_path, capsys):
    cosine = {"optimizer.schedule": "cosine", "optimizer.final_fraction": 0.0, "train.log_every": 1}
    for steps in (4, 8):
        train_it(corpus, tmp_path / "run", cosine | {"train.steps": steps})
    assert "optimizer.schedule" in capsys.readouterr().err
    rates = [
        r["learning_rate"] for r in metrics_without_times(tmp_path / "run") if r["split"] == "train"
    ]
    peak = load_run(tmp_path / "run").config.optimizer.learning_rate
    lengths = np.repeat([4, 8], 4)
    expected = peak * 0.5 * (1 + np.cos(np.pi * np.arange(8) / lengths))
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


@pytest.mark.thorough
def test_more_patience_goes_on_too(corpus, tmp_path):
    # At such a rate dev is best before the first step that is measured, or soon after.
    settings = {
        "optimizer.name": "sgd",
        "optimizer.learning_rate": 1e-12,
        "train.steps": 4,
        "train.evaluate_every": 1,
        "train.early_stopping": 1,
    }
    train_it(corpus, tmp_path / "run", settings)
    stopped = load_trained(tmp_path / "run").last_step
    assert stopped < 4
    train_it(corpus, tmp_path / "run", settings | {"train.early_stopping": 0})
    assert load_trained(tmp_path / "run").last_step == 4


@pytest.mark.slow
def test_replicas_that_are_at_the_end_go_on_together(corpus, tmp_path):
    sweep = "--sweep=seed=0,1"
    for name, epochs in (("once", (2,)), ("twice", (1, 2))):
        for number in epochs:
            train_it(corpus, tmp_path / name, {"train.epochs": number}, sweep)
    twice, once = (checkpoint_contents(tmp_path / name) for name in ("twice", "once"))
    assert twice[2 * STEPS_PER_EPOCH] == once[2 * STEPS_PER_EPOCH]
    results = [
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("once", "twice")
    ]
    assert results[0] == results[1]
    with pytest.raises(UserError, match=r"config.train.early_stopping: 0 in"):
        train_it(corpus, tmp_path / "once", {"train.epochs": 2, "train.early_stopping": 3}, sweep)


def test_a_run_starts_from_the_best_weights_of_another(corpus, finished, tmp_path, capsys):
    workdir = tmp_path / "run"
    # Its rate is so low that the parameters stay, but for rounding.
    still = {"optimizer.learning_rate": 1e-12, "dropout_rate": 0.0}
    arguments = (corpus, workdir, {"train.steps": 1, "seed": 5} | still, f"--init_from={finished}")
    train_it(*arguments)
    source = load_trained(finished)
    assert f"starting from step {source.step} of {finished}" in capsys.readouterr().err
    assert load_run(workdir).origin == {"workdir": str(finished), "step": source.step}
    found = load_trained(workdir)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6),
        found.params,
        source.params,
    )
    # The same command goes on, and so does one without the flag; another origin is refused.
    train_it(*arguments[:3])
    train_it(corpus, workdir, arguments[2] | {"train.steps": 2}, arguments[3])
    assert load_trained(workdir).last_step == 2
    assert load_run(workdir).origin == {"workdir": str(finished), "step": source.step}
    other = refusal(corpus, workdir, arguments[2] | {"train.steps": 2}, f"--init_from={tmp_path}")
    assert other.startswith(f"--init_from: {finished} in {workdir}, {tmp_path} given")
    evaluate.main([f"--workdir={workdir}", "--json"])


@pytest.mark.thorough
def test_a_latent_is_added_to_a_language_model(corpus, tmp_path):
    """With maps from z of zero the decoder is the language model, whatever z is."""
    model = {"decoder.kind": "lstm", "decoder.inputless": False, "decoder.tied_embeddings": True}
    train_it(corpus, tmp_path / "lm", model | {"latent.kind": "none", "train.steps": 2})
    still = {"optimizer.learning_rate": 1e-12, "dropout_rate": 0.0, "seed": 5, "train.steps": 14}
    phase = {"rate.autoencoder_epochs": 1, "train.evaluate_every": 14}
    added = model | {"latent.kind": "learned_vmf"} | still | phase
    train_it(corpus, tmp_path / "vae", added, f"--init_from={tmp_path / 'lm'}")
    one, other = (load_trained(tmp_path / name) for name in ("lm", "vae"))
    bounds = []
    for trained in (one, other):
        evaluator = Evaluator(trained.model, trained.config, trained.corpus)
        nats = evaluator.nats(trained.params, "valid", jax.random.key(0))
        bounds.append(nats.reconstruction_nats)
    np.testing.assert_allclose(*bounds, rtol=1e-5)
    rows = other.params["decoder"]["layer_0"]["constant"]["kernel"]
    assert rows.shape[0] > one.params["decoder"]["layer_0"]["constant"]["kernel"].shape[0]
    assert np.abs(rows[: other.model.latent_size]).max() < 1e-9


@pytest.mark.slow
def test_replicas_start_from_one_run(corpus, finished, tmp_path):
    still = {"optimizer.learning_rate": 1e-12, "dropout_rate": 0.0, "train.steps": 1}
    arguments = ["--sweep=seed=0,1", f"--init_from={finished}"]
    train_it(corpus, tmp_path / "sweep", still, *arguments)
    source = load_trained(finished)
    for trained in load_all(tmp_path / "sweep"):
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6),
            trained.model.params,
            source.params,
        )


@pytest.mark.parametrize(
    ("settings", "arguments", "told"),
    [
        (
            {"decoder.hidden_size": 8},
            ["--init_from={finished}"],
            "--init_from={finished}: another model: decoder.",
        ),
        ({"latent.kind": "vmf"}, ["--init_from={finished}"], "] there and absent here"),
        ({}, ["--init_from={new}"], "{new}: no run here"),
        ({}, ["--init_from={workdir}"], "is --workdir itself"),
        ({"baselines": "none"}, ["--init_from={finished}"], "not with config.baselines=('none',)"),
        ({}, ["--init_from=gs://bucket/run"], "a URL, allowed: a folder"),
    ],
)
def test_what_cannot_be_started_from_is_told(corpus, finished, tmp_path, settings, arguments, told):
    names = {"finished": finished, "workdir": tmp_path / "run", "new": tmp_path / "new"}
    given = [argument.format(**names) for argument in arguments]
    message = refusal(corpus, tmp_path / "run", settings, *given)
    assert told.format(**names) in message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


def test_another_vocabulary_is_told(corpus, finished, tmp_path):
    text = (corpus / "train.txt").read_text(encoding="utf-8")
    other = write_text_corpus(tmp_path / "other")
    for split in ("train", "valid", "test"):
        path = other / f"{split}.txt"
        path.write_text(path.read_text(encoding="utf-8").replace("sheep", "goat"), encoding="utf-8")
    assert "sheep" in text
    message = refusal(other, tmp_path / "run", {}, f"--init_from={finished}")
    assert "another vocabulary: word " in message
    assert "is 'sheep' there and 'goat' here" in message


# TensorBoard's writer takes what is before a colon for a kind of store.
@pytest.mark.parametrize(
    ("name", "place", "sweep"),
    [
        ("s3:a b#%20{x}'é~&", "s3:a b#%20{x}'é~&", []),
        pytest.param("~/a:b", "home/a:b", ["--sweep=seed=0,1"], marks=pytest.mark.slow),
    ],
)
def test_everything_works_in_a_folder_with_a_strange_name(
    corpus, tmp_path, monkeypatch, capsys, name, place, sweep
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    steps = {"train.steps": 1, "train.log_every": 1}
    train_it(corpus, name, steps, *sweep)
    train_it(corpus, name, steps | {"train.steps": 2}, *sweep)
    replica = ["--replica=seed=1"] if sweep else []
    capsys.readouterr()
    evaluate.main([f"--workdir={name}", "--json", *replica])
    generate.main([f"--workdir={name}", "--label=1", "--count=1", *replica])
    told = capsys.readouterr().out.splitlines()
    assert json.loads(told[0])["step"] in (1, 2)
    assert len(told) == 2
    found = {path.name for path in (tmp_path / place).rglob("*") if path.is_file()}
    assert {"config.json", "metrics.jsonl", "files.json"} <= found
    assert any(name.startswith("events.out.tfevents") for name in found)
    assert [path.name for path in tmp_path.iterdir()] == [Path(place).parts[0]]
