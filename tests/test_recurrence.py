"""The LSTM's recurrence: the gradient of the plain scan, in every way of computing it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spherical_vae.models.compute import FLOAT32, Compute
from spherical_vae.models.recurrence import Kernels, recurrence

pytestmark = pytest.mark.optimized

STEPS, ROWS, HIDDEN, FED = 7, 3, 5, 4


def plain(kernels, inputs, constant, initial, mask=None):
    """The textbook's LSTM, one step after the other."""

    def advance(state, fed):
        fed_back = state[1] if mask is None else state[1] * mask
        total = constant + fed_back @ kernels.recurrent
        if fed is not None:
            total = total + fed @ kernels.input
        into, forget, candidate, out = jnp.split(total, 4, axis=1)
        cell = jax.nn.sigmoid(forget) * state[0] + jax.nn.sigmoid(into) * jnp.tanh(candidate)
        state = (cell, jax.nn.sigmoid(out) * jnp.tanh(cell))
        return state, state[1]

    return jax.lax.scan(advance, initial, inputs, length=STEPS)


def arguments(fed):
    keys = jax.random.split(jax.random.key(4), 6)
    draw = jax.random.normal
    return (
        Kernels(
            draw(keys[0], (FED, 4 * HIDDEN)) if fed else None, draw(keys[1], (HIDDEN, 4 * HIDDEN))
        ),
        draw(keys[2], (STEPS, ROWS, FED)) if fed else None,
        draw(keys[3], (ROWS, 4 * HIDDEN)),
        (draw(keys[4], (ROWS, HIDDEN)), draw(keys[5], (ROWS, HIDDEN))),
    )


def total(run, *args):
    """A number in which every output has a weight of its own."""
    final, states = run(*args)
    weights = jnp.cos(jnp.arange(states.size, dtype=jnp.float32)).reshape(states.shape)
    return (states * weights).sum() + (jnp.stack(final) * weights[:2]).sum()


def close(tolerance):
    return lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("fed", [True, False], ids=["fed", "constant alone"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole state", "masked state"])
def test_values_and_gradient_are_those_of_the_plain_scan(fed, recompute, masked):
    args = arguments(fed)
    if masked:
        kept = jax.random.bernoulli(jax.random.key(5), 0.6, (ROWS, HIDDEN))
        args = (*args, jnp.where(kept, 1 / 0.6, 0.0))
    compute = Compute(recompute_gates=recompute)

    def run(*args):
        return recurrence(compute, STEPS, *args)

    places = (0, 1, 2, 3)
    jax.tree.map(close(2e-5), run(*args), plain(*args))
    expected = jax.value_and_grad(lambda *a: total(plain, *a), argnums=places)(*args)
    found = jax.value_and_grad(lambda *a: total(run, *a), argnums=places)(*args)
    jax.tree.map(close(2e-5), found, expected)
    # Replicas of a sweep are a vmap of the step.
    twice = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), args)
    mapped = jax.vmap(jax.grad(lambda *a: total(run, *a)))(*twice)
    jax.tree.map(lambda a, b: close(2e-5)(a[0], b), mapped, expected[1][0])


@pytest.mark.thorough
@pytest.mark.parametrize("recompute", [False, True])
def test_groups_of_rows_may_be_fed_the_same(recompute):
    kernels, inputs, *rest = arguments(fed=True)
    few = inputs[:, :1]
    compute = Compute(recompute_gates=recompute)

    def repeated(kernels, few, *rest):
        return plain(kernels, jnp.tile(few, (1, ROWS, 1)), *rest)

    args = kernels, few, *rest
    places = (0, 1, 2, 3)
    expected = jax.value_and_grad(lambda *a: total(repeated, *a), argnums=places)(*args)
    found = jax.value_and_grad(
        lambda *a: total(lambda *b: recurrence(compute, STEPS, *b), *a), argnums=places
    )(*args)
    jax.tree.map(close(2e-5), found, expected)


def test_recomputed_gates_are_not_kept():
    """What stays for the backward pass is linear in T; its factor is what the option is for."""

    def kept(compute):
        args = arguments(fed=True)
        _, pull = jax.vjp(lambda *a: recurrence(compute, STEPS, *a), *args)
        return sum(leaf.size for leaf in jax.tree.leaves(pull))

    saved = kept(FLOAT32) - kept(Compute(recompute_gates=True))
    assert saved == STEPS * ROWS * 4 * HIDDEN


def test_bfloat16_rounds_the_factors_and_nothing_else():
    args = arguments(fed=True)
    wide = recurrence(FLOAT32, STEPS, *args)
    narrow = recurrence(Compute("bfloat16"), STEPS, *args)
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("float32")}
    gap = np.abs(wide[1] - narrow[1]).max()
    assert 1e-4 < gap < 0.1
    rounded = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(jnp.float32), args)
    first = plain(*rounded)[1][0]
    # The first step's factors are the arguments themselves; the constant is no factor.
    exact = plain(rounded[0], rounded[1], args[2], (args[3][0], rounded[3][1]))[1][0]
    np.testing.assert_allclose(narrow[1][0], exact, rtol=1e-5, atol=1e-5)
    assert np.abs(first - narrow[1][0]).max() > 1e-4
