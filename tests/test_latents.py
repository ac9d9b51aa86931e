"""What every latent owes: the `Posterior` contract, with its KL held against its own densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import small_config

from spherical_vae import special
from spherical_vae.latents import build_latent, decoder_scale, latent_dimension, sample_prior
from spherical_vae.latents.vmf import VonMisesFisherPosterior

KINDS = [
    {"latent__kind": "none"},
    {"latent__kind": "gaussian"},
    {"latent__kind": "vmf"},
    {"latent__kind": "vmf", "latent__sampler": "wood"},
    {"latent__kind": "learned_vmf"},
    {"latent__kind": "learned_vmf", "latent__range": "clipped"},
]
BATCH = 3
CONCENTRATION = jnp.float32(6.0)


def head_and_posterior(overrides):
    settings = small_config(**overrides).latent
    settings.dimension = 6
    head = build_latent(settings)
    hidden = jax.random.normal(jax.random.key(0), (BATCH, 7))
    variables = jax.jit(head.init)(jax.random.key(1), hidden, CONCENTRATION)
    # Away from the zero start of the scale parameters.
    keys = iter(jax.random.split(jax.random.key(2), 10))
    variables = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(next(keys), p.shape), variables)
    return settings, head, variables, hidden, jax.jit(head.apply)(variables, hidden, CONCENTRATION)


@pytest.mark.parametrize("overrides", KINDS, ids=str)
def test_contract_of_shapes(overrides):
    settings, _, _, _, posterior = head_and_posterior(overrides)
    dimension = latent_dimension(settings)
    assert posterior.mean.shape == (BATCH, dimension)
    assert posterior.kl_nats.shape == posterior.paper_kl_nats.shape == (BATCH,)
    z = posterior.sample(jax.random.key(3), 5)
    assert z.shape == (5, BATCH, dimension)
    assert posterior.log_prob(z).shape == posterior.prior_log_prob(z).shape == (5, BATCH)
    assert sample_prior(settings, jax.random.key(0), 4).shape == (4, dimension)
    # It is a pytree that may cross jit, and be gathered over batches.
    assert jax.jit(lambda q: q.kl_nats)(posterior).shape == (BATCH,)
    one = jax.tree.map(lambda leaf: leaf[:1], posterior)
    np.testing.assert_allclose(one.kl_nats, posterior.kl_nats[:1], rtol=1e-6)


@pytest.mark.parametrize("overrides", KINDS, ids=str)
def test_kl_is_the_expected_log_ratio(overrides):
    _, _, _, _, posterior = head_and_posterior(overrides)
    draws = 20_000
    z = jax.jit(lambda q: q.sample(jax.random.key(4), draws))(posterior)
    ratio = np.asarray(posterior.log_prob(z) - posterior.prior_log_prob(z), np.float64)
    error = ratio.std(axis=0) / np.sqrt(draws)
    # 4.5 standard errors in 3 rows of 6 kinds: fails by chance once in 10,000 seeds.
    assert (np.abs(ratio.mean(axis=0) - posterior.kl_nats) <= 4.5 * error + 1e-5).all()
    if overrides["latent__kind"] != "none":
        deviation = np.asarray(z).std(axis=0)
        gap = np.abs(np.asarray(z).mean(axis=0) - posterior.expectation)
        # Five standard errors in 72 coordinates: fails by chance once in 24,000 seeds.
        assert (gap <= 5 * deviation / np.sqrt(draws)).all()
        # Power: a density of the wrong scale by a twentieth is seen.
        assert (np.abs(1.05 * ratio.mean(axis=0) - posterior.kl_nats) > 4.5 * error).any()


@pytest.mark.parametrize("overrides", KINDS, ids=str)
def test_all_pairs(overrides):
    _, _, _, _, posterior = head_and_posterior(overrides)
    z = posterior.sample(jax.random.key(5), 1)[0]
    pairs = posterior.log_prob(z[:, None, :])
    assert pairs.shape == (BATCH, BATCH)
    own = posterior.log_prob(z[None])[0]
    np.testing.assert_allclose(np.diag(pairs), own, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overrides", KINDS, ids=str)
def test_gradients_reach_the_head(overrides):
    _, head, variables, hidden, _ = head_and_posterior(overrides)

    def loss(variables):
        posterior = jax.jit(head.apply)(variables, hidden, CONCENTRATION)
        z = posterior.sample(jax.random.key(6), 4)
        return (z**3).sum() + posterior.kl_nats.sum()

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(variables))
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in gradients)


def test_unit_vectors_even_from_the_origin():
    settings = small_config().latent
    head = build_latent(settings)
    hidden = jnp.zeros((2, 7))
    variables = jax.jit(head.init)(jax.random.key(0), hidden, CONCENTRATION)
    zero = jax.tree.map(jnp.zeros_like, variables)
    mean, gradient = jax.value_and_grad(
        lambda h: head.apply(zero, h, CONCENTRATION).mean.sum(), argnums=0
    )(hidden)
    assert np.isfinite(mean)
    assert np.isfinite(gradient).all()
    norms = np.linalg.norm(head.apply(zero, hidden, CONCENTRATION).mean, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)


def test_paper_kl_is_guu_formula():
    """19.585 against 19.515 nats at d=50, kappa=80 (PAPER.md, point 2 of the authors' code)."""
    settings = small_config(latent__dimension=50).latent
    head = build_latent(settings)
    variables = jax.jit(head.init)(jax.random.key(0), jnp.ones((1, 7)), jnp.float32(80))
    posterior = head.apply(variables, jnp.ones((1, 7)), jnp.float32(80))
    np.testing.assert_allclose(posterior.kl_nats, 19.515, atol=6e-4)
    np.testing.assert_allclose(posterior.paper_kl_nats, 19.585, atol=6e-4)


@pytest.mark.parametrize("shape", ["smooth", "clipped"])
def test_learned_concentration_starts_where_told_and_stays_in_range(shape):
    settings = small_config(
        latent__kind="learned_vmf",
        latent__range=shape,
        latent__min_concentration=2.0,
        latent__max_concentration=50.0,
    ).latent
    head = build_latent(settings)
    hidden = jnp.ones((1, 7))
    variables = jax.jit(head.init)(jax.random.key(0), hidden, CONCENTRATION)
    start = jax.jit(head.apply)(variables, hidden, CONCENTRATION).concentration
    np.testing.assert_allclose(start, CONCENTRATION, rtol=1e-5)
    for push in (-1e4, 1e4):
        far = jax.tree.map(lambda p, push=push: p + push, variables)
        kappa = float(head.apply(far, hidden, CONCENTRATION).concentration[0])
        assert 2 * (1 - 1e-5) <= kappa <= 50 * (1 + 1e-5)


@pytest.mark.parametrize("gradient", ["exact", "kl_only"])
def test_draws_pass_a_gradient_to_the_concentration_only_if_it_is_exact(gradient):
    """E mean.z = A_d(kappa), so its derivative is that of A_d; without a path it is 0."""

    def posterior(kappa):
        mean = jnp.zeros((BATCH, 6)).at[:, 0].set(1.0)
        return VonMisesFisherPosterior(
            mean, jnp.broadcast_to(kappa, BATCH), concentration_gradient=gradient
        )

    def cosine(kappa):
        return posterior(kappa).sample(jax.random.key(8), 20_000)[..., 0].mean()

    slope = jax.jit(jax.grad(cosine))(CONCENTRATION)
    exact = jax.grad(lambda kappa: special.bessel_ratio(6, kappa))(CONCENTRATION)
    # The pathwise slope of 60,000 draws is within 1% of the exact one with a wide margin.
    np.testing.assert_allclose(slope, exact if gradient == "exact" else 0.0, rtol=0.02)
    assert jax.grad(lambda kappa: posterior(kappa).kl_nats.sum())(CONCENTRATION) > 0


def test_a_clipped_concentration_has_no_gradient_beyond_its_ends():
    settings = small_config(
        latent__kind="learned_vmf", latent__range="clipped", latent__min_concentration=5.0
    ).latent
    head = build_latent(settings)
    hidden = jnp.ones((1, 7))
    variables = jax.jit(head.init)(jax.random.key(0), hidden, CONCENTRATION)

    def kl(bias):
        moved = jax.tree.map(lambda p: p, variables)
        moved["params"]["concentration"]["bias"] = bias[None]
        return head.apply(moved, hidden, CONCENTRATION).kl_nats.sum()

    slope = jax.grad(kl)
    assert slope(jnp.float32(0.0)) > 0
    assert slope(jnp.float32(-1.0)) == 0  # 6 / e is below 5


def test_fixed_concentration_costs_the_same_for_all():
    _, _, _, _, posterior = head_and_posterior({"latent__kind": "vmf"})
    np.testing.assert_allclose(
        posterior.kl_nats, special.kl_to_uniform(6, CONCENTRATION), rtol=1e-6
    )


def test_decoder_scale_gives_unit_variance():
    settings = small_config(latent__dimension=16).latent
    z = decoder_scale(settings) * sample_prior(settings, jax.random.key(7), 50_000)
    # The variance of a variance over 50,000 draws is below 2/50,000: six standard errors.
    np.testing.assert_allclose(z.var(axis=0), 1, atol=6 * np.sqrt(2 / 50_000))
    settings.unit_variance = False
    assert decoder_scale(settings) == 1
