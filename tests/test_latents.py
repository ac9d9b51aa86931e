"""What every latent and every prior owe: two distributions whose KL and densities agree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import Normal, TransformedDistribution
from numpyro.distributions.transforms import SigmoidTransform
from small_models import small_config

from spherical_vae import special
from spherical_vae.models.latents import LATENTS, PRIORS, build_latent
from spherical_vae.models.latents.latent import (
    factor_kl_nats,
    is_spherical,
    kl_nats,
    latent_hyperparameters,
    log_prob,
    mean_codes,
    posterior_means,
    prior_deviations,
    sample,
    unit_variance_scale,
)
from spherical_vae.models.latents.learned_vmf import DetachedVonMisesFisher
from spherical_vae.objectives.bounds import guu_kl_nats

VARIANTS = [
    *(
        pytest.param(
            {"latent__kind": kind}, marks=pytest.mark.thorough if kind == "power_spherical" else ()
        )
        for kind in LATENTS
        if kind != "product_vmf"
    ),
    {"latent__kind": "vmf", "latent__sampler": "wood"},
    {"latent__kind": "learned_vmf", "latent__range": "clipped"},
    *(
        pytest.param(
            {"latent__kind": "product_vmf", "latent__spheres": 3, "latent__concentrations": how},
            marks=() if how == "learned_each" else pytest.mark.thorough,
        )
        for how in ("learned_each", "learned_shared", "fixed")
    ),
]

# Of learned priors the default run has one: each takes seconds to compile.
IN_RUNS = {
    ("gaussian", "mixture"): pytest.mark.thorough,
    ("gaussian", "vamp"): pytest.mark.thorough,
    ("learned_vmf", "mixture"): pytest.mark.thorough,
    ("learned_vmf", "vamp"): (),
    ("product_vmf", "mixture"): pytest.mark.thorough,
    ("product_vmf", "vamp"): pytest.mark.thorough,
}
LEARNED_PRIORS = [
    pytest.param(
        {
            "latent__kind": kind,
            "latent__spheres": 3 if kind == "product_vmf" else 1,
            "prior__kind": p,
        },
        marks=IN_RUNS.get((kind, p), pytest.mark.slow),
    )
    for kind in LATENTS
    for p in PRIORS
    if p != "standard" and kind != "none"
]
# A prior of which NumPyro knows neither mean nor variance.
FLOW = {"latent__kind": "gaussian", "prior__kind": "extensions.flow_prior"}
BATCH, DIMENSION, KAPPA = 3, 6, 6.0
COUNT = 20_000
HIDDEN = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, 7)), jnp.float32)


def built(overrides):
    """Returns the latent, the shapes of its variables, and hyper."""
    config = small_config(latent__concentration=KAPPA, prior__components=4)
    config.latent.dimension = DIMENSION
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    latent = build_latent(config.latent, config.prior)
    hyper = latent_hyperparameters(config.latent)
    return latent, jax.eval_shape(latent.init, jax.random.key(1), HIDDEN, hyper), hyper


def zeros(shapes):
    return jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), shapes)


@jax.jit
def measured(pair, standard, keys):
    """All that tests look at: one program for all variants of the same two distributions."""
    posterior, prior = pair
    width = 1.0 if is_spherical(standard) else 3.0  # wider than every component
    z = sample(posterior, keys[0], 2 * COUNT)
    wide = sample(standard, keys[1], 50_000)
    volume = np.prod(standard.event_shape) * np.log(width)

    def loss(pair):
        z = sample(pair.posterior, keys[0], 4)
        return (z**3).sum() + kl_nats(pair, z).sum()

    return jax.grad(loss)(pair), {
        "z": z,
        "log_q": log_prob(posterior, z),
        "log_p": log_prob(prior, z),
        "kl": kl_nats(pair, z[COUNT:]),
        "codes": mean_codes(posterior),
        "pairs": log_prob(posterior, z[0, :, None]),
        "standard": wide,
        "log_weights": log_prob(prior, width * wide) - log_prob(standard, wide) + volume,
        "prior_z": sample(prior, keys[2], COUNT),
    }


def seen(overrides):
    """Returns the standard prior, the pair, and arrays."""
    return _seen(tuple(overrides.items()))


@functools.cache
def _seen(overrides):
    latent, shapes, hyper = built(dict(overrides))
    generator = np.random.default_rng(4)
    noise = jax.tree.map(lambda p: 0.3 * generator.normal(size=p.shape).astype(np.float32), shapes)

    @jax.jit
    def start(key):
        # Away from their start, at which some are 0.
        variables = jax.tree.map(jnp.add, latent.init(key, HIDDEN, hyper), noise)
        other = latent.apply(variables, 2 * HIDDEN[:1], hyper).prior
        return variables, latent.apply(variables, HIDDEN, hyper), other

    @jax.jit
    def pull_back(variables, gradient):
        _, pull = jax.vjp(lambda variables: latent.apply(variables, HIDDEN, hyper), variables)
        return pull(gradient)

    variables, pair, other = start(jax.random.key(0))
    keys = [jax.random.key(i) for i in range(1, 4)]
    gradient, found = measured(pair, latent.standard_prior(), keys)
    found = found | {"other_prior": other, "gradients": pull_back(variables, gradient)}
    return latent.standard_prior(), pair, jax.tree.map(np.asarray, found)


@pytest.mark.parametrize("overrides", VARIANTS + LEARNED_PRIORS, ids=str)
def test_contract_of_shapes(overrides):
    standard, (posterior, prior), found = seen(overrides)
    event = standard.event_shape
    size = int(np.prod(event))
    assert size == (0 if overrides["latent__kind"] == "none" else DIMENSION)
    assert posterior.batch_shape == (BATCH,)
    assert prior.batch_shape == ()
    assert posterior.event_shape == prior.event_shape == event
    assert found["z"].shape == (2 * COUNT, BATCH, *event)
    assert found["log_q"].shape == found["log_p"].shape == (2 * COUNT, BATCH)
    assert found["kl"].shape == (BATCH,)
    assert posterior_means(posterior).shape == (BATCH, size)
    assert prior_deviations(prior).shape == (size,)
    assert (prior_deviations(prior) > 0).all()
    assert found["codes"].shape == (BATCH, *event)
    assert (
        is_spherical(posterior)
        == is_spherical(prior)
        == LATENTS[overrides["latent__kind"]].spherical
    )


@pytest.mark.parametrize("overrides", VARIANTS + LEARNED_PRIORS, ids=str)
def test_kl_is_the_expected_log_ratio(overrides):
    _, pair, found = seen(overrides)
    ratio = (found["log_q"] - found["log_p"])[:COUNT].astype(np.float64)
    error = ratio.std(axis=0) / np.sqrt(COUNT)
    if overrides.get("prior__kind", "standard") != "standard":
        # Estimated from other samples: both have errors, the estimate the smaller one.
        error = 1.5 * error
    # 4.5 standard errors in 3 rows of 21 variants: fails by chance once in 2,000 seeds.
    assert (np.abs(ratio.mean(axis=0) - found["kl"]) <= 4.5 * error + 1e-5).all()
    if overrides["latent__kind"] != "none":
        flat = found["z"][:COUNT].reshape(COUNT, BATCH, -1)
        gap = np.abs(flat.mean(axis=0) - posterior_means(pair.posterior))
        # Five standard errors in 378 coordinates: fails by chance once in 4,600 seeds.
        assert (gap <= 5 * flat.std(axis=0) / np.sqrt(COUNT)).all()
        # Power: a density of the wrong scale by a twentieth is seen.
        assert (np.abs(1.05 * ratio.mean(axis=0) - found["kl"]) > 4.5 * error).any()


@pytest.mark.parametrize(
    "overrides", [*LEARNED_PRIORS, pytest.param(FLOW, marks=pytest.mark.thorough)], ids=str
)
def test_a_learned_prior_is_a_density_and_its_samples_follow_it(overrides):
    """Importance sampling of the total mass from the standard prior, which covers everything."""
    _, pair, found = seen(overrides)
    weights = np.exp(found["log_weights"], dtype=np.float64)
    error = weights.std() / np.sqrt(len(weights))
    # Five standard errors in eleven variants: of normal weights once in 150,000 seeds. A narrow
    # component makes few weights large, so more often here: one in 88 was 3.5 errors away.
    assert abs(weights.mean() - 1) <= 5 * error
    assert error < 0.1
    prior = pair.prior
    flat = found["prior_z"].astype(np.float64).reshape(COUNT, -1)
    if overrides is not FLOW:
        with jax.numpy_rank_promotion("allow"):
            mean = np.asarray(prior.mean).reshape(-1)
        assert (np.abs(flat.mean(0) - mean) <= 5 * flat.std(0) / np.sqrt(COUNT)).all()
    np.testing.assert_allclose(flat.std(0), prior_deviations(prior), rtol=0.05)


@pytest.mark.parametrize("overrides", LEARNED_PRIORS, ids=str)
def test_a_learned_prior_does_not_depend_on_the_batch(overrides):
    _, pair, found = seen(overrides)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        pair.prior,
        found["other_prior"],
    )


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_all_pairs(overrides):
    *_, found = seen(overrides)
    assert found["pairs"].shape == (BATCH, BATCH)
    np.testing.assert_allclose(np.diag(found["pairs"]), found["log_q"][0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overrides", VARIANTS + LEARNED_PRIORS, ids=str)
def test_gradients_reach_every_parameter(overrides):
    gradients = jax.tree.leaves(seen(overrides)[2]["gradients"])
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in gradients)


def test_unit_vectors_even_from_the_origin():
    latent, shapes, hyper = built({"latent__kind": "vmf"})

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def found(hidden):
        directions = latent.apply(zeros(shapes), hidden, hyper).posterior.mean_direction
        return directions.sum(), directions

    gradient, directions = found(0 * HIDDEN)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)


def test_paper_kl_is_guu_formula():
    """19.585 against 19.515 nats at d=50, kappa=80 (PAPER.md, point 2 of the authors' code)."""
    latent, shapes, hyper = built({"latent__dimension": 50, "latent__concentration": 80.0})
    pair = latent.apply(zeros(shapes), HIDDEN, hyper)
    z = jnp.zeros((1, BATCH, 50))
    np.testing.assert_allclose(kl_nats(pair, z), 19.515, atol=6e-4)
    np.testing.assert_allclose(guu_kl_nats(pair, z), 19.585, atol=6e-4)
    _, pair, found = seen({"latent__kind": "gaussian"})
    z = jnp.asarray(found["z"][:1])
    np.testing.assert_array_equal(kl_nats(pair, z), guu_kl_nats(pair, z))


@pytest.mark.parametrize(
    ("overrides", "factors"),
    [
        ({"latent__kind": "gaussian"}, DIMENSION),
        (
            {
                "latent__kind": "product_vmf",
                "latent__spheres": 3,
                "latent__concentrations": "learned_each",
            },
            3,
        ),
        ({"latent__kind": "learned_vmf"}, 1),
    ],
    ids=str,
)
def test_factors_add_up_to_the_kl(overrides, factors):
    _, pair, found = seen(overrides)
    each = np.asarray(factor_kl_nats(pair))
    assert each.shape == (BATCH, factors)
    np.testing.assert_allclose(each.sum(axis=1), found["kl"], rtol=1e-5)


@pytest.mark.parametrize("shape", ["smooth", "clipped"])
def test_learned_concentration_starts_where_told_and_stays_in_range(shape):
    latent, _, hyper = built(
        {
            "latent__kind": "learned_vmf",
            "latent__range": shape,
            "latent__min_concentration": 2.0,
            "latent__max_concentration": 50.0,
        }
    )

    @jax.jit
    def concentration(push):
        fresh = latent.init(jax.random.key(0), HIDDEN, hyper)
        far = jax.tree.map(lambda p: p + push, fresh)
        return latent.apply(far, abs(HIDDEN), hyper).posterior.concentration

    np.testing.assert_allclose(concentration(0.0), KAPPA, rtol=1e-5)
    for push in (-1e4, 1e4):
        kappa = np.asarray(concentration(push))
        assert (kappa >= 2 * (1 - 1e-5)).all()
        assert (kappa <= 50 * (1 + 1e-5)).all()


@pytest.mark.parametrize("gradient", ["exact", "kl_only"])
def test_samples_pass_a_gradient_to_the_concentration_only_if_it_is_exact(gradient):
    """E mean.z = A_d(kappa), so its derivative is that of A_d; without a path it is 0."""
    latent, shapes, _ = built(
        {"latent__kind": "learned_vmf", "latent__concentration_gradient": gradient}
    )

    def pair(kappa):
        return latent.apply(zeros(shapes), HIDDEN, {"concentration": kappa})

    @jax.jit
    @jax.jacrev
    def slopes(kappa):
        both = pair(kappa)
        cosines = sample(both.posterior, jax.random.key(8), 20_000)[..., 0]
        return cosines.mean(), kl_nats(both, jnp.zeros((1, BATCH, 6))).sum()

    posterior = jax.eval_shape(pair, KAPPA).posterior
    assert isinstance(posterior, DetachedVonMisesFisher) == (gradient == "kl_only")
    cosine, kl = slopes(jnp.float32(KAPPA))
    exact = special.bessel_ratio_derivative(6, jnp.float32(KAPPA))
    # The pathwise slope of 60,000 samples is within 1% of the exact one with a wide margin.
    np.testing.assert_allclose(cosine, exact if gradient == "exact" else 0.0, rtol=0.02)
    assert kl > 0


def test_a_clipped_concentration_has_no_gradient_beyond_its_ends():
    latent, shapes, hyper = built(
        {
            "latent__kind": "learned_vmf",
            "latent__range": "clipped",
            "latent__min_concentration": 5.0,
        }
    )

    @jax.jit
    @jax.grad
    def slope(bias):
        moved = zeros(shapes)
        moved["params"]["concentration"]["bias"] = bias[None]
        return kl_nats(latent.apply(moved, HIDDEN, hyper), jnp.zeros((1, BATCH, 6))).sum()

    assert slope(jnp.float32(0.0)) > 0
    assert slope(jnp.float32(-1.0)) == 0  # 6 / e is below 5


def test_fixed_concentration_costs_the_same_for_all():
    *_, found = seen({"latent__kind": "vmf"})
    np.testing.assert_allclose(found["kl"], special.kl_to_uniform(6, KAPPA), rtol=1e-6)


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_scale_gives_unit_variance(overrides):
    standard, _, found = seen(overrides)
    z = unit_variance_scale(standard) * found["standard"]
    # The variance of a variance over 50,000 samples is below 2/50,000: six standard errors.
    np.testing.assert_allclose(z.var(axis=0), 1, atol=6 * np.sqrt(2 / 50_000))


def test_a_posterior_without_a_mean_has_that_of_samples():
    normal = Normal(jnp.array([[0.0, 2.0]]), 0.1)
    law = TransformedDistribution(normal, SigmoidTransform()).to_event(1)
    with pytest.raises(NotImplementedError):
        _ = law.mean
    # Of 100 samples, whose standard errors are 0.0025 and 0.001.
    np.testing.assert_allclose(posterior_means(law), [[0.5, 0.8808]], atol=0.0125)
    np.testing.assert_array_equal(mean_codes(law), posterior_means(law))
