"""Shared layers: the recurrence against Flax's own, dropout with a traced rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from spherical_vae.layers import Dropout, LSTMLayer, bag_vector, fan_in_uniform
from spherical_vae.recurrence import zero_state


def test_lstm_equals_flax_rnn():
    steps, rows, features, hidden = 6, 3, 4, 5
    inputs = jax.random.normal(jax.random.key(0), (steps, rows, features))
    layer = LSTMLayer(hidden)
    start = zero_state(rows, hidden)
    variables = layer.init(jax.random.key(1), inputs, jnp.zeros((rows, 0)), start, steps)
    final, states = layer.apply(variables, inputs, jnp.zeros((rows, 0)), start, steps)

    ours = variables["params"]
    cell: dict = {}
    for i, gate in enumerate("ifgo"):
        part = slice(i * hidden, (i + 1) * hidden)
        cell[f"i{gate}"] = {"kernel": ours["input_kernel"][:, part]}
        cell[f"h{gate}"] = {
            "kernel": ours["recurrent_kernel"][:, part],
            "bias": ours["constant"]["bias"][part],
        }
    oracle = nn.RNN(nn.OptimizedLSTMCell(hidden), time_major=True, return_carry=True)
    carry, expected = oracle.apply({"params": {"cell": cell}}, inputs)
    np.testing.assert_allclose(states, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(final[0], carry[0], rtol=2e-6, atol=2e-6)


def test_lstm_constant_input_is_an_input_repeated():
    inputs = jax.random.normal(jax.random.key(0), (5, 3, 4))
    constant = jax.random.normal(jax.random.key(1), (3, 2))
    layer = LSTMLayer(6)
    variables = layer.init(jax.random.key(2), inputs, constant, zero_state(3, 6), 5)
    _, states = layer.apply(variables, inputs, constant, zero_state(3, 6), 5)
    joined = jnp.concatenate([inputs, jnp.broadcast_to(constant, (5, 3, 2))], axis=2)
    params = dict(variables["params"])
    kernels = [params["input_kernel"], params["constant"]["kernel"]]
    params["input_kernel"] = jnp.concatenate(kernels)
    params["constant"] = params["constant"] | {"kernel": jnp.zeros((0, 24))}
    _, expected = layer.apply({"params": params}, joined, jnp.zeros((3, 0)), zero_state(3, 6), 5)
    np.testing.assert_allclose(states, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_dropout_keeps_the_mean(rate):
    values = jnp.ones((200, 500))
    drop = jax.jit(lambda key, *args: Dropout().apply({}, *args, rngs={"dropout": key}))
    dropped = drop(jax.random.key(3), values, jnp.float32(rate))
    kept = 1 - rate
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / kept] if rate else [1], rtol=1e-6)
    # Five standard errors: fails by chance once in 1.7 million seeds.
    tolerance = 5 * np.sqrt(rate / kept / values.size) + 1e-6
    assert abs(float(dropped.mean()) - 1) <= tolerance


def test_empty_kernels_initialise():
    assert fan_in_uniform()(jax.random.key(0), (0, 4)).shape == (0, 4)


def test_bag_vector_adds_repeated_ids():
    bag = bag_vector(jnp.array([[3, 1, 3, 0]]), jnp.array([[1.0, 2.0, 4.0, 0.0]]), 5)
    np.testing.assert_array_equal(bag, [[0, 2, 0, 5, 0]])
