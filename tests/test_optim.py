"""Schedules and decisions on the host, against values computed by hand."""

import json
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import small_config, small_corpus

from spherical_vae.config.sweeps import build_replicas, settings_by_name
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.runs.progress import Progress, from_json, to_json
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.errors import UserError
from spherical_vae.training.optimizer import averaging_weight, build_optimizer
from spherical_vae.training.schedules import (
    Timetable,
    after_validation,
    check_schedules,
    kl_weight,
    learning_rate,
)
from spherical_vae.training.supervisor import Supervisor
from spherical_vae.training.trainer import train_model, train_replicas


def optimizer_settings(**overrides):
    return small_config(
        **{f"optimizer__{key}": value for key, value in overrides.items()}
    ).optimizer


def check(steps, **overrides):
    """Checks the schedules of a training of so many steps."""
    config = small_config(train__steps=steps, **overrides)
    check_schedules(config, Timetable(config, 40))


def test_plateau_divides_whenever_validation_does_not_improve():
    settings = optimizer_settings(schedule="plateau", learning_rate=10.0, plateau_divisor=1.2)
    state = Progress(corpus=0)
    for step, value in enumerate([5.0, 4.0, 4.0, 4.5, 3.0]):
        state = after_validation(state, value, step, settings)
    assert state.best == 3.0
    assert state.best_step == 4
    assert state.stale == 0
    assert learning_rate(settings, 7, 100, state.rate_divisor) == pytest.approx(10 / 1.2**2)


def test_a_value_that_is_not_finite_is_no_improvement():
    settings = optimizer_settings(schedule="plateau")
    state = after_validation(Progress(corpus=0), float("nan"), 3, settings)
    assert (state.best_step, state.stale) == (-1, 1)


def test_validation_does_not_touch_the_rate_of_other_schedules():
    settings = optimizer_settings(schedule="constant", learning_rate=0.5)
    state = after_validation(Progress(corpus=0, best=1.0, best_step=0), 2.0, 1, settings)
    assert state.stale == 1
    assert learning_rate(settings, 5, 10, state.rate_divisor) == 0.5


def test_progress_comes_back_from_json():
    states = [Progress(corpus=2**60), Progress(3, 9, 40, True, 4, 1.5, 6, 2, 1.2)]
    assert from_json(json.loads(json.dumps(to_json(states)))) == states


def test_a_warmup_that_never_ends_is_refused():
    check(10, optimizer__warmup_steps=9)
    with pytest.raises(UserError, match=r"warmup_steps: 10 given, allowed: less than the 10 steps"):
        check(10, optimizer__warmup_steps=10)


def test_cosine_ends_at_its_final_fraction_after_warming_up():
    settings = optimizer_settings(
        schedule="cosine", learning_rate=2.0, final_fraction=0.1, warmup_steps=4
    )
    rates = [learning_rate(settings, step, 104) for step in range(105)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert rates[54] == pytest.approx(1.1)
    assert rates[104] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", {0: 1.0, 10: 1.0, 40: 1.0}),
        ("linear", {0: 0.0, 5: 0.25, 20: 1.0, 40: 1.0}),
        # sigmoid(epoch / 2 - 5), as PAPER.md says of the authors' code.
        ("sigmoid", {0: 0.0066929, 10: 0.5, 20: 0.9933071}),
    ],
)
def test_kl_weight(schedule, expected):
    settings = small_config(kl_weight__schedule=schedule).kl_weight
    for epoch, weight in expected.items():
        assert kl_weight(settings, epoch, 7 * epoch, 700) == pytest.approx(weight, rel=1e-5)
    settings.sigmoid_shift = 1e6
    assert np.isfinite(kl_weight(settings, 3, 21, 700))
    settings.sigmoid_shift = 5.0
    settings.value = 0.2
    weight = 0.2 * expected.get(20, 1.0)
    assert kl_weight(settings, 20, 140, 700) == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize(
    ("cycles", "rising_fraction", "steps", "expected"),
    [
        (2, 0.5, 16, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2),
        (2, 1.0, 8, [0, 0.25, 0.5, 0.75] * 2),
        (1, 0.25, 8, [0, 0.5, 1, 1, 1, 1, 1, 1]),
        (4, 0.5, 8, [0, 1] * 4),
        # Two cycles of three and a half steps.
        (2, 0.5, 7, [0, 4 / 7, 1, 1, 2 / 7, 6 / 7, 1]),
    ],
)
def test_cyclical_kl_weight(cycles, rising_fraction, steps, expected):
    settings = small_config(kl_weight__schedule="cyclical").kl_weight
    settings.cycles, settings.rising_fraction = cycles, rising_fraction
    # Whatever the epoch.
    weights = [kl_weight(settings, step % 3, step, steps) for step in range(steps)]
    assert weights == pytest.approx(expected, rel=1e-12)
    settings.value = 0.2
    weights = [kl_weight(settings, 0, step, steps) for step in range(steps)]
    assert weights == pytest.approx(0.2 * np.array(expected), rel=1e-12)


@pytest.mark.parametrize("steps", [8, 39, 49, 1000, 12345])
def test_cyclical_kl_weight_is_that_of_the_paper_where_cycles_are_whole_steps(steps):
    settings = small_config(kl_weight__schedule="cyclical").kl_weight
    total = steps * settings.cycles
    # As Fu et al. (2019) write it, t from 1.
    for t in range(1, total + 1):
        tau = ((t - 1) % math.ceil(total / settings.cycles)) / (total / settings.cycles)
        expected = tau / 0.5 if tau <= 0.5 else 1.0
        assert kl_weight(settings, 0, t - 1, total) == pytest.approx(expected, rel=1e-12)


def test_cycles_of_less_than_two_steps_are_refused():
    check(10, kl_weight__schedule="cyclical", kl_weight__cycles=5)
    with pytest.raises(UserError, match=r"cycles: 5 given, allowed: at most half of the 9 steps"):
        check(9, kl_weight__schedule="cyclical", kl_weight__cycles=5)
    check(9, kl_weight__schedule="constant", kl_weight__cycles=5)


def test_a_weight_that_rises_after_the_end_of_training_is_refused():
    check(11, kl_weight__schedule="linear")
    with pytest.raises(UserError, match=r"more than one epoch, 10 steps"):
        check(10, kl_weight__schedule="linear")


def test_the_weight_of_each_step_and_the_refusal_reach_training(tmp_path):
    corpus = small_corpus(examples=40)
    settings = {"kl_weight__schedule": "cyclical", "train__epochs": 2, "train__batch_size": 4}
    config = small_config(**settings, kl_weight__cycles=5)
    timetable = Timetable(config, 40)
    host = Supervisor(config, timetable, Progress(0), MetricsLog(None))
    weights = [float(host.hyperparameters(step).kl_weight) for step in range(20)]
    # Two epochs of ten steps, in five cycles of four.
    assert weights == [0, 0.5, 1, 1] * 5

    config.kl_weight.cycles = 11
    with (
        open_run(tmp_path / "run", config) as run,
        pytest.raises(UserError, match="at most half of the 20 steps of training"),
    ):
        train_model(config, corpus, run)
    config.kl_weight.cycles = 5
    replicas = build_replicas(config, [{"kl_weight.cycles": 5}, {"kl_weight.cycles": 11}])
    with (
        open_run(tmp_path / "sweep", config, settings_by_name(replicas)) as run,
        pytest.raises(UserError, match="cycles: 11 given"),
    ):
        train_replicas(config, replicas, corpus, run)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_an_average_forgets_its_start_and_then_keeps_its_decay(decay):
    steps = np.array([0, 1, 10, 80, 10**6, 2**31 - 1])
    found = [float(averaging_weight(decay, jnp.int32(step))) for step in steps]
    np.testing.assert_allclose(found, np.maximum(1 - decay, 9 / (10.0 + steps)), rtol=1e-4)
    assert found[0] == pytest.approx(0.9)
    # What is left of the initial parameters, after a thousandth of 1 / (1 - 0.9999) steps.
    left = np.prod([1 - float(averaging_weight(decay, jnp.int32(step))) for step in range(10)])
    assert left < 1e-3


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_directions_equal_optax_after_the_learning_rate(name):
    settings = optimizer_settings(name=name, clip_norm=0.25)
    if name == "adamw":
        settings.weight_decay = 0.1
    optimizers = {
        "sgd": optax.sgd(0.3),
        "adam": optax.adam(0.3),
        "adamw": optax.adamw(0.3, weight_decay=0.1, mask={"kernel": True, "bias": False}),
    }
    reference = optax.chain(optax.clip_by_global_norm(0.25), optimizers[name])
    params = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}
    gradients = {"kernel": jnp.array([[4.0, 0.5]]), "bias": jnp.array([-1.0])}
    ours = build_optimizer(settings)
    state, expected_state = ours.init(params), reference.init(params)
    for _ in range(3):
        updates, state = ours.update(gradients, state, params)
        expected, expected_state = reference.update(gradients, expected_state, params)
        for key in params:
            np.testing.assert_allclose(-0.3 * updates[key], expected[key], rtol=1e-5)


def test_plain_sgd_without_clipping_is_the_gradient():
    optimizer = build_optimizer(optimizer_settings(name="sgd", clip_norm=0.0))
    gradients = {"a": jnp.array([4.0, 0.5])}
    updates, _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    np.testing.assert_array_equal(updates["a"], gradients["a"])
