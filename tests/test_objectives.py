"""Bounds held against log p(x) by quadrature, on models small enough to integrate over z."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special as scipy_special
from small_models import WORDS, repad, rows_of, sentences, small_config

from spherical_vae import special
from spherical_vae.models.latents.latent import is_spherical, kl_nats, log_prob, sample
from spherical_vae.models.vae import VAE, build_vae, call, init_params
from spherical_vae.objectives.bounds import PAPER_SAMPLES, elbo_terms, importance_weighted_nats
from spherical_vae.system.errors import UserError

HYPER = {"concentration": jnp.float32(2.0)}


LEARNED = {"latent__dimension": 3, "latent__min_concentration": 0.1, "prior__components": 3}


def loud_model(seed=0, **overrides):
    """A model whose decoder listens to z, so that the gap between bounds is wide."""
    config = small_config(**overrides)
    model = build_vae(config, WORDS)
    params = init_params(model, seed)
    params = jax.tree.map(lambda leaf: 1.5 * leaf, params)
    return config, model, params


def sphere_grid(dimension):
    """Points on the sphere and weights of the uniform distribution, by quadrature."""
    if dimension == 2:
        angles = 2 * np.pi * np.arange(200) / 200
        return np.stack([np.cos(angles), np.sin(angles)], axis=1), np.full(200, 1 / 200)
    height, weights = np.polynomial.legendre.leggauss(24)
    angles = 2 * np.pi * np.arange(48) / 48
    ring = np.sqrt(1 - height**2)
    points = np.stack(
        [
            (ring[:, None] * np.cos(angles)).ravel(),
            (ring[:, None] * np.sin(angles)).ravel(),
            np.repeat(height, 48),
        ],
        axis=1,
    )
    return points, np.repeat(weights / 2, 48) / 48


def normal_grid(dimension):
    """Points and weights of the standard normal, by Gauss-Hermite quadrature."""
    nodes, weights = scipy_special.roots_hermitenorm(30)
    grid = np.stack(np.meshgrid(*[nodes] * dimension), axis=-1).reshape(-1, dimension)
    product = np.stack(np.meshgrid(*[weights] * dimension), axis=-1).reshape(-1, dimension).prod(1)
    return grid, product / product.sum()


def exact_log_evidence(config, model, params, batch):
    grid = sphere_grid if is_spherical(model.latent.standard_prior()) else normal_grid
    points, weights = grid(config.latent.dimension)
    rows = batch.ids.shape[0]
    z = jnp.broadcast_to(
        jnp.asarray(points, jnp.float32)[:, None], (len(points), rows, points.shape[1])
    )
    scores = np.asarray(jax.jit(partial(call, model, params, VAE.decode))(z, batch), np.float64)

    # The grid's weights are those of the standard prior.
    @jax.jit
    def ratio(z):
        prior = call(model, params, VAE.encode, batch, HYPER).prior
        return log_prob(prior, z) - log_prob(model.latent.standard_prior(), z)

    scores = scores + np.asarray(ratio(z[:, 0]), np.float64)[:, None]
    return scipy_special.logsumexp(scores, b=weights[:, None], axis=0)


@pytest.mark.parametrize(
    "overrides",
    [
        {"latent__kind": "vmf", "latent__dimension": 2},
        pytest.param(
            {"latent__kind": "vmf", "latent__dimension": 3, "latent__sampler": "wood"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"latent__kind": "learned_vmf", "latent__dimension": 3}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"latent__kind": "gaussian", "latent__dimension": 2}, marks=pytest.mark.thorough
        ),
        pytest.param(
            {**LEARNED, "latent__kind": "learned_vmf", "prior__kind": "mixture"},
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {**LEARNED, "latent__kind": "power_spherical", "prior__kind": "vamp"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"latent__kind": "vmf", "latent__dimension": 3, "decoder__kind": "bag_of_words"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_bounds_close_on_the_evidence(overrides):
    config, model, params = loud_model(**overrides)
    batch = sentences(rows=4, longest=5, seed=1)
    evidence = exact_log_evidence(config, model, params, batch)

    @jax.jit
    def elbo(key):
        terms = elbo_terms(model, params, batch, key, hyper=HYPER, samples=2000)
        return -(terms.reconstruction_nats + terms.kl_nats)

    @partial(jax.jit, static_argnums=1)
    def bound(key, samples):
        return -importance_weighted_nats(
            model, params, batch, key, hyper=HYPER, samples=samples, chunk=512
        )

    lower = np.asarray(elbo(jax.random.key(0)))
    some = np.mean([bound(key, 8) for key in jax.random.split(jax.random.key(1), 250)], axis=0)
    many = np.asarray(bound(jax.random.key(2), 20_000))
    # In expectation ELBO < IW of 8 < log p(x), and IW of many is log p(x); the gaps are wide.
    assert (lower < evidence - 0.01).all()
    assert lower.sum() < some.sum() < evidence.sum()
    np.testing.assert_allclose(many, evidence, atol=0.06)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, marks=pytest.mark.thorough),
        # Blocks of one step of one sample, and after the last word of the batch none.
        {"decoder__inputless": False, "compute__logits_at_once": 1},
        {"decoder__kind": "bag_of_words"},
    ],
    ids=str,
)
def test_chunks_need_not_divide(overrides):
    _, model, params = loud_model(**overrides)
    batch = repad(sentences(), 11)

    @partial(jax.jit, static_argnums=0)
    def bound(chunk):
        return importance_weighted_nats(
            model,
            params,
            batch,
            jax.random.key(3),
            hyper=HYPER,
            samples=10,
            chunk=chunk,
        )

    for chunk in (3, 50):
        np.testing.assert_allclose(bound(chunk), bound(10), rtol=1e-5)


def test_without_a_latent_all_bounds_are_the_likelihood():
    _, model, params = loud_model(latent__kind="none")
    batch = sentences()

    @jax.jit
    def bounds(key):
        return (
            call(model, params, VAE.decode, jnp.zeros((1, 6, 0)), batch)[0],
            elbo_terms(model, params, batch, key, hyper=HYPER),
            importance_weighted_nats(model, params, batch, key, hyper=HYPER, samples=5, chunk=2),
        )

    exact, terms, bound = bounds(jax.random.key(0))
    exact = np.asarray(exact)
    np.testing.assert_allclose(-exact, terms.reconstruction_nats, rtol=1e-6)
    np.testing.assert_array_equal(terms.kl_nats, 0)
    np.testing.assert_allclose(-exact, bound, rtol=1e-5)


def test_without_a_latent_the_prior_is_never_a_learned_one():
    config = small_config(latent__kind="none", prior__kind="mixture")
    assert not build_vae(config, WORDS).latent.prior.learned


def test_paper_protocol_averages_codes_of_sentences_only():
    batch = rows_of(sentences(), [0])
    for decoder, averaged in (("lstm", True), ("bag_of_words", False)):
        _, model, params = loud_model(decoder__kind=decoder)

        @jax.jit
        def found(key, model=model, params=params, averaged=averaged):
            terms = elbo_terms(model, params, batch, key, hyper=HYPER, protocol="paper")
            key_latent, _ = jax.random.split(key)
            pair = call(model, params, VAE.encode, batch, HYPER)
            z = sample(pair.posterior, key_latent, PAPER_SAMPLES)
            if averaged:
                z = z.mean(axis=0, keepdims=True)
            expected = -call(model, params, VAE.decode, z, batch).mean(axis=0)
            return terms, expected, kl_nats(pair, z)

        terms, expected, exact = found(jax.random.key(5))
        np.testing.assert_allclose(terms.reconstruction_nats, expected, rtol=1e-6)
        guu = special.kl_to_uniform(6, HYPER["concentration"])  # two dimensions higher
        np.testing.assert_allclose(terms.kl_nats, guu, rtol=1e-6)
        assert float(guu) != pytest.approx(float(exact[0]))


@pytest.mark.parametrize(
    ("protocol", "parts", "told"),
    [
        ("Honest", {}, "protocol: 'Honest' given, allowed: honest, paper, averaged"),
        ("averaged", {"latent__kind": "learned_vmf"}, "needs latent.kind vmf"),
        ("averaged", {"decoder__kind": "bag_of_words"}, "decoder.kind lstm"),
        ("averaged", {"prior__kind": "mixture"}, "allowed: honest"),
        ("paper", {"prior__kind": "vamp"}, "allowed: honest"),
    ],
)
def test_protocols_that_mean_nothing_are_refused(protocol, parts, told):
    model = build_vae(small_config(**parts), WORDS)
    with pytest.raises(UserError, match=told):
        elbo_terms(model, {}, sentences(), jax.random.key(0), hyper=HYPER, protocol=protocol)
