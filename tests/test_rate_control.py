"""Whole trainings whose KL is held at a target, or begins with an autoencoder phase."""

import dataclasses
import os
import signal

import jax
import numpy as np
import pytest
from small_models import Programs, small_config, small_corpus
from small_run import checkpoint_contents, metrics_without_times

from spherical_vae.config.sweeps import build_replicas, program_config, settings_by_name
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs import trained_model as opening
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.runs.progress import Progress
from spherical_vae.runs.run_directory import open_run
from spherical_vae.runs.trained_model import load_trained
from spherical_vae.system.errors import Interrupted, UserError
from spherical_vae.training.calls import batches_from, stack, take
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.schedules import Timetable
from spherical_vae.training.step import init_state, make_train_step, with_first_decoder
from spherical_vae.training.supervisor import Supervisor
from spherical_vae.training.trainer import STATE, train_model, train_replicas

CORPUS = small_corpus(examples=40)
PER_EPOCH = 10
# A phase of 20 steps of 34, with what the reset must see to: average, multiplier, moments.
PHASE = 2 * PER_EPOCH
SETTINGS = {
    "rate__autoencoder_epochs": 2,
    "train__steps": PHASE + 14,
    "train__log_every": 1,
    "train__evaluate_every": 10,
    "data__buckets": 1,
    "encoder__kind": "bag_of_words",
    # The phase knows nothing of the latent, and this one compiles soonest of all with a code.
    "latent__kind": "gaussian",
    "rate__target_nats": 1.0,
    "optimizer__average_decay": 0.9,
    "decoder__tied_embeddings": True,
    "decoder__inputless": False,
    "dropout_mask": "sentence",
    "state_dropout_rate": 0.1,
    "word_dropout_rate": 0.1,
}


def train(workdir, config, corpus=CORPUS, programs=None):
    with open_run(workdir, config) as run:
        return train_model(config, corpus, run, **(programs.options() if programs else {}))


def train_sweep(workdir, config, settings, programs=None):
    replicas = build_replicas(config, settings)
    with open_run(workdir, config, settings_by_name(replicas)) as run:
        options = programs.options() if programs else {}
        return train_replicas(config, replicas, CORPUS, run, **options)


@pytest.fixture(scope="module")
def programs():
    """Those of `SETTINGS`, however long training is."""
    return Programs(small_config(**SETTINGS), CORPUS)


def stop_after(monkeypatch, step):
    """Sends this process a signal when the train record of a step is written."""
    write, sent = MetricsLog.write, []

    def write_and_signal(self, at, split, **values):
        write(self, at, split, **values)
        # Once: every replica writes a record, and a second signal would end the process.
        if (at, split) == (step, "train") and not sent:
            sent.append(at)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(MetricsLog, "write", write_and_signal)


def interrupted(step, begin):
    """Begins a training that is stopped after a step."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(Interrupted):
            begin()


def target_corpus(seed):
    """400 examples to train on, and as many others for validation: its mean is known to 3%."""
    corpus = small_corpus(examples=400, seed=seed)
    valid = small_corpus(examples=400, seed=seed + 1).splits["train"]
    return dataclasses.replace(corpus, splits=corpus.splits | {"valid": valid})


@pytest.mark.thorough
@pytest.mark.parametrize(
    "latent", ["gaussian", pytest.param("learned_vmf", marks=pytest.mark.slow)]
)
def test_the_target_is_met_within_5_percent_on_validation(tmp_path, latent):
    corpus, target = target_corpus(0), 1.5
    config = small_config(
        latent__kind=latent,
        # Held in training with dropout, and met without it.
        dropout_rate=0.3,
        train__batch_size=20,
        train__epochs=80,
        train__evaluate_every=1600,
        train__log_every=100,
        train__steps_per_call=20,
        data__buckets=1,
        encoder__kind="bag_of_words",
        decoder__kind="bag_of_words",
        optimizer__learning_rate=0.01,
        optimizer__average_decay=0.99,
        rate__target_nats=target,
        rate__target_step=0.02,
    )
    trained = train(tmp_path, config, corpus)
    measures = Evaluator(trained.model, config, corpus, trained.mesh)
    found = measures.nats(trained.params, "valid", jax.random.key(0)).kl_nats.mean()
    assert found == pytest.approx(target, rel=0.05)
    # It is not there by itself: the first steps are elsewhere.
    records = [r for r in metrics_without_times(tmp_path) if r["split"] == "train"]
    assert abs(records[0]["kl_nats"] - target) > 0.2 * target
    assert 0 < records[-1]["kl_multiplier"] != records[0]["kl_multiplier"] > 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, programs):
    workdir = tmp_path_factory.mktemp("rate") / "run"
    return workdir, train(workdir, small_config(**SETTINGS), programs=programs)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, programs):
    """A run that was stopped before, at and after the reset; its states of the last two stops."""
    workdir = tmp_path_factory.mktemp("rate") / "run"
    config = small_config(**SETTINGS)
    for step in (PHASE - 3, PHASE, PHASE + 1):
        interrupted(step, lambda: train(workdir, config, programs=programs))
    model = build_vae(config, len(CORPUS.vocabulary))
    initial = init_state(init_params(model, 0), build_optimizer(config.optimizer), config)
    store = CheckpointStore(workdir / "checkpoints", read_only=True)
    states = [take(store.restore(at, STATE, stack([initial])), 0) for at in (PHASE, PHASE + 1)]
    store.close()
    train(workdir, config, programs=programs)
    return workdir, *states


@pytest.mark.thorough
def test_stops_around_the_reset_change_nothing(uninterrupted, resumed):
    assert metrics_without_times(resumed[0]) == metrics_without_times(uninterrupted[0])
    assert checkpoint_contents(resumed[0]) == checkpoint_contents(uninterrupted[0])


def test_what_is_measured_and_opened_is_the_average(uninterrupted, monkeypatch):
    """Evaluation and generation open a run by `load_trained`."""
    workdir, trained = uninterrupted
    monkeypatch.setattr(opening, "load_corpus", lambda settings: CORPUS)
    contents = checkpoint_contents(workdir)
    for model in (trained, load_trained(workdir)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            value = np.asarray(leaf).tobytes()
            assert value == contents[max(contents)][f"evaluated.{name}"]
            for arrays in contents.values():
                assert leaf.size == 0 or value != arrays[f"state.params.{name}"], name
            if model.step in contents:
                assert value == contents[model.step][f"state.average.{name}"]
    measures = Evaluator(trained.model, trained.config, CORPUS, trained.mesh)
    key = root_key(trained.config.seed, Purpose.SELECT)
    found = measures.nats(trained.params, "valid", key).nll_nats.mean()
    (recorded,) = (
        record["nll_nats"]
        for record in metrics_without_times(workdir)
        if (record["step"], record["split"]) == (trained.step, "valid")
    )
    assert found == pytest.approx(recorded, rel=1e-5)


def test_the_phase_weighs_no_kl_and_counts_no_evaluation(uninterrupted):
    workdir, trained = uninterrupted
    records = metrics_without_times(workdir)
    weights = {r["step"]: r["kl_weight"] for r in records if r["split"] == "train"}
    assert weights == {step: float(step > PHASE) for step in range(1, PHASE + 15)}
    best = {r["step"]: r["best_step"] for r in records if r["split"] == "valid"}
    assert list(best) == [10, 20, 30, 34]
    assert [best[step] for step in (10, 20, 30)] == [-1, -1, 30]
    assert trained.step > PHASE


def supervisor_of(config):
    timetable = Timetable(config, 40)
    return Supervisor(config, timetable, Progress(0), MetricsLog(None)), timetable


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"schedule": "linear", "linear_epochs": 4.0}, np.repeat([0, 0, 0, 0.25, 0.5], PER_EPOCH)),
        ({"schedule": "cyclical", "cycles": 6}, [0] * 20 + [0, 0.4, 0.8, 1, 1] * 6),
        ({"schedule": "constant", "value": 0.5}, np.repeat([0, 0, 0.5, 0.5, 0.5], PER_EPOCH)),
    ],
)
def test_schedules_of_the_kl_weight_are_counted_from_the_end_of_the_phase(schedule, expected):
    settings = {f"kl_weight__{key}": value for key, value in schedule.items()}
    config = small_config(rate__autoencoder_epochs=2, train__epochs=5, **settings)
    supervisor, _ = supervisor_of(config)
    hypers = [supervisor.hyperparameters(step) for step in range(5 * PER_EPOCH)]
    np.testing.assert_allclose([h.kl_weight for h in hypers], expected, rtol=1e-6)
    assert [int(h.average_from) for h in hypers] == [0] * PHASE + [PHASE] * 3 * PER_EPOCH


@pytest.mark.thorough
def test_evaluations_of_the_phase_decide_nothing():
    config = small_config(
        rate__autoencoder_epochs=2,
        train__epochs=5,
        train__early_stopping=1,
        train__evaluate_every=7,
        train__log_every=1000,
        optimizer__schedule="plateau",
    )
    supervisor, timetable = supervisor_of(config)
    model = build_vae(config, len(CORPUS.vocabulary))
    measures = Evaluator(model, config, CORPUS)
    nats = measures.nats(init_params(model, 0), "valid", jax.random.key(0))
    for step in (5, PHASE - 1, PHASE):
        assert not supervisor.observe(step, nats, 0.0)
        assert supervisor.state == Progress(0, step=step)
        assert not supervisor.state.finished
    assert supervisor.observe(PHASE + 1, nats, 0.0)
    # No better: the rate is divided, and training is over.
    assert not supervisor.observe(PHASE + 2, nats, 0.0)
    assert supervisor.state.rate_divisor > 1
    assert supervisor.state.finished
    # No call of several steps may pass the reset.
    assert timetable.is_pause(PHASE)
    assert not timetable.is_checkpoint(PHASE)


@pytest.mark.thorough
def test_the_step_after_the_phase_is_that_of_a_new_decoder(resumed):
    """Against the same step put together by hand, from the checkpoint at the end of the phase."""
    _, state, found = resumed
    config = small_config(**SETTINGS)
    model = build_vae(config, len(CORPUS.vocabulary))
    optimizer = build_optimizer(config.optimizer)
    params = init_params(model, config.seed, CORPUS.vocabulary.train_counts)
    assert float(state.log_multiplier) == 0
    gaps = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), state.params["decoder"], params["decoder"]
    )
    assert min(jax.tree.leaves(gaps)) > 1e-3
    supervisor, timetable = supervisor_of(config)
    batch = jax.tree.map(jax.numpy.asarray, next(batches_from(CORPUS, config, timetable, PHASE)))
    take_step = jax.jit(make_train_step(model, optimizer, config))
    expected = take_step(
        with_first_decoder(state, optimizer), batch, supervisor.hyperparameters(PHASE)
    )
    for name in ("params", "average", "opt_state", "log_multiplier"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            getattr(found, name),
            getattr(expected, name),
        )


@pytest.mark.slow
def test_replicas_are_reset_as_single_runs(programs, tmp_path):
    """Also the one of which no word is dropped: its single run has no part that would."""
    config = small_config(**SETTINGS | {"word_dropout_rate": 0.0})
    values = [(0, 0.0), (3, 0.4)]
    settings = [{"seed": seed, "word_dropout_rate": rate} for seed, rate in values]
    shared = Programs(program_config(config, build_replicas(config, settings)), CORPUS)
    whole = train_sweep(tmp_path / "whole", config, settings, shared)
    interrupted(PHASE, lambda: train_sweep(tmp_path / "resumed", config, settings, shared))
    train_sweep(tmp_path / "resumed", config, settings, shared)
    mine, theirs = (checkpoint_contents(tmp_path / name) for name in ("resumed", "whole"))
    assert mine == theirs
    for number, (seed, rate) in enumerate(values):
        single = small_config(**SETTINGS | {"seed": seed, "word_dropout_rate": rate})
        expected = train(tmp_path / str(number), single, programs=programs if rate else None)
        assert whole[number].model.step == expected.step
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
            whole[number].model.params,
            expected.params,
        )


def test_a_phase_as_long_as_training_is_refused(tmp_path):
    config = small_config(**SETTINGS | {"train__steps": PHASE})
    with pytest.raises(UserError, match=r"autoencoder_epochs: 2 given, allowed: fewer than the 20"):
        train(tmp_path / "run", config)
    with pytest.raises(UserError, match=r"autoencoder_epochs: 2 given, allowed: fewer than the 20"):
        train_sweep(tmp_path / "sweep", config, [{"seed": 0}])
