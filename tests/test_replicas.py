"""Steps of stacked states: every replica takes its own, in turn and at once, in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import WORDS, quick_to_compile, sentences, small_config

from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.training.chunks import make_call
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.replicas import in_turn, side_by_side, stack, take
from spherical_vae.training.step import hyperparameters, init_state, make_train_step

STEPS = 20
# Products over an axis more are summed in another order; 20 steps of SGD let 1e-7 grow.
TOLERANCE = 5e-6
# Seed, learning rate, concentration, KL weight, dropout rate: replicas that share nothing.
VALUES = ((0, 0.1, 6.0, 1.0, 0.3), (7, 0.2, 12.0, 0.5, 0.0), (2, 0.05, 3.0, 0.0, 0.6))


def hypers_at(replica, step):
    seed, rate, concentration, weight, dropout = VALUES[replica]
    config = small_config(seed=seed, dropout_rate=dropout, latent__concentration=concentration)
    return hyperparameters(config, rate / (1 + step / 10), weight)


@pytest.fixture(scope="module", autouse=True)
def _quick_to_compile():
    with quick_to_compile():
        yield


@pytest.fixture(scope="module")
def model_step():
    # Plain SGD: Adam divides by a root of squares, which makes much of little where they are tiny.
    config = small_config(optimizer__name="sgd", decoder__inputless=False)
    model = build_vae(config, WORDS)
    optimizer = build_optimizer(config.optimizer)
    states = [init_state(init_params(model, seed), optimizer, config) for seed, *_ in VALUES]
    return make_call(make_train_step(model, optimizer, config)), states


@pytest.fixture(scope="module")
def step_alone(model_step):
    return jax.jit(model_step[0])


@pytest.fixture(scope="module")
def batches():
    return [sentences(rows=4, seed=seed) for seed in range(STEPS)]


@pytest.fixture(scope="module")
def alone(model_step, step_alone, batches):
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
def test_replicas_train_as_single_runs_and_stop_each_by_itself(model_step, batches, alone, way):
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
        assert_close(take(together, replica), alone[replica][last], tolerance)
    assert int(together.step[1]) == 8
    assert_close(take(together, 1), middle, 0)


def test_the_tolerance_would_show_other_noise(model_step, step_alone, batches, alone):
    state = model_step[1][0]
    for i, batch in enumerate(batches):
        state = step_alone(state, batch, hypers_at(0, i)._replace(seed=np.uint32(1)))
    differences = jax.tree.map(
        lambda a, b: jnp.abs(a - b).max(initial=0), state.params, alone[0][-1].params
    )
    assert max(jax.tree.leaves(differences)) > 1000 * TOLERANCE
