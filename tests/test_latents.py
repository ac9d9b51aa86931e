"""What every latent and every prior owe: two distributions whose KL and densities agree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import small_config

from spherical_vae import special
from spherical_vae.models.latents import LATENTS, PRIORS, build_latent
from spherical_vae.models.latents.latent import (
    LatentPair,
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
    *({"latent__kind": kind} for kind in LATENTS if kind != "product_vmf"),
    {"latent__kind": "vmf", "latent__sampler": "wood"},
    {"latent__kind": "learned_vmf", "latent__range": "clipped"},
    *(
        {"latent__kind": "product_vmf", "latent__spheres": 3, "latent__concentrations": how}
        for how in ("learned_each", "learned_shared", "fixed")
    ),
]
LEARNED_PRIORS = [
    {"latent__kind": kind, "latent__spheres": 3 if kind == "product_vmf" else 1, "prior__kind": p}
    for kind in LATENTS
    for p in PRIORS
    if p != "standard" and kind != "none"
]
# A prior of which NumPyro knows neither mean nor variance.
FLOW = {"latent__kind": "gaussian", "prior__kind": "extensions.flow_prior"}
BATCH, DIMENSION, KAPPA = 3, 6, 6.0


def built(overrides):
    """Returns the latent, its variables away from their start, hidden vectors and hyper."""
    return _built(tuple(sorted(overrides.items())))


@functools.cache
def _built(overrides):
    config = small_config(latent__concentration=KAPPA, prior__components=4)
    config.latent.dimension = DIMENSION
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides})
    latent = build_latent(config.latent, config.prior)
    hidden = jax.random.normal(jax.random.key(0), (BATCH, 7))
    hyper = latent_hyperparameters(config.latent)
    variables = jax.jit(latent.init)(jax.random.key(1), hidden, hyper)
    keys = iter(jax.random.split(jax.random.key(2), 20))
    variables = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(next(keys), p.shape), variables)
    return latent, variables, hidden, hyper


def pair_of(overrides):
    return _pair_of(tuple(sorted(overrides.items())))


@functools.cache
def _pair_of(overrides):
    latent, variables, hidden, hyper = _built(overrides)
    return jax.jit(latent.apply)(variables, hidden, hyper)


@pytest.mark.parametrize("overrides", VARIANTS + LEARNED_PRIORS, ids=str)
def test_contract_of_shapes(overrides):
    latent, *_ = built(overrides)
    posterior, prior = pair_of(overrides)
    event = latent.standard_prior().event_shape
    assert int(np.prod(event)) == (0 if overrides["latent__kind"] == "none" else DIMENSION)
    assert posterior.batch_shape == (BATCH,)
    assert prior.batch_shape == ()
    assert posterior.event_shape == prior.event_shape == event
    z = sample(posterior, jax.random.key(3), 5)
    assert z.shape == (5, BATCH, *event)
    assert log_prob(posterior, z).shape == log_prob(prior, z).shape == (5, BATCH)
    assert kl_nats(LatentPair(posterior, prior), z).shape == (BATCH,)
    assert posterior_means(posterior).shape == (BATCH, int(np.prod(event)))
    assert prior_deviations(prior).shape == (int(np.prod(event)),)
    assert (prior_deviations(prior) > 0).all()
    assert mean_codes(posterior).shape == (BATCH, *event)
    assert (
        is_spherical(posterior)
        == is_spherical(prior)
        == LATENTS[overrides["latent__kind"]].spherical
    )


@pytest.mark.parametrize("overrides", VARIANTS + LEARNED_PRIORS, ids=str)
def test_kl_is_the_expected_log_ratio(overrides):
    posterior, prior = pair_of(overrides)
    count = 20_000
    z = jax.jit(lambda q: sample(q, jax.random.key(4), count))(posterior)
    ratio = np.asarray(log_prob(posterior, z) - log_prob(prior, z), np.float64)
    error = ratio.std(axis=0) / np.sqrt(count)
    told = np.asarray(kl_nats(LatentPair(posterior, prior), z))
    if overrides.get("prior__kind", "standard") != "standard":
        # Estimated from other samples: both have errors, the estimate the smaller one.
        other = jax.jit(lambda q: sample(q, jax.random.key(5), count))(posterior)
        told = np.asarray(kl_nats(LatentPair(posterior, prior), other))
        error = 1.5 * error
    # 4.5 standard errors in 3 rows of 21 variants: fails by chance once in 2,000 seeds.
    assert (np.abs(ratio.mean(axis=0) - told) <= 4.5 * error + 1e-5).all()
    if overrides["latent__kind"] != "none":
        flat = np.asarray(z).reshape(count, BATCH, -1)
        gap = np.abs(flat.mean(axis=0) - posterior_means(posterior))
        # Five standard errors in 378 coordinates: fails by chance once in 4,600 seeds.
        assert (gap <= 5 * flat.std(axis=0) / np.sqrt(count)).all()
        # Power: a density of the wrong scale by a twentieth is seen.
        assert (np.abs(1.05 * ratio.mean(axis=0) - told) > 4.5 * error).any()


@pytest.mark.parametrize("overrides", [*LEARNED_PRIORS, FLOW], ids=str)
def test_a_learned_prior_is_a_density_and_its_samples_follow_it(overrides):
    """Importance sampling of the total mass from the standard prior, which covers everything."""
    latent, *_ = built(overrides)
    _, prior = pair_of(overrides)
    standard = latent.standard_prior()
    proposal = sample(standard, jax.random.key(0), 40_000)
    if not is_spherical(standard):
        proposal = 3.0 * proposal  # wider than every component
    log_q = log_prob(standard, proposal if is_spherical(standard) else proposal / 3.0)
    if not is_spherical(standard):
        log_q = log_q - DIMENSION * np.log(3.0)
    weights = np.exp(np.asarray(log_prob(prior, proposal) - log_q, np.float64))
    error = weights.std() / np.sqrt(len(weights))
    # Five standard errors in eleven variants: fails by chance once in 150,000 seeds.
    assert abs(weights.mean() - 1) <= 5 * error
    assert error < 0.1
    z = jax.jit(lambda p: sample(p, jax.random.key(1), 20_000))(prior)
    flat = np.asarray(z, np.float64).reshape(20_000, -1)
    if overrides is not FLOW:
        with jax.numpy_rank_promotion("allow"):
            mean = np.asarray(prior.mean).reshape(-1)
        assert (np.abs(flat.mean(0) - mean) <= 5 * flat.std(0) / np.sqrt(len(flat))).all()
    np.testing.assert_allclose(flat.std(0), prior_deviations(prior), rtol=0.05)


@pytest.mark.parametrize("overrides", LEARNED_PRIORS, ids=str)
def test_a_learned_prior_does_not_depend_on_the_batch(overrides):
    latent, variables, hidden, hyper = built(overrides)
    posterior, prior = pair_of(overrides)
    z = sample(posterior, jax.random.key(3), 2)
    other = jax.jit(latent.apply)(variables, 2 * hidden[:1], hyper).prior
    np.testing.assert_allclose(log_prob(prior, z), log_prob(other, z), rtol=1e-5)


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_all_pairs(overrides):
    posterior, _ = pair_of(overrides)
    z = sample(posterior, jax.random.key(5), 1)[0]
    pairs = log_prob(posterior, z[:, None])
    assert pairs.shape == (BATCH, BATCH)
    own = log_prob(posterior, z)
    np.testing.assert_allclose(np.diag(pairs), own, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overrides", VARIANTS + LEARNED_PRIORS, ids=str)
def test_gradients_reach_every_parameter(overrides):
    latent, variables, hidden, hyper = built(overrides)

    def loss(variables):
        pair = latent.apply(variables, hidden, hyper)
        z = sample(pair.posterior, jax.random.key(6), 4)
        return (z**3).sum() + kl_nats(pair, z).sum()

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(variables))
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in gradients)


def test_unit_vectors_even_from_the_origin():
    latent, variables, hidden, hyper = built({"latent__kind": "vmf"})
    zero = jax.tree.map(jnp.zeros_like, variables)

    def directions(hidden):
        return latent.apply(zero, hidden, hyper).posterior.mean_direction

    mean, gradient = jax.value_and_grad(lambda h: directions(h).sum())(0 * hidden)
    assert np.isfinite(mean)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(np.linalg.norm(directions(0 * hidden), axis=1), 1, rtol=1e-6)


def test_paper_kl_is_guu_formula():
    """19.585 against 19.515 nats at d=50, kappa=80 (PAPER.md, point 2 of the authors' code)."""
    pair = pair_of({"latent__dimension": 50, "latent__concentration": 80.0})
    z = sample(pair.posterior, jax.random.key(0), 1)
    np.testing.assert_allclose(kl_nats(pair, z), 19.515, atol=6e-4)
    np.testing.assert_allclose(guu_kl_nats(pair, z), 19.585, atol=6e-4)
    gaussian = pair_of({"latent__kind": "gaussian"})
    z = sample(gaussian.posterior, jax.random.key(0), 1)
    np.testing.assert_array_equal(kl_nats(gaussian, z), guu_kl_nats(gaussian, z))


@pytest.mark.parametrize(
    ("overrides", "factors"),
    [
        ({"latent__kind": "gaussian"}, DIMENSION),
        ({"latent__kind": "product_vmf", "latent__spheres": 3}, 3),
        ({"latent__kind": "learned_vmf"}, 1),
    ],
    ids=str,
)
def test_factors_add_up_to_the_kl(overrides, factors):
    pair = pair_of(overrides)
    found = factor_kl_nats(pair)
    assert found.shape == (BATCH, factors)
    z = sample(pair.posterior, jax.random.key(0), 1)
    np.testing.assert_allclose(found.sum(axis=1), kl_nats(pair, z), rtol=1e-5)


@pytest.mark.parametrize("shape", ["smooth", "clipped"])
def test_learned_concentration_starts_where_told_and_stays_in_range(shape):
    latent, variables, hidden, hyper = built(
        {
            "latent__kind": "learned_vmf",
            "latent__range": shape,
            "latent__min_concentration": 2.0,
            "latent__max_concentration": 50.0,
        }
    )
    fresh = jax.jit(latent.init)(jax.random.key(0), hidden, hyper)
    start = latent.apply(fresh, hidden, hyper).posterior.concentration
    np.testing.assert_allclose(start, KAPPA, rtol=1e-5)
    for push in (-1e4, 1e4):
        far = jax.tree.map(lambda p, push=push: p + push, variables)
        kappa = latent.apply(far, jnp.ones_like(hidden), hyper).posterior.concentration
        assert (kappa >= 2 * (1 - 1e-5)).all()
        assert (kappa <= 50 * (1 + 1e-5)).all()


@pytest.mark.parametrize("gradient", ["exact", "kl_only"])
def test_samples_pass_a_gradient_to_the_concentration_only_if_it_is_exact(gradient):
    """E mean.z = A_d(kappa), so its derivative is that of A_d; without a path it is 0."""
    latent, variables, hidden, _ = built(
        {"latent__kind": "learned_vmf", "latent__concentration_gradient": gradient}
    )
    zero = jax.tree.map(jnp.zeros_like, variables)

    def pair(kappa):
        return latent.apply(zero, hidden, {"concentration": kappa})

    def cosine(kappa):
        return sample(pair(kappa).posterior, jax.random.key(8), 20_000)[..., 0].mean()

    assert isinstance(pair(6.0).posterior, DetachedVonMisesFisher) == (gradient == "kl_only")
    slope = jax.jit(jax.grad(cosine))(jnp.float32(KAPPA))
    exact = jax.grad(lambda kappa: special.bessel_ratio(6, kappa))(jnp.float32(KAPPA))
    # The pathwise slope of 60,000 samples is within 1% of the exact one with a wide margin.
    np.testing.assert_allclose(slope, exact if gradient == "exact" else 0.0, rtol=0.02)
    z = jnp.zeros((1, BATCH, 6))
    assert jax.grad(lambda kappa: kl_nats(pair(kappa), z).sum())(jnp.float32(KAPPA)) > 0


def test_a_clipped_concentration_has_no_gradient_beyond_its_ends():
    latent, variables, hidden, hyper = built(
        {
            "latent__kind": "learned_vmf",
            "latent__range": "clipped",
            "latent__min_concentration": 5.0,
        }
    )
    zero = jax.tree.map(jnp.zeros_like, variables)

    def kl(bias):
        moved = jax.tree.map(lambda p: p, zero)
        moved["params"]["concentration"]["bias"] = bias[None]
        return kl_nats(latent.apply(moved, hidden, hyper), jnp.zeros((1, BATCH, 6))).sum()

    slope = jax.grad(kl)
    assert slope(jnp.float32(0.0)) > 0
    assert slope(jnp.float32(-1.0)) == 0  # 6 / e is below 5


def test_fixed_concentration_costs_the_same_for_all():
    pair = pair_of({"latent__kind": "vmf"})
    z = sample(pair.posterior, jax.random.key(0), 1)
    np.testing.assert_allclose(kl_nats(pair, z), special.kl_to_uniform(6, KAPPA), rtol=1e-6)


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_scale_gives_unit_variance(overrides):
    latent, *_ = built(overrides)
    prior = latent.standard_prior()
    z = unit_variance_scale(prior) * np.asarray(sample(prior, jax.random.key(7), 50_000))
    # The variance of a variance over 50,000 samples is below 2/50,000: six standard errors.
    np.testing.assert_allclose(z.var(axis=0), 1, atol=6 * np.sqrt(2 / 50_000))
