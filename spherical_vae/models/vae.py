"""The model: encoder -> latent -> decoder, and the word embeddings and conditions they share.

NVRNN and NVDM are two configurations of it.

Axes, here and everywhere: S samples of z, B examples of a batch, T slots of an example (words in
order, or distinct words), V vocabulary, D latent, E embedding, H hidden, C conditions, N rows.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from spherical_vae.data.batch import END_ID, Batch
from spherical_vae.models.decoders import build_decoder
from spherical_vae.models.decoders.decoder import Decoder
from spherical_vae.models.encoders import build_encoder
from spherical_vae.models.latents import build_latent
from spherical_vae.models.latents.latent import (
    LatentHyperparameters,
    LatentPair,
    coordinates,
    expectation,
    promoting_ranks,
    unit_variance_scale,
)
from spherical_vae.models.layers import DropoutRates
from spherical_vae.random.keys import Purpose, root_key


class VAE(nn.Module):
    """A text VAE whose parts are chosen by the configuration.

    Attributes:
      encoder: `(batch, embeddings, dropout) -> hidden [B, H]`.
      latent: `(hidden, hyper) -> LatentPair(posterior, prior)`.
      decoder: gives log p(x|z).
      vocabulary_size: V.
      embedding_size: E; 0 if no part reads word embeddings.
      scale: factor on z at the decoder.
      label_classes: number of labels.
      label_embedding_size: 0 if labels are not used.
      condition_on_bag: whether the decoder sees the mean embedding of its target (NVRNN-BoW). That
        is not a model of p(x): it conditions on x.
    """

    encoder: nn.Module
    latent: nn.Module
    decoder: Decoder
    vocabulary_size: int
    embedding_size: int
    scale: float
    label_classes: int
    label_embedding_size: int
    condition_on_bag: bool

    def setup(self) -> None:
        """Declares the shared embeddings."""
        if self.embedding_size:
            self.word_embeddings = self.param(
                "word_embeddings",
                nn.initializers.normal(0.1),
                (self.vocabulary_size, self.embedding_size),
            )
        if self.label_embedding_size:
            self.label_embeddings = self.param(
                "label_embeddings",
                nn.initializers.normal(0.1),
                (self.label_classes, self.label_embedding_size),
            )

    @property
    def latent_size(self) -> int:
        """D, the coordinates of z over all spheres; 0 without a latent."""
        return math.prod(self.latent.standard_prior().event_shape)

    @property
    def vocabulary_axes(self) -> dict[str, int]:
        """The axis over the vocabulary of each parameter that has one, by the end of its path."""
        return {
            "word_embeddings": 0,
            **{f"encoder.{path}": axis for path, axis in self.encoder.vocabulary_axes.items()},
            **{f"decoder.{path}": axis for path, axis in self.decoder.vocabulary_axes.items()},
        }

    @property
    def _embeddings(self) -> Float[Array, "V E"]:
        if self.embedding_size:
            return self.word_embeddings
        return jnp.zeros((self.vocabulary_size, 0))

    def encode(
        self,
        batch: Batch,
        hyper: LatentHyperparameters,
        dropout: DropoutRates | None = None,
    ) -> LatentPair:
        """Returns q(z|x) of each example, which depends on that example alone, and the prior."""
        return self.latent(self.summarise(batch, dropout), hyper)

    def summarise(self, batch: Batch, dropout: DropoutRates | None = None) -> Float[Array, "B H"]:
        """Returns the encoder's output for each example, the input of `latent_pair`."""
        return self.encoder(batch, self._embeddings, dropout)

    def latent_pair(self, hidden: Float[Array, "N H"], hyper: LatentHyperparameters) -> LatentPair:
        """Returns q(z|x) for rows of `summarise`, from one or several batches, and the prior."""
        return self.latent(hidden, hyper)

    def decode(
        self,
        z: Float[Array, "S B *event"],
        batch: Batch,
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "S B"]:
        """Returns log p(x|z) in nats of each example under each of its samples."""
        scaled = coordinates(z, 2) * self.scale
        return self.decoder(scaled, self.conditions(batch), batch, self._embeddings, dropout)

    def conditions(self, batch: Batch) -> Float[Array, "B C"]:
        """Returns the decoder's inputs beside z: label embedding, mean embedding of the bag."""
        parts = [jnp.zeros((batch.ids.shape[0], 0))]
        if self.label_embedding_size:
            parts.append(self.label_embeddings[batch.labels])
        if self.condition_on_bag:
            words = (batch.counts * (batch.ids != END_ID)).astype(jnp.float32)
            total = (self.word_embeddings[batch.ids] * words[..., None]).sum(axis=1)
            parts.append(total / jnp.maximum(words.sum(axis=1, keepdims=True), 1))
        return jnp.concatenate(parts, axis=1)

    def start(self, z: Float[Array, " N *event"], max_length: int) -> Any:
        """Returns the carry of the sentence decoder before the first of `max_length` words."""
        return self.decoder.start(coordinates(z, 1) * self.scale, max_length)

    def step(
        self,
        carry: Any,
        z: Float[Array, " N *event"],
        conditions: Float[Array, "N C"],
        previous: Int[Array, " N"],
    ) -> tuple[Any, Float[Array, "N V"]]:
        """Returns the next carry of the sentence decoder, and the logits of the next word."""
        scaled = coordinates(z, 1) * self.scale
        return self.decoder.step(carry, scaled, conditions, previous, self._embeddings)

    def word_log_probs(
        self, z: Float[Array, " N *event"], conditions: Float[Array, "N C"]
    ) -> Float[Array, "N V"]:
        """Returns the document decoder's log probability of each word."""
        scaled = coordinates(z, 1) * self.scale
        return self.decoder.word_log_probs(scaled[None], conditions)[0]

    @promoting_ranks
    def __call__(self, batch: Batch, hyper: LatentHyperparameters) -> Float[Array, " B"]:
        """Returns log p(x | mean of q(z|x)) in nats; uses every parameter, for `init`."""
        return self.decode(expectation(self.encode(batch, hyper).posterior)[None], batch)[0]


def build_vae(config: ConfigDict, vocabulary_size: int) -> VAE:
    """Returns the model that a validated configuration describes."""
    encoder = build_encoder(config, vocabulary_size)
    latent = build_latent(config.latent, config.prior)
    decoder = build_decoder(config, vocabulary_size)
    reads_words = encoder.reads_embeddings or decoder.reads_embeddings or config.condition_on_bag
    unit_variance = config.latent.unit_variance
    return VAE(
        encoder=encoder,
        latent=latent,
        decoder=decoder,
        vocabulary_size=vocabulary_size,
        embedding_size=config.embedding_size if reads_words else 0,
        scale=unit_variance_scale(latent.standard_prior()) if unit_variance else 1.0,
        label_classes=config.data.label_classes,
        label_embedding_size=config.label_embedding_size,
        condition_on_bag=config.condition_on_bag,
    )


def call(model: VAE, params: dict, method: Callable[..., Any], *args: Any) -> Any:
    """Returns `method(model, *args)` with `params`: `apply` for methods without dropout."""
    return model.apply({"params": params}, *args, method=method)


# By static arguments: models of one configuration are equal, and their programs are kept.
@partial(jax.jit, static_argnums=0)
def _initialise(model: VAE, key: Key[Array, ""], *args: Any) -> Any:
    return model.init(key, *args)


def init_params(model: VAE, seed: int, train_counts: Int[np.ndarray, " V"] | None = None) -> dict:
    """Returns fresh parameters, a function of the seed and of the words' frequencies.

    Args:
      model: the VAE.
      seed: `config.seed`.
      train_counts: how often each word occurs in train. The bias of the softmax is initialised with
        the log of these frequencies, add-one smoothed, so that training begins at the unigram
        model.
    """
    one, zero = jnp.ones((1, 1), jnp.int32), jnp.zeros(1, jnp.int32)
    batch = Batch(ids=one, counts=one, labels=zero, index=zero)
    hyper = {"concentration": jnp.float32(1.0)}  # No parameter depends on it.
    params: dict = _initialise(model, root_key(seed, Purpose.INIT), batch, hyper)["params"]
    if train_counts is not None and model.decoder.log_unigram_bias is not None:
        *path, name = ("decoder", *model.decoder.log_unigram_bias)
        parameters = params
        for part in path:
            parameters = parameters[part]
        frequencies = np.log((train_counts + 1.0) / (train_counts + 1.0).sum())
        parameters[name] = jnp.asarray(frequencies, jnp.float32)
    return params
