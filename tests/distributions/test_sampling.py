"""Samples: moments, norms, pathwise gradients, and the shapes and traps of the interface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.system.errors import UserError

pytestmark = pytest.mark.optimized

DRAWS = 100_000
METHODS = ("transport", "wood")


def axis(dimension):
    return -jnp.eye(dimension)[1]


def random_direction(dimension):
    direction = np.random.default_rng(dimension).normal(size=dimension)
    return jnp.asarray(direction / np.linalg.norm(direction), jnp.float32)


def check_vectors(direction, concentration, method, count, chunk=25_000):
    # Each comparison at 5 standard errors: false alarms at 6e-7.
    dimension = len(direction)
    exact_direction = np.asarray(direction, np.float64)
    # An orthonormal basis of the hyperplane that is orthogonal to the mean direction.
    hyperplane = np.linalg.qr(exact_direction[:, None], mode="complete")[0][:, 1:]
    gaps, tangent_sum, tangent_products = [], 0.0, 0.0
    for part in range(count // chunk):
        key = jax.random.fold_in(jax.random.key(3), part)
        z = von_mises_fisher.sample(key, direction, concentration, (chunk,), method)
        z = np.asarray(z, np.float64)
        assert abs(np.linalg.norm(z, axis=-1) - 1).max() <= 1e-6
        gaps.append(0.5 * ((z - exact_direction) ** 2).sum(-1))
        tangent = z @ hyperplane
        length = np.linalg.norm(tangent, axis=-1)
        tangent = tangent[length > 0] / length[length > 0, None]
        tangent_sum += tangent.sum(0)
        tangent_products += tangent.T @ tangent
    gap = np.concatenate(gaps)
    expected = float(special.bessel_ratio_complement(dimension, concentration))
    assert abs(gap.mean() - expected) <= 5 * gap.std() / count**0.5 + 3e-7 * expected
    # The tangent part is uniform: mean 0 and covariance 1 / (d - 1) in the hyperplane.
    assert abs(tangent_sum / count).max() <= 5.5 / ((dimension - 1) * count) ** 0.5
    covariance = tangent_products / count * (dimension - 1) - np.eye(dimension - 1)
    assert abs(covariance).max() <= 6 * (2.0 / count) ** 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimension", [2, 3, 25])
def test_vectors(dimension, method):
    check_vectors(axis(dimension), 35.0, method, DRAWS // 4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("direction", [axis, random_direction])
@pytest.mark.parametrize("dimension", [2, 3, 4, 5, 8, 25, 50, 100, 1000])
def test_vectors_everywhere(dimension, direction, method):
    # A tenth of the draws at d = 1000, whose covariance has a million elements.
    count = 1_000_000 if dimension < 1000 else 100_000
    for concentration in (0.0, 1e-3, 1.0, 35.0, 80.0, 500.0, 5000.0, 1e5):
        check_vectors(direction(dimension), concentration, method, count)


def test_the_vector_test_has_power(monkeypatch):
    # Planted: a tangent part that prefers one axis, and norms that are off by 2e-6.
    sample = von_mises_fisher.sample

    def tilted(key, direction, concentration, shape, method):
        z = sample(key, direction, concentration, shape, method) * jnp.linspace(1.0, 1.1, 25)[None]
        return z / jnp.linalg.norm(z, axis=-1, keepdims=True)

    def stretched(*arguments):
        return sample(*arguments) * (1 + 2e-6)

    for planted in (tilted, stretched):
        monkeypatch.setattr(von_mises_fisher, "sample", planted)
        with pytest.raises(AssertionError):
            check_vectors(axis(25), 35.0, "transport", DRAWS // 4)


def test_pathwise_gradient_of_the_mean_direction():
    # E[f(z)] with f(z) = (a.z)^2 has a closed form in the mean direction; its gradient along a
    # tangent is compared at 4 standard errors (false alarms at 6e-5).
    dimension, kappa = 6, 9.0
    a = jnp.arange(1.0, 7.0) / 10
    along = float(special.bessel_ratio_derivative(dimension, kappa))
    ratio = float(special.bessel_ratio(dimension, kappa))
    second = along + ratio**2  # E[w^2]
    across = (1 - second) / (dimension - 1)

    def raw_to_values(raw):
        direction = raw / jnp.linalg.norm(raw)
        z = von_mises_fisher.sample(jax.random.key(1), direction, kappa, (DRAWS,), "wood")
        return (z @ a) ** 2

    raw = jnp.array([0.3, -0.2, 0.9, 0.4, 0.1, -0.5])
    tangent = jnp.array([0.2, 0.7, -0.3, 0.5, 0.4, 0.1])
    _, slopes = jax.jvp(raw_to_values, (raw,), (tangent,))

    def moment(raw):
        direction = raw / jnp.linalg.norm(raw)
        return (second - across) * (a @ direction) ** 2

    _, expected = jax.jvp(moment, (raw,), (tangent,))
    assert abs(float(slopes.mean() - expected)) <= 4 * float(slopes.std()) / DRAWS**0.5


@pytest.mark.parametrize("method", METHODS)
def test_gradients_under_jit_and_vmap(method):
    def total(key, direction, concentration):
        unit = direction / jnp.linalg.norm(direction)
        return von_mises_fisher.sample(key, unit, concentration, (3,), method).sum()

    gradients = jax.jit(jax.vmap(jax.grad(total, argnums=(1, 2))))(
        jax.random.split(jax.random.key(0), 4), jnp.ones((4, 6)), jnp.array([0.0, 1e-6, 80.0, 1e6])
    )
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)


def test_unknown_method_is_named():
    with pytest.raises(UserError, match=r"unknown sampling method 'gibbs'; allowed: transport, w"):
        von_mises_fisher.sample(jax.random.key(0), jnp.eye(3)[0], 1.0, (), "gibbs")


@pytest.mark.parametrize("concentration", [0.0, 1.0, 1e6])
def test_log_prob_at_the_mode_and_opposite(concentration):
    mean_direction = jnp.eye(7)[2]
    values = jnp.stack([mean_direction, -mean_direction])
    got = von_mises_fisher.log_prob(values, mean_direction, concentration)
    peak = special.log_density_at_mode(7, concentration)
    np.testing.assert_allclose(got, [peak, peak - 2 * concentration], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_rows_at_both_extremes_and_traced_concentration(method):
    kappa = jnp.array([0.0, 1e-6, 1.0, 1e6])
    direction = jnp.broadcast_to(jnp.eye(5)[0], (4, 5))
    draw = jax.jit(lambda k: von_mises_fisher.sample(jax.random.key(0), direction, k, (2,), method))
    z = draw(kappa)
    assert z.shape == (2, 4, 5)
    assert bool(jnp.isfinite(z).all())
    assert float(z[:, 3, 0].min()) > 0.9999


def test_one_compilation_serves_every_concentration():
    traces = []

    @jax.jit
    def draw(key, kappa):
        traces.append(None)
        return von_mises_fisher.sample(key, jnp.eye(7)[0], kappa)

    for concentration in (0.0, 5.0, 1e4):
        draw(jax.random.key(0), concentration)
    assert len(traces) == 1


def test_float64_samples():
    with jax.enable_x64(True):
        direction = jnp.eye(9, dtype=jnp.float64)[0]
        z = von_mises_fisher.sample(jax.random.key(0), direction, 50.0, (2000,))
        assert z.dtype == jnp.float64
        assert float(abs(jnp.linalg.norm(z, axis=-1) - 1).max()) < 1e-14
        error = float(z[:, 0].std()) / 2000**0.5
        assert abs(float(z[:, 0].mean() - special.bessel_ratio(9, 50.0))) < 5 * error


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimension", [2, 3, 6])
def test_a_negative_concentration_is_not_a_number(method, dimension):
    z = von_mises_fisher.sample(jax.random.key(0), jnp.eye(dimension)[0], -5.0, (3,), method)
    assert bool(jnp.isnan(z).any(-1).all())


def test_wood_ends_on_not_a_number():
    z = von_mises_fisher.sample(jax.random.key(0), jnp.eye(6)[0], jnp.nan, (3,), "wood")
    assert bool(jnp.isnan(z).all())


def test_vmap_over_keys():
    keys = jax.random.split(jax.random.key(2), 5)
    z = jax.vmap(lambda key: von_mises_fisher.sample(key, jnp.eye(4)[0], 3.0, (), "wood"))(keys)
    single = jnp.stack(
        [von_mises_fisher.sample(key, jnp.eye(4)[0], 3.0, (), "wood") for key in keys]
    )
    np.testing.assert_allclose(z, single, atol=1e-6)


# The first coordinates of three samples. Saved runs go on with the numbers they began with.
NUMBERS = {
    "transport": [
        [0.675348461, -0.0112505108, 0.0167241823],
        [0.706609011, 0.125378117, 0.0131415362],
        [0.735911787, 0.153493091, 0.12256068],
    ],
    "wood": [
        [0.661056042, -0.0114463493, 0.0170153026],
        [0.690054059, 0.128240332, 0.0134415403],
        [0.73232919, 0.154371157, 0.123261794],
    ],
}


@pytest.mark.parametrize("method", METHODS)
def test_the_numbers_of_a_key_stay(method):
    z = von_mises_fisher.sample(jax.random.key(1), jnp.eye(50)[0], 80.0, (3,), method)
    # To rounding, as another processor may fuse other products.
    np.testing.assert_allclose(z[:, :3], NUMBERS[method], rtol=0, atol=3e-7)
