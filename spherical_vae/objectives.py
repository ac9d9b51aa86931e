"""Bounds on log p(x), in nats of each example; nothing here is averaged over examples."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from spherical_vae.averaged_latent import averaged_kl_nats
from spherical_vae.data.corpus import Batch
from spherical_vae.decoders.lstm import LSTMDecoder
from spherical_vae.errors import UserError
from spherical_vae.latents import Posterior
from spherical_vae.latents.vmf import VonMisesFisherHead, VonMisesFisherPosterior
from spherical_vae.names import require_name
from spherical_vae.vae import VAE, call

PAPER_SAMPLES = 3
PROTOCOLS = ("honest", "paper", "averaged")


class ElboTerms(NamedTuple):
    """The two terms of the negative ELBO, nats of each example.

    Attributes:
      reconstruction_nats: `[B]` - E_q log p(x|z), estimated.
      kl_nats: `[B]` KL(q(z|x) || p(z)), exact.
    """

    reconstruction_nats: Float[Array, " B"]
    kl_nats: Float[Array, " B"]


def elbo_terms(
    model: VAE,
    params: dict,
    batch: Batch,
    key: Key[Array, ""],
    *,
    concentration: Float[Array, ""],
    dropout_rate: Float[Array, ""] | None = None,
    samples: int = 1,
    protocol: str = "honest",
) -> ElboTerms:
    """Estimates the negative ELBO of each example; the sum of the two terms is the bound.

    Args:
      model: the VAE.
      params: its parameters.
      batch: examples.
      key: for z and dropout.
      concentration: of the fixed vMF, traced.
      dropout_rate: None in evaluation.
      samples: draws of z an example; the reconstruction is their average (honest).
      protocol: "honest", or "paper": three draws, *averaged before decoding* by the sentence
        decoder, and Guu et al.'s KL. That is no bound on log p(x): the averaged code carries more
        information than is charged. The document decoder averages log-likelihoods, which is sound.
        "averaged": the same reconstruction, charged with what the average carries (see
        `averaged_latent.py`); a fixed vMF and the sentence decoder only.

    Returns:
      Terms in nats. Source: Kingma and Welling (2014), equation 3.

    Raises:
      UserError: an unknown protocol, or "averaged" with other parts.
    """
    require_name("protocol", protocol, PROTOCOLS)
    averages = isinstance(model.decoder, LSTMDecoder)
    if protocol == "averaged" and not (averages and isinstance(model.latent, VonMisesFisherHead)):
        raise UserError(
            "protocol averaged: needs latent.kind vmf, the same concentration for all, and "
            f"decoder.kind lstm; {type(model.latent).__name__} and {type(model.decoder).__name__} "
            "given"
        )
    key_latent, key_dropout = jax.random.split(key)
    bound = model.bind({"params": params}, rngs={"dropout": key_dropout})
    posterior = bound.encode(batch, concentration, dropout_rate)
    if protocol == "honest":
        z = posterior.sample(key_latent, samples)
        kl_nats = posterior.kl_nats
    else:
        z = posterior.sample(key_latent, PAPER_SAMPLES)
        kl_nats = posterior.paper_kl_nats
        if isinstance(posterior, VonMisesFisherPosterior) and protocol == "averaged":
            kl_nats = averaged_kl_nats(z, posterior.concentration)
        if averages:
            z = z.mean(axis=0, keepdims=True)
    log_likelihood = bound.decode(z, batch, dropout_rate)  # [S, B]
    return ElboTerms(-log_likelihood.mean(axis=0), kl_nats)


def importance_log_weights(
    model: VAE,
    params: dict,
    batch: Batch,
    key: Key[Array, ""],
    *,
    concentration: Float[Array, ""],
    samples: int,
    chunk: int,
) -> Float[Array, "K B"]:
    """Returns log p(x|z_k) p(z_k) / q(z_k|x) of draws z_k from q(z|x).

    The encoder runs once; draws are decoded `chunk` at a time and never held together. Each draw
    has a key of its own, so its weight does not hang on the chunk but by rounding.

    Args:
      model: the VAE.
      params: its parameters.
      batch: examples.
      key: for z.
      concentration: of the fixed vMF.
      samples: K, at least 1.
      chunk: draws decoded at once, at least 1; memory grows with it.
    """
    chunk = min(chunk, samples)
    posterior: Posterior = call(model, params, VAE.encode, batch, concentration)

    def weigh(_: None, first: Array) -> tuple[None, Array]:
        keys = jax.vmap(lambda draw: jax.random.fold_in(key, draw))(first + jnp.arange(chunk))
        z = jax.vmap(lambda draw_key: posterior.sample(draw_key, 1)[0])(keys)  # [chunk, B, D]
        log_likelihood = call(model, params, VAE.decode, z, batch)
        return None, log_likelihood + posterior.prior_log_prob(z) - posterior.log_prob(z)

    # The last chunk may have draws that nobody asked for.
    _, weights = jax.lax.scan(weigh, None, chunk * jnp.arange(math.ceil(samples / chunk)))
    return weights.reshape(-1, batch.ids.shape[0])[:samples]


def importance_weighted_nats(
    model: VAE,
    params: dict,
    batch: Batch,
    key: Key[Array, ""],
    *,
    concentration: Float[Array, ""],
    samples: int,
    chunk: int,
) -> Float[Array, " B"]:
    """Estimates - log p(x) from above by importance sampling with q(z|x) as the proposal.

    - log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x), of the draws of `importance_log_weights`.

    Args:
      model: the VAE.
      params: its parameters.
      batch: examples.
      key: for z.
      concentration: of the fixed vMF.
      samples: K, at least 1.
      chunk: draws decoded at once, at least 1; memory grows with it.

    Returns:
      Nats of each example. Source: Burda, Grosse and Salakhutdinov (2016), equation 8.
    """
    weights = importance_log_weights(
        model, params, batch, key, concentration=concentration, samples=samples, chunk=chunk
    )
    return math.log(samples) - jax.nn.logsumexp(weights, axis=0)
