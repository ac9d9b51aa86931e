"""What NumPyro asks of a distribution, asked of every distribution on the sphere."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions.gof import auto_goodness_of_fit
from numpyro.distributions.kl import kl_divergence
from oracle import reference

from spherical_vae import special
from spherical_vae.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    VonMisesFisher,
    von_mises_fisher,
)

pytestmark = pytest.mark.optimized

# A goodness-of-fit p value below this fails: the rate of false alarms of one comparison.
FAILURE_RATE = 1e-4
DRAWS = 20_000


def directions(*shape: int) -> jax.Array:
    raw = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    return jnp.asarray(raw / np.linalg.norm(raw, axis=-1, keepdims=True))


CASES = {
    "vmf_scalar": lambda: VonMisesFisher(directions(3), 4.0),
    "vmf_wood": lambda: VonMisesFisher(directions(5), 4.0, method="wood"),
    "vmf_batch": lambda: VonMisesFisher(directions(2, 1, 5), jnp.array([0.0, 3.0, 20.0])),
    "vmf_circle": lambda: VonMisesFisher(directions(2), jnp.array([0.5, 9.0])),
    "uniform_batch": lambda: HypersphericalUniform(3, (2,)),
    "power": lambda: PowerSpherical(directions(2, 4), jnp.array([0.0, 6.0])),
}


# The default run keeps the cases that differ most; the rest is in the slow one.
SLOW_CASES = ("vmf_scalar", "vmf_circle", "power")


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW_CASES else name for name in CASES
    ]
)
def distribution(request):
    return CASES[request.param]()


def parameters(distribution: dist.Distribution) -> dict[str, jax.Array]:
    return {name: getattr(distribution, name) for name in distribution.arg_constraints}


def rebuilt(distribution, **changed):
    if isinstance(distribution, HypersphericalUniform):
        return HypersphericalUniform(distribution.dimension, distribution.batch_shape)
    return type(distribution)(**{**parameters(distribution), **changed})


def test_shapes(distribution):
    for sample_shape in ((), (3, 2)):
        value = distribution.sample(jax.random.key(0), sample_shape)
        assert value.shape == (*sample_shape, *distribution.batch_shape, *distribution.event_shape)
        assert distribution.log_prob(value).shape == (*sample_shape, *distribution.batch_shape)
        assert bool(distribution.support(value).all())
    assert distribution.entropy().shape == distribution.batch_shape
    assert distribution.mean.shape == distribution.batch_shape + distribution.event_shape
    assert distribution.variance.shape == distribution.mean.shape
    assert not distribution.is_discrete
    assert distribution.has_rsample


def test_infer_shapes(distribution):
    if isinstance(distribution, HypersphericalUniform):
        # A dimension is no shape: nothing can be inferred from the shapes of the arguments.
        with pytest.raises(NotImplementedError):
            HypersphericalUniform.infer_shapes(())
        return
    shapes = {name: jnp.shape(value) for name, value in parameters(distribution).items()}
    inferred = type(distribution).infer_shapes(**shapes)
    assert inferred == (distribution.batch_shape, distribution.event_shape)


def test_raw_and_typed_keys_agree(distribution):
    typed = distribution.sample(jax.random.key(7))
    np.testing.assert_array_equal(typed, distribution.sample(jax.random.PRNGKey(7)))
    with jax.enable_x64(True):
        again = distribution.sample(jax.random.PRNGKey(7))
    np.testing.assert_allclose(again, typed, rtol=1e-5, atol=1e-5)


def test_jit_vmap_and_pytree(distribution):
    # The same order in every process: the leaves are arguments of compiled programs.
    names = sorted(parameters(distribution))
    for leaf, name in zip(jax.tree.leaves(distribution), names, strict=True):
        np.testing.assert_array_equal(leaf, getattr(distribution, name))
    value = distribution.sample(jax.random.key(1))
    jitted = jax.jit(lambda d, x: d.log_prob(x))(distribution, value)
    np.testing.assert_allclose(jitted, distribution.log_prob(value), rtol=1e-5, atol=1e-5)
    draws = jax.vmap(lambda key: distribution.sample(key))(jax.random.split(jax.random.key(2), 4))
    assert draws.shape == (4, *value.shape)
    leaves, structure = jax.tree.flatten(distribution)
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(again.log_prob(value), distribution.log_prob(value))


def test_expand_mask_and_independent(distribution):
    shape = (4, *distribution.batch_shape)
    expanded = distribution.expand(shape)
    value = expanded.sample(jax.random.key(3))
    assert value.shape == (*shape, *distribution.event_shape)
    masked = expanded.mask(jnp.zeros(shape, bool))
    np.testing.assert_array_equal(masked.log_prob(value), jnp.zeros(shape))
    joint = expanded.to_event(1)
    assert joint.batch_shape == shape[:-1]
    assert joint.log_prob(value).shape == shape[:-1]


def angles_and_densities(draws, direction, log_density):
    """The angle to `direction` and its density, which the density of the vector implies."""
    dimension = draws.shape[-1]
    distance = jnp.linalg.norm(draws - jnp.broadcast_to(direction, draws.shape), axis=-1)
    angle = 2.0 * jnp.arcsin(jnp.clip(distance / 2.0, 0.0, 1.0))
    ring = special.log_sphere_area(dimension - 1)
    if dimension > 2:
        ring = ring + (dimension - 2) * jnp.log(jnp.sin(angle))
    return angle, jnp.exp(log_density + ring)


def test_samples_fit_the_density(distribution):
    # NumPyro's test for vectors compares volumes of flat balls, which a curved support biases: of
    # the angle it is exact.
    draws = distribution.sample(jax.random.key(4), (DRAWS,))
    direction = getattr(distribution, "mean_direction", None)
    if direction is None:
        direction = directions(*draws.shape[1:])
    angle, density = angles_and_densities(draws, direction, distribution.log_prob(draws))
    angle, density = angle.reshape(DRAWS, -1), density.reshape(DRAWS, -1)
    for i in range(angle.shape[1]):
        assert auto_goodness_of_fit(angle[:, i], density[:, i]) > FAILURE_RATE


def test_goodness_of_fit_has_power():
    # A blunt test: it compares neighbouring draws. It refuses twice the
    # concentration; the finer tests are in test_scalar_law.py.
    direction = directions(4)
    draws = VonMisesFisher(direction, 4.0).sample(jax.random.key(4), (DRAWS,))
    angle, density = angles_and_densities(
        draws, direction, VonMisesFisher(direction, 8.0).log_prob(draws)
    )
    assert auto_goodness_of_fit(angle, density) < FAILURE_RATE


def test_moments_and_entropy(distribution):
    # 5.5 standard errors: false alarms at 4e-8 for each of about 100 comparisons.
    draws = distribution.sample(jax.random.key(5), (DRAWS,))
    error = jnp.std(draws, 0) / DRAWS**0.5
    assert bool((jnp.abs(draws.mean(0) - distribution.mean) <= 5.5 * error).all())
    centred = (draws - jnp.broadcast_to(distribution.mean, draws.shape)) ** 2
    error = jnp.std(centred, 0) / DRAWS**0.5
    assert bool((jnp.abs(centred.mean(0) - distribution.variance) <= 5.5 * error).all())
    surprise = -distribution.log_prob(draws)
    error = jnp.std(surprise, 0) / DRAWS**0.5 + 1e-5
    assert bool((jnp.abs(surprise.mean(0) - distribution.entropy()) <= 5.5 * error).all())


def test_gradient_of_log_density_is_the_tangential_one(distribution):
    if isinstance(distribution, HypersphericalUniform):
        return
    value = distribution.sample(jax.random.key(6))

    def density(theta: jax.Array, kappa: jax.Array) -> jax.Array:
        # The mean direction turned towards a fixed tangent by the angle theta.
        direction = distribution.mean_direction
        axis = jnp.roll(direction, 1, -1)
        axis = axis - (axis * direction).sum(-1, keepdims=True) * direction
        axis = axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
        turned = jnp.cos(theta) * direction + jnp.sin(theta) * axis
        return rebuilt(distribution, mean_direction=turned, concentration=kappa).log_prob(value)

    kappa = distribution.concentration
    step = 1e-2
    for argument in (0, 1):

        def along(x, argument=argument):
            return density(x, kappa) if argument == 0 else density(jnp.float32(0.0), kappa + 1 + x)

        _, slope = jax.jvp(along, (jnp.float32(0.0),), (jnp.float32(1.0),))
        numeric = (along(jnp.float32(step)) - along(jnp.float32(-step))) / (2 * step)
        np.testing.assert_allclose(slope, numeric, rtol=2e-2, atol=2e-3)


def test_invalid_parameters_are_refused():
    with pytest.raises(ValueError, match="mean_direction"):
        VonMisesFisher(jnp.array([1.0, 1.0, 0.0]), 1.0, validate_args=True)
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(jnp.array([1.0, 0.0, 0.0]), -1.0, validate_args=True)
    with pytest.raises(ValueError, match="at least one axis"):
        VonMisesFisher(1.0, 1.0)
    with pytest.raises(ValueError, match=r"method: 'gibbs' given, allowed: transport, wood"):
        VonMisesFisher(jnp.eye(3)[0], 1.0, method="gibbs")
    with pytest.raises(ValueError, match="dimension must be at least 2"):
        HypersphericalUniform(1)


def test_pathwise_derivative_through_the_class():
    def mean_along(kappa: jax.Array) -> jax.Array:
        direction = jnp.eye(5)[0]
        return VonMisesFisher(direction, kappa).sample(jax.random.key(8), (DRAWS,))[:, 0]

    kappa = jnp.float32(3.0)
    _, slope = jax.jvp(mean_along, (kappa,), (jnp.float32(1.0),))
    error = abs(float(slope.mean() - special.bessel_ratio_derivative(5, kappa)))
    assert error <= 4 * float(slope.std()) / DRAWS**0.5


PAIRS = {
    "vmf_uniform": ("vmf_batch", HypersphericalUniform(5)),
    "vmf_vmf": ("vmf_batch", VonMisesFisher(directions(5), 6.0)),
    "power_uniform": ("power", HypersphericalUniform(4)),
    "uniform_power": (HypersphericalUniform(4), "power"),
    "power_power": ("power", PowerSpherical(directions(4), 3.0)),
    "power_vmf": ("power", VonMisesFisher(directions(4), 3.0)),
    "vmf_power": ("vmf_batch", PowerSpherical(directions(5), 9.0)),
    "uniform_vmf": (HypersphericalUniform(5), "vmf_batch"),
    "uniform_uniform": (HypersphericalUniform(5), HypersphericalUniform(5, (2,))),
}


@pytest.mark.parametrize(
    "pair",
    [pytest.param(p, marks=pytest.mark.thorough) if p.startswith("power") else p for p in PAIRS],
)
def test_kl_divergence_against_monte_carlo(pair):
    p, q = (CASES[x]() if isinstance(x, str) else x for x in PAIRS[pair])
    divergence = kl_divergence(p, q)
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    assert divergence.shape == shape
    draws = p.expand(shape).sample(jax.random.key(9), (DRAWS,))
    terms = p.log_prob(draws) - q.log_prob(draws)
    error = jnp.std(terms, 0) / DRAWS**0.5 + 1e-5
    assert bool((jnp.abs(terms.mean(0) - divergence) <= 5 * error).all())


def test_kl_divergence_of_equals_is_zero():
    p = CASES["vmf_batch"]()
    np.testing.assert_allclose(kl_divergence(p, p), jnp.zeros(p.batch_shape), atol=1e-6)


@pytest.mark.parametrize("dimension", [2, 50])
@pytest.mark.parametrize("concentration", [1e-2, 1.0, 80.0, 1e4])
def test_kl_divergence_of_neighbours(dimension, concentration):
    """Against the closed form in mpmath, of which float32 would keep nothing."""
    direction = directions(dimension)
    factors = np.array([0.25, 0.999, 1.0001, 1.01, 4.0, 20.0], np.float32)
    others = np.float32(concentration) * factors
    found = kl_divergence(
        VonMisesFisher(direction, jnp.asarray(others)), VonMisesFisher(direction, concentration)
    )
    with mp.workdps(50):
        kappa_q = mp.mpf(float(np.float32(concentration)))
        q = reference(dimension, float(kappa_q))
        for value, other in zip(np.asarray(found), others, strict=True):
            p, kappa_p = reference(dimension, float(other)), mp.mpf(float(other))
            exact = p.log_normalizer - q.log_normalizer + (kappa_p - kappa_q) * p.ratio
            assert abs(float(value) / exact - 1) < 2e-5, (other, value, exact)


def test_fit_recovers_parameters_and_the_score_equation():
    p = VonMisesFisher(directions(8), 25.0)
    draws = p.sample(jax.random.key(10), (DRAWS,))
    direction, kappa = von_mises_fisher.fit(draws)
    assert float(direction @ p.mean_direction) > 0.9999
    # The standard error of kappa is (n A'(kappa))^-1/2.
    error = (DRAWS * float(special.bessel_ratio_derivative(8, 25.0))) ** -0.5
    assert abs(float(kappa) - 25.0) <= 5 * error
    length = jnp.linalg.norm(draws.mean(0))
    np.testing.assert_allclose(special.bessel_ratio(8, kappa), length, rtol=1e-6)
    weighted = von_mises_fisher.fit(draws, jnp.ones(DRAWS))
    np.testing.assert_allclose(weighted[1], kappa, rtol=1e-4)


@pytest.mark.parametrize("concentration", [1e4, 1e6, 1e8])
def test_fit_keeps_large_concentrations(concentration):
    draws = VonMisesFisher(directions(3), concentration).sample(jax.random.key(11), (2000,))
    _, kappa = von_mises_fisher.fit(draws)
    # In float64 and from the squares, by the leading term (d - 1) / (2 (1 - R)).
    wide = np.asarray(draws, np.float64)
    wide /= np.linalg.norm(wide, axis=-1, keepdims=True)
    mean = wide.mean(0)
    gap = ((wide - mean / np.linalg.norm(mean)) ** 2).sum(-1).mean() / 2
    np.testing.assert_allclose(float(kappa), 1 / gap, rtol=1e-3)


@pytest.mark.parametrize("concentration", [1e2, 1e8])
def test_gradients_of_fit_keep_their_digits(concentration):
    draws = VonMisesFisher(jnp.eye(3)[0], concentration).sample(jax.random.key(1), (50,))
    weights = jnp.linspace(0.5, 1.5, 50)
    gradient = jax.jit(jax.grad(lambda z, w: jnp.log(von_mises_fisher.fit(z, w)[1]), (0, 1)))
    found = gradient(draws, weights)
    with jax.enable_x64(True):
        expected = gradient(draws.astype(float), weights.astype(float))
    for ours, wide in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, wide, atol=1e-5 * np.abs(wide).max())


def test_fit_of_what_has_no_likeliest_parameters():
    alike = jnp.broadcast_to(directions(5), (7, 5))
    direction, kappa = von_mises_fisher.fit(alike)
    np.testing.assert_allclose(direction, alike[0], atol=1e-6)
    assert float(kappa) > 1e12
    direction, kappa = von_mises_fisher.fit(jnp.stack([jnp.eye(5)[0], -jnp.eye(5)[0]]))
    assert bool(jnp.isnan(direction).all())
    assert float(kappa) == 0.0


@pytest.mark.parametrize("kind", [VonMisesFisher, PowerSpherical])
def test_densities_integrate_to_one_and_give_the_entropy(kind):
    direction = directions(5)
    law = kind(direction, 6.0)
    # Over the angle to the mean direction, along one great circle: the density depends on it alone.
    across = jnp.roll(direction, 1) - (jnp.roll(direction, 1) @ direction) * direction
    across = across / jnp.linalg.norm(across)
    angle = (jnp.arange(2000) + 0.5) * (jnp.pi / 2000)
    points = jnp.cos(angle)[:, None] * direction[None] + jnp.sin(angle)[:, None] * across[None]
    log_density = law.log_prob(points)
    ring = jnp.exp(special.log_sphere_area(4)) * jnp.sin(angle) ** 3 * (jnp.pi / 2000)
    mass = jnp.exp(log_density) * ring
    np.testing.assert_allclose(mass.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(-(mass * log_density).sum(), law.entropy(), rtol=1e-4)
    np.testing.assert_allclose(
        (mass * jnp.cos(angle)).sum() * direction, law.mean, rtol=1e-4, atol=1e-6
    )
