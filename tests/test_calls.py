"""Steps that share a call, by one after the other or by several replicas, are the steps alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import WORDS, Programs, sentences, small_config, small_corpus
from small_run import metrics_without_times

from spherical_vae.data.batch import Batch
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.runs.run_directory import open_run
from spherical_vae.training.calls import (
    group_into_calls,
    in_turn,
    multi_step,
    side_by_side,
    stack,
    steps_of,
    take,
)
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import hyperparameters, init_state, make_train_step
from spherical_vae.training.trainer import train_model

STEPS = 20
# Products over an axis more are summed in another order; 20 steps of SGD let 1e-7 grow.
TOLERANCE = 5e-6
# Seed, learning rate, concentration, KL weight, dropout rate: replicas that share nothing.
VALUES = ((0, 0.1, 6.0, 1.0, 0.3), (7, 0.2, 12.0, 0.5, 0.0), (2, 0.05, 3.0, 0.0, 0.6))
CORPUS = small_corpus(examples=46)
TRAINING = {
    "train__steps": 24,
    "train__log_every": 7,
    "train__checkpoint_every": 9,
    "optimizer__name": "sgd",
    "optimizer__learning_rate": 0.5,
    "encoder__kind": "bag_of_words",
    "latent__kind": "gaussian",
    "dropout_rate": 0.3,
    "data__buckets": 2,
}


def hypers_at(replica, step):
    seed, rate, concentration, weight, dropout = VALUES[replica]
    config = small_config(seed=seed, dropout_rate=dropout, latent__concentration=concentration)
    return hyperparameters(config, rate / (1 + step / 10), weight)


@pytest.fixture(scope="module")
def model_step():
    # Plain SGD: Adam divides by a root of squares, which makes much of little where they are tiny.
    bags = {"encoder__kind": "bag_of_words", "decoder__kind": "bag_of_words"}
    config = small_config(optimizer__name="sgd", **bags)
    model = build_vae(config, WORDS)
    optimizer = build_optimizer(config.optimizer)
    states = [init_state(init_params(model, seed), optimizer, config) for seed, *_ in VALUES]
    return multi_step(make_train_step(model, optimizer, config)), states


@pytest.fixture(scope="module")
def step_alone(model_step):
    return jax.jit(model_step[0])


@pytest.fixture(scope="module")
def batches():
    return [sentences(rows=4, seed=seed) for seed in range(STEPS)]


@pytest.fixture(scope="module")
def single_runs(model_step, step_alone, batches):
    """The states of single runs after each step."""
    histories = []
    for replica, state in enumerate(model_step[1]):
        history = [state]
        for i, batch in enumerate(batches):
            history.append(step_alone(history[-1], batch, hypers_at(replica, i)))
        histories.append(history)
    return histories


def assert_close(found, wanted, tolerance):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("way", [in_turn, side_by_side])
def test_replicas_train_as_single_runs_and_stop_alone(model_step, batches, single_runs, way):
    step, states = model_step
    traces = []

    def counted(*args):
        traces.append(1)
        return way(step)(*args)

    call = jax.jit(counted)

    stopped_after = (STEPS, 8, STEPS)
    together = stack(states)
    for i, batch in enumerate(batches):
        hypers = stack([hypers_at(replica, i) for replica in range(len(VALUES))])
        together = call(together, batch, hypers, i < np.asarray(stopped_after))
        if i + 1 == 8:
            middle = take(together, 1)
    assert len(traces) == 1
    # In turn it is the very program of a single run, which on a CPU gives the very numbers.
    tolerance = 0 if way is in_turn else TOLERANCE
    for replica, last in enumerate(stopped_after):
        assert_close(take(together, replica), single_runs[replica][last], tolerance)
    assert int(together.step[1]) == 8
    assert_close(take(together, 1), middle, 0)


def test_the_tolerance_would_show_other_noise(model_step, step_alone, batches, single_runs):
    state = model_step[1][0]
    for i, batch in enumerate(batches):
        state = step_alone(state, batch, hypers_at(0, i)._replace(seed=np.uint32(1)))
    differences = jax.tree.map(
        lambda a, b: jnp.abs(a - b).max(initial=0), state.params, single_runs[0][-1].params
    )
    assert max(jax.tree.leaves(differences)) > 1000 * TOLERANCE


def batch_of(width, number):
    return Batch(np.full((3, width), number), np.ones((3, width)), np.zeros(3), np.full(3, number))


def grouped(widths, longest, pauses=(), step=0):
    given = [batch_of(width, i) for i, width in enumerate(widths)]
    return list(group_into_calls(given, step, longest, lambda done: done in pauses))


@pytest.mark.parametrize("longest", [1, 2, 3, 6, 8])
def test_calls_keep_order_shapes_and_pauses(longest):
    generator = np.random.default_rng(longest)
    widths = generator.choice([5, 7], 60, p=[0.8, 0.2])
    found = grouped(widths, longest, pauses=(20, 33))
    assert [
        (ids.shape[-1], int(number[0]))
        for call in found
        for ids, number in zip(
            call.ids.reshape(steps_of(call), 3, -1),
            call.index.reshape(steps_of(call), 3),
            strict=True,
        )
    ] == list(zip(widths, range(60), strict=True))
    ends = list(itertools.accumulate(map(steps_of, found)))
    assert {20, 33, 60} <= set(ends)
    # Few lengths, hence few programs.
    assert set(map(steps_of, found)) <= {1, 2, 4, longest}
    # What follows the end of any group is grouped the same when training starts there.
    for i, end in enumerate(ends[:-1]):
        again = grouped(widths[end:], longest, pauses=(20 - end, 33 - end))
        assert list(map(steps_of, again)) == list(map(steps_of, found[i + 1 :]))


def trained(workdir, steps_per_call, programs):
    config = small_config(**TRAINING, train__steps_per_call=steps_per_call)
    options, shapes = programs.options(), []

    def compile_step(function, **how):
        compiled = options["compile_step"](function, **how)

        def call(states, batches, hypers, active):
            shapes.append(batches.ids.shape)
            return compiled(states, batches, hypers, active)

        return call

    with open_run(workdir, config) as run:
        recording = options | {"compile_step": compile_step}
        params = train_model(config, CORPUS, run, **recording).params
    return params, metrics_without_times(workdir), shapes


@pytest.mark.thorough
def test_several_steps_a_call_train_alike(tmp_path):
    programs = Programs(small_config(**TRAINING), CORPUS)
    params, records, _ = trained(tmp_path / "one", 1, programs)
    together, together_records, shapes = trained(tmp_path / "four", 4, programs)
    assert any(len(shape) == 3 and shape[0] == 4 for shape in shapes)
    assert len({shape[-1] for shape in shapes}) == 2
    # To the bit on CPU, where these tests run; nothing is promised of other compilers' sums.
    for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert together_records == records
