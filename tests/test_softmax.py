"""The softmax at given words: JAX's own in value and gradient, whole or in blocks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spherical_vae.models.compute import FLOAT32, Compute
from spherical_vae.models.softmax import target_log_probs

pytestmark = pytest.mark.optimized

STEPS, ROWS, HIDDEN, WORDS = 7, 3, 5, 11


def arguments():
    keys = jax.random.split(jax.random.key(0), 4)
    return (
        jax.random.normal(keys[0], (STEPS, ROWS, HIDDEN)),
        jax.random.normal(keys[1], (HIDDEN, WORDS)),
        jax.random.normal(keys[2], (WORDS,)),
        jax.random.randint(keys[3], (STEPS, ROWS), 0, WORDS),
    )


def weighted(scores):
    """A number in which every score has a weight of its own; some have none, as pads."""
    return (scores * jnp.round(3 * jnp.cos(jnp.arange(scores.size))).reshape(scores.shape)).sum()


# 100 logits are three steps of 33: two blocks of them, and one that is not full.
@pytest.mark.parametrize("logits_at_once", [2**26, 100, 1])
def test_value_and_gradient_are_those_of_log_softmax(logits_at_once):
    *factors, targets = arguments()
    compute = Compute(logits_at_once=logits_at_once)

    def ours(*factors):
        return weighted(target_log_probs(compute, *factors, targets))

    def plain(hidden, kernel, bias):
        logits = jax.nn.log_softmax(hidden @ kernel + bias[None, None])
        return weighted(jnp.take_along_axis(logits, targets[..., None], axis=2)[..., 0])

    found = jax.jit(jax.value_and_grad(ours, argnums=(0, 1, 2)))(*factors)
    expected = jax.value_and_grad(plain, argnums=(0, 1, 2))(*factors)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected
    )


@pytest.mark.parametrize("logits_at_once", [2**26, 100, 1])
@pytest.mark.parametrize("last", [STEPS, 4, 0])
def test_wanted_scores_are_the_same_in_value_and_gradient(logits_at_once, last):
    *factors, targets = arguments()
    wanted = (jnp.arange(STEPS)[:, None] < last) & (jnp.arange(ROWS)[None] != 1)
    compute = Compute(logits_at_once=logits_at_once)

    def total(wanted_or_all, *factors):
        scores = target_log_probs(compute, *factors, targets, wanted_or_all)
        return weighted(jnp.where(wanted, scores, 0.0))

    derive = jax.jit(jax.value_and_grad(total, argnums=(1, 2, 3)))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        derive(wanted, *factors),
        derive(None, *factors),
    )


def test_steps_after_the_last_wanted_one_are_not_scored():
    *factors, targets = arguments()
    wanted = jnp.broadcast_to(jnp.arange(STEPS)[:, None] < 2, targets.shape)
    scores = jax.jit(partial(target_log_probs, Compute(logits_at_once=1)))(
        *factors, targets, wanted
    )
    assert (scores[:2] < 0).all()
    np.testing.assert_array_equal(scores[2:], 0)


def test_no_more_logits_are_held_than_allowed():
    *factors, targets = arguments()

    def largest(logits_at_once):
        compute = Compute(logits_at_once=logits_at_once)
        step = jax.grad(lambda *f: target_log_probs(compute, *f, targets).sum(), argnums=(0, 1, 2))
        shapes = [
            variable.aval.shape
            for jaxpr in jaxprs(jax.make_jaxpr(step)(*factors).jaxpr)
            for equation in jaxpr.eqns
            for variable in equation.outvars
        ]
        return max(np.prod(shape) for shape in shapes if shape[-1:] == (WORDS,))

    assert largest(2**26) == STEPS * ROWS * WORDS
    assert largest(100) == 3 * ROWS * WORDS


def jaxprs(jaxpr):
    """Yields a program and all that are inside it."""
    yield jaxpr
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from jaxprs(inner)


def test_bfloat16_rounds_the_factors():
    *factors, targets = arguments()
    rounded = [x.astype(jnp.bfloat16).astype(jnp.float32) for x in factors[:2]]
    narrow = target_log_probs(Compute("bfloat16"), *factors, targets)
    np.testing.assert_allclose(
        narrow, target_log_probs(FLOAT32, *rounded, factors[2], targets), rtol=1e-5, atol=1e-5
    )
    assert np.abs(narrow - target_log_probs(FLOAT32, *factors, targets)).max() > 1e-4


def test_logits_that_overflow_exp_give_no_nan():
    *factors, targets = arguments()
    large = [factors[0] * 1e3, *factors[1:]]
    value, gradient = jax.value_and_grad(
        lambda *f: target_log_probs(FLOAT32, *f, targets).sum(), argnums=(0, 1, 2)
    )(*large)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))
