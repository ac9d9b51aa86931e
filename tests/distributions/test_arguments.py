"""What the public functions take: any real type, lists; one error for the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions.kl import kl_divergence

from spherical_vae import special
from spherical_vae.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    VonMisesFisher,
    von_mises_fisher,
)
from spherical_vae.system.errors import UserError

pytestmark = pytest.mark.optimized

KEY = jax.random.key(0)
AXIS = np.array([1.0, 0.0, 0.0], np.float32)
KINDS = [VonMisesFisher, PowerSpherical]
# Of one mean direction and one concentration.
SAME = [
    (np.array([1, 0, 0]), 5),
    ([1, 0, 0], 5.0),
    ((1.0, 0.0, 0.0), np.float64(5.0)),
    (np.array([1.0, 0.0, 0.0]), np.int8(5)),
    (jnp.array([1, 0, 0], jnp.uint8), jnp.array(5)),
    ([jnp.float32(1.0), 0, 0], jnp.bfloat16(5.0)),
]


@pytest.mark.parametrize(("direction", "kappa"), SAME, ids=str)
def test_kinds_of_numbers(direction, kappa):
    for method in von_mises_fisher.METHODS:
        np.testing.assert_array_equal(
            von_mises_fisher.sample(KEY, direction, kappa, (4,), method),
            von_mises_fisher.sample(KEY, jnp.asarray(AXIS), 5.0, (4,), method),
        )
    value = [0, 1, 0]
    expected = special.log_normalizer(3, 5.0)
    np.testing.assert_allclose(von_mises_fisher.log_prob(value, direction, kappa), expected, 1e-6)
    for kind in KINDS:
        law, plain = kind(direction, kappa), kind(AXIS, 5.0)
        np.testing.assert_array_equal(law.log_prob(value), plain.log_prob(np.float32(value)))
        np.testing.assert_array_equal(law.sample(KEY), plain.sample(KEY))
    for name in special.__all__:
        if name not in ("log_sphere_area", "inverse_bessel_ratio"):
            function = getattr(special, name)
            np.testing.assert_allclose(np.float32(function(3, kappa)), function(3, 5.0), rtol=1e-2)
    uniform = HypersphericalUniform(3)
    np.testing.assert_array_equal(uniform.log_prob(value), uniform.log_prob(AXIS))


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_half_precision_is_computed_in_float32(dtype):
    rounding = float(jnp.finfo(dtype).eps)
    mean = von_mises_fisher.sample(KEY, jnp.eye(20)[0], 1.0, (3,)).astype(dtype)
    value = VonMisesFisher(mean, 1e3, validate_args=False).sample(KEY)
    for kind in KINDS:
        law = kind(mean, 1e3, validate_args=False)
        wide = kind(mean.astype(jnp.float32), 1e3, validate_args=False)
        for z in (value, value[:, None]):
            found = law.log_prob(z)
            assert found.dtype == dtype
            expected = wide.log_prob(z.astype(jnp.float32))
            np.testing.assert_allclose(np.float32(found), expected, rtol=rounding)
        drawn, expected = law.sample(KEY), wide.sample(KEY)
        assert drawn.dtype == law.mean.dtype == law.variance.dtype == dtype
        np.testing.assert_allclose(np.float32(drawn), expected, atol=rounding)
    law = VonMisesFisher(mean, 1e3, validate_args=False)
    np.testing.assert_array_equal(von_mises_fisher.log_prob(value, mean, 1e3), law.log_prob(value))
    # A concentration beyond what the type of the directions holds.
    assert bool(jnp.isfinite(kind(mean, 1e6, validate_args=False).entropy()).all())
    direction, kappa = von_mises_fisher.fit(value)
    assert (direction.dtype, kappa.dtype) == (dtype, jnp.float32)


def test_a_wider_value_keeps_its_accuracy():
    with jax.enable_x64(True):
        value = jnp.array([np.sqrt(1 - 1e-10), 1e-5, 0.0])
        assert value.dtype == jnp.float64
        found = von_mises_fisher.log_prob(value, jnp.asarray(AXIS), 1e6)
        assert found.dtype == jnp.float64
        peak = special.log_density_at_mode(3, 1e6)
        np.testing.assert_allclose(found - peak, -1e6 * 0.5e-10, rtol=1e-6)


NOT_UNIT = np.array([1.0, 1.0, 0.0])
BAD = {
    "unit directions": (
        lambda: von_mises_fisher.sample(KEY, NOT_UNIT, 5.0),
        r"mean_direction must be of unit vectors, one has the norm 1\.41421",
    ),
    "unit direction of a density": (
        lambda: von_mises_fisher.log_prob(AXIS, NOT_UNIT, 5.0),
        "mean_direction must be of unit vectors",
    ),
    "unit values": (
        lambda: von_mises_fisher.log_prob(NOT_UNIT, AXIS, 5.0),
        "value must be of unit vectors",
    ),
    "constants in jit": (
        lambda: jax.jit(lambda z: von_mises_fisher.log_prob(z, NOT_UNIT, 5.0))(AXIS),
        "mean_direction must be of unit vectors",
    ),
    "complex": (
        lambda: VonMisesFisher(AXIS, 5.0 + 1.0j),
        "concentration must be of integers or floating-point numbers, got complex",
    ),
    "complex argument": (
        lambda: special.kl_to_uniform(3, np.array([1j])),
        "concentration must be of integers or floating-point numbers, got complex",
    ),
    "text": (
        lambda: PowerSpherical(["a", "b", "c"], 1.0),
        "mean_direction must be of integers or floating-point numbers",
    ),
    "truth": (
        lambda: von_mises_fisher.fit(np.array([[True, False]])),
        "values must be of integers or floating-point numbers, got bool",
    ),
    "ragged": (
        lambda: von_mises_fisher.sample(KEY, [[1.0, 0.0], [1.0]], 1.0),
        "mean_direction must be of integers or floating-point numbers",
    ),
    "several keys": (
        lambda: von_mises_fisher.sample(jax.random.split(KEY, 3), AXIS, 5.0),
        r"key must be one key, as jax\.random\.key\(0\), got key<fry>\[3\]",
    ),
    "a seed for a key": (
        lambda: von_mises_fisher.sample(0, AXIS, 5.0),
        r"key must be one key, as jax\.random\.key\(0\), got 0",
    ),
    "several keys of a distribution": (
        lambda: HypersphericalUniform(3).sample(jax.random.split(KEY, 3)),
        "key must be one key",
    ),
    "no axis": (
        lambda: von_mises_fisher.sample(KEY, 1.0, 1.0),
        "mean_direction must have at least one axis",
    ),
    "other dimension": (
        lambda: von_mises_fisher.log_prob([1.0], AXIS, 1.0),
        "dimension must be at least 2, got 1",
    ),
    "fewer coordinates": (
        lambda: von_mises_fisher.log_prob([1.0, 0.0], AXIS, 1.0),
        "value has 2 coordinates, mean_direction has 3",
    ),
    "one row": (
        lambda: von_mises_fisher.fit(AXIS),
        "values must have two axes at least, N and D",
    ),
    "other weights": (
        lambda: von_mises_fisher.fit(np.eye(3), np.ones(2)),
        r"weights must have the shape \(3,\), got \(2,\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(case):
    call, message = BAD[case]
    # The shapes of annotations are checked by the tests only, and before the functions see them.
    with pytest.raises((UserError, TypeError)) as caught:
        call()
    if isinstance(caught.value, UserError):
        assert caught.match(message)
    else:
        assert case in (
            "complex argument",
            "several keys",
            "a seed for a key",
            "no axis",
            "truth",
            "one row",
            "other weights",
        )


@pytest.mark.parametrize(
    "law",
    [VonMisesFisher(AXIS, 2.0), PowerSpherical(AXIS, 2.0), HypersphericalUniform(3)],
    ids=lambda law: type(law).__name__,
)
@pytest.mark.parametrize("value", [1.0, [1.0], [1.0, 0.0], np.ones((3, 1)), np.ones((3, 4)) / 2])
def test_a_value_of_other_coordinates_is_not_broadcast(law, value):
    with pytest.raises(UserError, match=r"value has .* coordinates, the distribution has 3"):
        law.log_prob(value)


@pytest.mark.parametrize("method", von_mises_fisher.METHODS)
def test_traced_mean_directions_off_the_sphere_give_nan(method):
    direction = jnp.stack([jnp.asarray(AXIS), 1.01 * jnp.asarray(AXIS)])
    draw = jax.jit(lambda m: von_mises_fisher.sample(KEY, m, 5.0, (2,), method))
    np.testing.assert_array_equal(jnp.isnan(draw(direction)).any(-1), [[False, True]] * 2)
    density = jax.jit(von_mises_fisher.log_prob)
    # To a value the density is continued by the squared distance.
    continued = special.log_density_at_mode(3, 5.0) - 5.0 * 0.01**2 / 2
    np.testing.assert_allclose(density(direction[1], AXIS, 5.0), continued, rtol=1e-6)
    np.testing.assert_array_equal(jnp.isnan(density(AXIS, direction, 5.0)), [False, True])


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_a_traced_negative_concentration_gives_nan(kind):
    @jax.jit
    def results(kappa):
        law = kind(AXIS, kappa)
        others = [kind(AXIS, 2.0), HypersphericalUniform(3)]
        divergences = [kl_divergence(p, q) for o in others for p, q in ((law, o), (o, law))]
        return [
            law.sample(KEY),
            law.log_prob(AXIS),
            law.entropy(),
            law.mean[0],
            law.variance,
            *divergences,
        ]

    assert all(jnp.isnan(found).all() for found in results(-1e-3))
    assert not any(jnp.isnan(found).any() for found in results(0.0))


def test_fit_divides_by_the_norms():
    z = von_mises_fisher.sample(KEY, jnp.eye(5)[0], 48.6, (400,))
    direction, kappa = von_mises_fisher.fit(z)
    lengths = jnp.geomspace(1e-30, 1e30, 400)[:, None]
    stretched, other = von_mises_fisher.fit(lengths * z)
    np.testing.assert_allclose(other, kappa, rtol=1e-4)
    np.testing.assert_allclose(stretched, direction, atol=1e-6)
    # The standard error of kappa is (n A'(kappa))^-1/2.
    error = (400 * float(special.bessel_ratio_derivative(5, 48.6))) ** -0.5
    assert abs(float(kappa) - 48.6) < 4 * error


def test_fit_and_vectors_of_zero():
    z = jnp.concatenate([jnp.eye(3), jnp.zeros((1, 3))])
    weights = jnp.array([3.0, 1.0, 1.0, 0.0])
    for found, expected in zip(
        von_mises_fisher.fit(z, weights), von_mises_fisher.fit(z[:3], weights[:3]), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    gradient = jax.grad(lambda v: von_mises_fisher.fit(v, weights)[1])(z)
    assert bool(jnp.isfinite(gradient).all())
    direction, kappa = von_mises_fisher.fit(z)
    assert bool(jnp.isnan(direction).all())
    assert bool(jnp.isnan(kappa))
