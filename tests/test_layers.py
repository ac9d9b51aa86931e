"""Shared layers: the recurrence against Flax's own, dropout with a traced rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from spherical_vae.models.layers import (
    Dropout,
    LSTMLayer,
    SoftmaxWeights,
    bag_vector,
    dropout_mask,
    fan_in_uniform,
)
from spherical_vae.models.recurrence import zero_state


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


def drop(values, rate, shared_axis=None):
    apply = jax.jit(
        lambda *args: Dropout(shared_axis).apply({}, *args[:2], rngs={"dropout": args[2]})
    )
    return np.asarray(apply(values, jnp.float32(rate), jax.random.key(3)))


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("way", ["layer", "mask"])
def test_dropout_keeps_the_mean(rate, way):
    shape = (200, 500)
    if way == "layer":
        dropped = drop(jnp.ones(shape), rate)
    else:
        dropped = np.asarray(
            jax.jit(dropout_mask, static_argnums=1)(jax.random.key(3), shape, rate)
        )
    kept = 1 - rate
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / kept] if rate else [1], rtol=1e-6)
    # Five standard errors: fails by chance once in 1.7 million seeds.
    tolerance = 5 * np.sqrt(rate / kept / dropped.size) + 1e-6
    assert abs(float(dropped.mean()) - 1) <= tolerance


def test_a_shared_axis_has_one_mask():
    steps, rows, features = 6, 50, 40
    values = jax.random.normal(jax.random.key(1), (steps, rows, features))
    dropped = drop(values, 0.4, shared_axis=0)
    zero = dropped == 0
    np.testing.assert_array_equal(zero, np.broadcast_to(zero[0], zero.shape))
    np.testing.assert_allclose(dropped[~zero], np.asarray(values / 0.6)[~zero], rtol=1e-6)
    # Five standard errors of 2000 entries: fails by chance once in 1.7 million seeds.
    assert abs(zero[0].mean() - 0.4) < 5 * np.sqrt(0.24 / (rows * features))
    # Otherwise each step has a mask of its own: two agree on 52% of the entries.
    apart = drop(values, 0.4) == 0
    assert abs((apart[0] == apart[1]).mean() - 0.52) < 5 * np.sqrt(0.25 / (rows * features))


@pytest.mark.parametrize("shared_axis", [None, 0])
def test_there_is_no_dropout_in_evaluation(shared_axis):
    values = jax.random.normal(jax.random.key(1), (3, 4))
    # No key is asked for.
    np.testing.assert_array_equal(Dropout(shared_axis).apply({}, values, None), values)


@pytest.mark.parametrize("hidden_size", [6, 4], ids=["as embeddings", "projected"])
def test_tied_softmax_multiplies_by_the_transposed_embeddings(hidden_size):
    hidden = jax.random.normal(jax.random.key(0), (3, 2, hidden_size))
    embeddings = jax.random.normal(jax.random.key(1), (9, 6))
    layer = SoftmaxWeights(9, tied=True)
    params = layer.init(jax.random.key(2), hidden, embeddings)["params"]
    params["bias"] = jax.random.normal(jax.random.key(3), (9,))
    rows, kernel, bias = layer.apply({"params": params}, hidden, embeddings)
    expected = np.asarray(hidden, np.float64)
    assert ("projection" in params) == (hidden_size != 6)
    if "projection" in params:
        params["projection"]["bias"] = jax.random.normal(jax.random.key(4), (6,))
        rows, kernel, bias = layer.apply({"params": params}, hidden, embeddings)
        projection = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["projection"])
        expected = expected @ projection["kernel"] + projection["bias"]
    expected = expected @ np.asarray(embeddings, np.float64).T + np.asarray(params["bias"])
    np.testing.assert_allclose(rows @ kernel + bias[None, None], expected, rtol=1e-5, atol=1e-5)


def test_untied_softmax_is_a_dense_layer():
    hidden = jax.random.normal(jax.random.key(0), (3, 2, 4))
    layer, dense = SoftmaxWeights(9), nn.Dense(9, kernel_init=fan_in_uniform)
    variables = layer.init(jax.random.key(2), hidden, jnp.zeros((9, 0)))
    expected = dense.init(jax.random.key(2), hidden)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    rows, kernel, bias = layer.apply(variables, hidden, jnp.zeros((9, 0)))
    np.testing.assert_allclose(
        rows @ kernel + bias[None, None], dense.apply(expected, hidden), rtol=1e-5, atol=1e-6
    )


def test_empty_kernels_initialise():
    assert fan_in_uniform(jax.random.key(0), (0, 4)).shape == (0, 4)


def test_bag_vector_adds_repeated_ids():
    bag = bag_vector(jnp.array([[3, 1, 3, 0]]), jnp.array([[1.0, 2.0, 4.0, 0.0]]), 5)
    np.testing.assert_array_equal(bag, [[0, 2, 0, 5, 0]])
