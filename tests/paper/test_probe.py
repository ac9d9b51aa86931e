"""A probe learns what is there, gains nothing where nothing is, and knows the constant answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper.measures.probe import cosines, fit_probe

SIZES = {"train": 2048, "valid": 128, "test": 256}
INPUTS, TARGETS, EPOCHS = 5, 4, 40


def pairs(relation, seed=0):
    """Returns inputs, and targets that `relation` makes from inputs and independent noise."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(INPUTS, TARGETS))
    found = {}
    for name, size in SIZES.items():
        x = generator.normal(size=(size, INPUTS))
        noise = generator.normal(size=(size, TARGETS))
        found[name] = (x.astype(np.float32), relation(x, weights, noise).astype(np.float32))
    return found


def test_a_planted_linear_relation_is_found():
    found = fit_probe(pairs(lambda x, weights, noise: x @ weights + 0.1 * noise), 0, EPOCHS)
    assert found.cosine > 0.97
    # A cosine has variance 1 at most: 4.5 standard errors of a mean of such around 0.
    assert abs(found.constant_cosine) < 4.5 / np.sqrt(SIZES["test"])
    assert found.gain > 10 * found.gain_standard_error
    assert found.gain == pytest.approx(found.cosine - found.constant_cosine, abs=1e-6)
    assert found.epochs > 0


@pytest.mark.parametrize("common", [0.0, 3.0])
def test_independent_noise_gives_no_gain_however_large_the_cosine(common):
    """Ten seeds: a gain above 4.5 standard errors happens once in 30,000 such tests."""
    for seed in range(10):
        found = fit_probe(pairs(lambda x, weights, noise: common + noise, seed), seed, EPOCHS)
        assert found.gain < max(4.5 * found.gain_standard_error, 1e-6)
        # A perceptron that was not stopped on validation would lose several hundredths here.
        assert found.gain > -0.05
        assert (found.cosine > 0.9) == (common > 0)


def test_what_is_told_above_the_common_direction_is_a_gain():
    """The power of the test above: targets that share a direction and follow the input too."""
    found = fit_probe(pairs(lambda x, weights, noise: 3 + x @ weights), 0, EPOCHS)
    assert found.constant_cosine > 0.5
    assert found.gain > 5 * found.gain_standard_error


def test_a_seed_gives_the_same_probe_and_another_a_different_one():
    given = pairs(lambda x, weights, noise: x @ weights + noise)
    one, again, other = (fit_probe(given, seed, 3) for seed in (0, 0, 1))
    assert one == again
    assert one.cosine != other.cosine


def test_the_constant_answer_is_the_best_one_on_train():
    """The mean of the directions: turning it in any way lowers the mean cosine."""
    _, targets = pairs(lambda x, weights, noise: 1 + noise)["train"]
    # Measured on train itself.
    same = {name: (np.ones_like(targets), targets) for name in SIZES}
    best = fit_probe(same, 0, 0).cosine
    for axis in np.eye(TARGETS):
        mean = (targets / np.linalg.norm(targets, axis=1, keepdims=True)).mean(axis=0)
        turned = jnp.asarray(mean + 0.2 * axis, jnp.float32)
        assert cosines(jnp.broadcast_to(turned, targets.shape), jnp.asarray(targets)).mean() < best


def test_cosines_are_those_of_numpy_and_nothing_is_near_the_origin():
    one, other = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    expected = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(cosines(jnp.asarray(one), jnp.asarray(other)), expected, atol=1e-6)
    np.testing.assert_allclose(cosines(1e-9 * jnp.asarray(one), jnp.asarray(one)), 1, atol=1e-6)
    origin = jnp.zeros((1, 3))
    assert cosines(origin, jnp.ones((1, 3))) == 0
    slope = jax.grad(lambda x: cosines(x, jnp.ones((1, 3))).sum())(origin)
    assert np.isfinite(slope).all()
