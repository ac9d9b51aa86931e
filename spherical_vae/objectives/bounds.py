"""Bounds on log p(x), in nats of each example; nothing here is averaged over examples."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from numpyro.distributions import Independent

from spherical_vae import special
from spherical_vae.data.batch import Batch
from spherical_vae.distributions import HypersphericalUniform, VonMisesFisher
from spherical_vae.models.latents import latent
from spherical_vae.models.latents.latent import LatentHyperparameters, LatentPair
from spherical_vae.models.layers import DropoutRates
from spherical_vae.models.vae import VAE, call
from spherical_vae.objectives.averaged import averaged_kl_nats
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

PAPER_SAMPLES = 3
PROTOCOLS = ("honest", "paper", "averaged")


class ElboTerms(NamedTuple):
    """The two terms of the negative ELBO, nats of each example.

    Attributes:
      reconstruction_nats: - E_q log p(x|z), estimated.
      kl_nats: KL(q(z|x) || p(z)): exact if a closed form is registered, else estimated from the
        same samples.
      factor_kl_nats: KL of each independent factor of z, if `by_factor` asks for it.
    """

    reconstruction_nats: Float[Array, " B"]
    kl_nats: Float[Array, " B"]
    factor_kl_nats: Float[Array, "B F"] | None = None


def elbo_terms(
    model: VAE,
    params: dict,
    batch: Batch,
    key: Key[Array, ""],
    *,
    hyper: LatentHyperparameters,
    dropout: DropoutRates | None = None,
    samples: int = 1,
    protocol: str = "honest",
    by_factor: bool = False,
) -> ElboTerms:
    """Estimates the negative ELBO of each example; the sum of the two terms is the bound.

    Args:
      model: the VAE.
      params: its parameters.
      batch: examples.
      key: for z and dropout.
      hyper: of the latent.
      dropout: rates; None in evaluation.
      samples: of z for each example, whose reconstructions are averaged; "honest" only.
      protocol: "honest"; "paper": three samples, *averaged before decoding* by the sentence
        decoder, and Guu et al.'s KL, which is not a bound on log p(x), since the averaged latent
        carries more information than is charged (the document decoder averages log-likelihoods,
        which is sound); or "averaged": the same reconstruction with the KL of the average (see
        `averaged.py`), for a fixed vMF and the sentence decoder.
      by_factor: whether to return the KL of each factor too; needs a registered KL.

    Returns:
      Terms in nats. Source: Kingma and Welling (2014), equation 3.

    Raises:
      UserError: the protocol is unknown, or not defined for this latent, prior or decoder; or
        `by_factor`, and no KL is registered.
    """
    require_name("protocol", protocol, PROTOCOLS)
    averages = model.decoder.scores_sequences
    if protocol != "honest" and model.latent.prior.learned:
        raise UserError(
            f"protocol {protocol}: its KL is a formula for the uniform prior, and this model has a "
            "learned one; allowed: honest"
        )
    if protocol == "averaged" and not (averages and model.latent.shared_concentration):
        raise UserError(
            "protocol averaged: needs latent.kind vmf, the same concentration for all, and "
            f"decoder.kind lstm; {type(model.latent).__name__} and {type(model.decoder).__name__} "
            "given"
        )
    key_latent, key_dropout = jax.random.split(key)
    bound = model.bind({"params": params}, rngs={"dropout": key_dropout})
    pair = bound.encode(batch, hyper, dropout)
    z = latent.sample(
        pair.posterior, key_latent, samples if protocol == "honest" else PAPER_SAMPLES
    )
    if protocol == "honest":
        charged = latent.kl_nats(pair, z)
    elif protocol == "paper":
        charged = guu_kl_nats(pair, z)
    else:
        charged = averaged_kl_nats(z, pair.posterior.concentration)
    if averages and protocol != "honest":
        z = z.mean(axis=0, keepdims=True)
    log_likelihood = bound.decode(z, batch, dropout)  # [S, B]
    factors = None
    if by_factor:
        try:
            factors = latent.factor_kl_nats(pair)
        except NotImplementedError:
            families = f"{type(pair.posterior).__name__} and {type(pair.prior).__name__}"
            raise UserError(
                "config.rate.free_nats_per: 'factor' given, allowed: example with this latent, as "
                f"no KL is registered for its distributions, {families}"
            ) from None
    return ElboTerms(-log_likelihood.mean(axis=0), charged, factors)


def guu_kl_nats(pair: LatentPair, z: Float[Array, "S B *event"]) -> Float[Array, " B"]:
    """Computes the KL of the authors' code.

    For a vMF under the uniform prior it is Guu et al.'s formula, the exact KL two dimensions
    higher; for others, that of `latent.kl_nats`.
    """
    posterior, prior = pair
    if isinstance(posterior, Independent) and isinstance(prior, Independent):
        posterior, prior = posterior.base_dist, prior.base_dist
    if isinstance(posterior, VonMisesFisher) and isinstance(prior, HypersphericalUniform):
        dimension = posterior.event_shape[0] + 2
        each = special.kl_to_uniform(dimension, posterior.concentration)
        return each.reshape(each.shape[0], -1).sum(axis=1)
    return latent.kl_nats(pair, z)


def importance_log_weights(
    model: VAE,
    params: dict,
    batch: Batch,
    key: Key[Array, ""],
    *,
    hyper: LatentHyperparameters,
    samples: int,
    chunk: int,
) -> Float[Array, "K B"]:
    """Returns log p(x|z_k) p(z_k) / q(z_k|x) of samples z_k of q(z|x).

    Samples are decoded `chunk` at a time and never held together. Each sample has its own key, so
    that weights depend on the chunk size only by rounding.

    Args:
      model, params, batch, hyper: those of `elbo_terms`.
      key: for z.
      samples: K, at least 1.
      chunk: samples decoded at once, at least 1; memory grows with it.
    """
    chunk = min(chunk, samples)
    posterior, prior = call(model, params, VAE.encode, batch, hyper)

    def weigh(first: Array) -> Array:
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(first + jnp.arange(chunk))
        z = jax.vmap(lambda one: latent.sample(posterior, one, 1)[0])(keys)  # [chunk, B, *event]
        log_likelihood = call(model, params, VAE.decode, z, batch)
        return log_likelihood + latent.log_prob(prior, z) - latent.log_prob(posterior, z)

    # The last chunk may be longer than needed.
    weights = jax.lax.map(weigh, chunk * jnp.arange(math.ceil(samples / chunk)))
    return weights.reshape(-1, batch.ids.shape[0])[:samples]


def importance_weighted_nats(
    model: VAE, params: dict, batch: Batch, key: Key[Array, ""], *, samples: int, **options: Any
) -> Float[Array, " B"]:
    """Estimates - log p(x) from above by importance sampling with q(z|x) as the proposal.

    The estimate is - log (1/K) sum_k of the exponentials of `importance_log_weights`, which has
    the arguments.

    Returns:
      Nats of each example. Source: Burda, Grosse and Salakhutdinov (2016), equation 8.
    """
    weights = importance_log_weights(model, params, batch, key, samples=samples, **options)
    return math.log(samples) - jax.nn.logsumexp(weights, axis=0)
