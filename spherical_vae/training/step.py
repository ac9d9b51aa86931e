"""One optimiser step as a pure function: `state = train_step(state, batch, hyper)`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.models.compute import EXACT
from spherical_vae.models.latents.latent import LatentHyperparameters, latent_hyperparameters
from spherical_vae.models.layers import DropoutRates
from spherical_vae.models.vae import VAE, init_params
from spherical_vae.objectives.bounds import ElboTerms, elbo_terms
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.training.optimizer import averaging_weight

# The multiplier of the KL stays within e^-20 and e^20, far beyond what any model needs.
MAX_LOG_MULTIPLIER = 20.0


class Sums(NamedTuple):
    """Totals over the examples since the last train record, kept on the device.

    `first_bad_step` is the first step whose loss or gradient was not finite, -1 if there is none.
    """

    reconstruction_nats: Float[Array, ""]
    kl_nats: Float[Array, ""]
    tokens: Float[Array, ""]
    examples: Float[Array, ""]
    first_bad_step: Int[Array, ""]


class TrainState(NamedTuple):
    """Everything that training changes on the device; a checkpoint has the progress beside it.

    Attributes:
      step: steps done.
      params: of the model.
      opt_state: of optax.
      sums: since the last train record.
      average: moving average of the parameters, or None.
      log_multiplier: logarithm of the factor on the KL that keeps its mean at
        `config.rate.target_nats`; None without a target.
      first_decoder: initial parameters of the decoder, restored after the autoencoder phase; None
        without such a phase.
    """

    step: Int[Array, ""]
    params: dict
    opt_state: optax.OptState
    sums: Sums
    average: dict | None = None
    log_multiplier: Float[Array, ""] | None = None
    first_decoder: dict | None = None

    @property
    def evaluated(self) -> dict:
        """The parameters that are evaluated and selected: the average if there is one."""
        return self.params if self.average is None else self.average


class Hyperparameters(NamedTuple):
    """Scalars that may change without compiling again.

    Attributes:
      seed: of dropout and sampling; the key of a step is a function of it and of the step.
      learning_rate: of this step.
      latent: hyperparameters of the latent; opaque here.
      kl_weight: of this step.
      dropout: rates.
      average_from: number of steps that are not part of the moving average.
      autoencoder_phase: whether this step is one of that phase.
    """

    seed: UInt[Array, ""]
    learning_rate: Float[Array, ""]
    latent: LatentHyperparameters
    kl_weight: Float[Array, ""]
    dropout: DropoutRates
    average_from: Int[Array, ""]
    autoencoder_phase: Bool[Array, ""]


def hyperparameters(
    config: ConfigDict,
    learning_rate: float,
    kl_weight: float = 1.0,
    average_from: int = 0,
    autoencoder_phase: bool = False,
) -> Hyperparameters:
    """Returns the hyperparameters of a step, from its configuration and its schedules.

    They are NumPy scalars, which are sent with the call and wait for nothing before it.
    """
    rates = config.dropout_rate, config.state_dropout_rate, config.word_dropout_rate
    dropout: tuple[Any, ...] = tuple(map(np.float32, rates))
    values: tuple[Any, ...] = (
        np.uint32(config.seed),
        np.float32(learning_rate),
        latent_hyperparameters(config.latent),
        np.float32(kl_weight),
        DropoutRates(*dropout),
        np.int32(average_from),
        np.bool_(autoencoder_phase),
    )
    return Hyperparameters(*values)


TrainStep = Callable[[TrainState, Batch, Hyperparameters], TrainState]


def empty_sums() -> Sums:
    """Returns the totals of no step, each in a buffer of its own: the step donates them."""
    never = jnp.full((), -1, jnp.int32)
    return Sums(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()), never)


def init_state(
    params: dict, optimizer: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
    """Returns the state before the first step; the configuration decides its optional parts."""
    average = config.optimizer.average_decay > 0
    decoder = config.rate.autoencoder_epochs > 0
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        sums=empty_sums(),
        average=jax.tree.map(jnp.copy, params) if average else None,
        log_multiplier=jnp.zeros(()) if config.rate.target_nats > 0 else None,
        first_decoder=jax.tree.map(jnp.copy, params["decoder"]) if decoder else None,
    )


def with_first_decoder(state: TrainState, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state from which training continues after an autoencoder phase.

    The decoder's parameters, and their averages, are again the initial ones. Encoder, latent,
    embeddings (of which the phase trains those of words alone, and only if the softmax does not
    multiply by them), totals and the number of steps are kept. The optimiser is initialised as a
    whole: Adam has one count of steps for all moments, and new moments would be biased under an
    old count.

    Source: Li et al. (2019), "A surprisingly effective fix for deep latent variable modeling of
    text", section 3.
    """
    assert state.first_decoder is not None
    decoder = {"decoder": state.first_decoder}
    params = state.params | decoder
    average = state.average and state.average | decoder
    return state._replace(params=params, opt_state=optimizer.init(params), average=average)


def abstract_state(
    model: VAE, optimizer: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
    """Returns shapes and types of the state, without making it."""
    return jax.eval_shape(lambda: init_state(init_params(model, 0), optimizer, config))


def make_train_step(
    model: VAE, optimizer: optax.GradientTransformation, config: ConfigDict
) -> TrainStep:
    """Returns the step of a configuration, not yet jitted; it applies the learning rate."""
    settings, rate = config.train, config.rate
    by_factor = rate.free_nats > 0 and rate.free_nats_per == "factor"
    # What the decoder reads, and is not in it, stays as it is for the one that follows the phase.
    shared = {
        "label_embeddings": config.label_embedding_size > 0,
        "word_embeddings": config.decoder.tied_embeddings,
    }
    resting = [name for name, is_there in shared.items() if is_there and rate.autoencoder_epochs]

    def train_step(state: TrainState, batch: Batch, hyper: Hyperparameters) -> TrainState:
        key = jax.random.fold_in(root_key(hyper.seed, Purpose.TRAIN), state.step)
        real = (batch.index >= 0).astype(jnp.float32)  # 0 for rows that fill the batch
        tokens = batch.counts.sum().astype(jnp.float32)
        divisor = {"example": real.sum(), "token": tokens}[settings.nats_per]
        total = partial(jnp.dot, real, precision=EXACT)

        def loss(params: dict) -> tuple[Array, tuple[Array, Array]]:
            terms = elbo_terms(
                model,
                params,
                batch,
                key,
                hyper=hyper.latent,
                dropout=hyper.dropout,
                samples=settings.samples,
                protocol=settings.protocol,
                by_factor=by_factor,
            )
            weight = hyper.kl_weight
            if state.log_multiplier is not None:
                weight = weight * jnp.exp(state.log_multiplier)
            nats = terms.reconstruction_nats + weight * charged_nats(terms, real, rate)
            return total(nats) / divisor, (total(terms.reconstruction_nats), total(terms.kl_nats))

        differentiate = jax.value_and_grad(loss, has_aux=True)
        (value, (reconstruction, kl)), gradients = differentiate(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        updates = jax.tree.map(lambda update: -hyper.learning_rate * update, updates)
        for name in resting:
            updates[name] = jnp.where(hyper.autoencoder_phase, 0.0, updates[name])
        # The norm is NaN if any gradient is, also if the loss is finite.
        good = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradients))
        sums = state.sums
        new_sums = Sums(
            sums.reconstruction_nats + reconstruction,
            sums.kl_nats + kl,
            sums.tokens + tokens,
            sums.examples + real.sum(),
            jnp.where(good | (sums.first_bad_step >= 0), sums.first_bad_step, state.step),
        )
        params = optax.apply_updates(state.params, updates)
        average, multiplier = state.average, state.log_multiplier
        if average is not None:
            averaged = state.step - hyper.average_from
            share = averaging_weight(config.optimizer.average_decay, averaged)
            average = jax.tree.map(lambda old, new: old + share * (new - old), average, params)
        if multiplier is not None:
            excess = kl / real.sum() / rate.target_nats - 1
            moved = multiplier + rate.target_step * jnp.clip(excess, -1, 1)
            # A target that the model cannot reach must not end training by an overflow.
            moved = jnp.clip(moved, -MAX_LOG_MULTIPLIER, MAX_LOG_MULTIPLIER)
            # A KL without weight does not depend on the multiplier.
            multiplier = jnp.where(hyper.kl_weight > 0, moved, multiplier)
        return TrainState(
            state.step + 1, params, opt_state, new_sums, average, multiplier, state.first_decoder
        )

    return train_step


def charged_nats(
    terms: ElboTerms, real: Float[Array, " B"], rate: ConfigDict
) -> Float[Array, " B"]:
    """Returns the KL that the loss charges each example, before any weight.

    With free nats per example it is the KL or these nats, whichever is larger; per factor, the mean
    over the batch of each factor's KL is charged at least its share (Li et al. 2019). `real` is 1
    for examples and 0 for rows that fill the batch.

    Under a learned prior the KL of an example is an estimate from samples. The larger of an
    estimate and the floor is in the mean above the floor: near it, by up to 0.4 of the estimate's
    standard deviation, and a KL below the floor is still pushed down, by the samples above it.
    """
    if rate.free_nats == 0:
        return terms.kl_nats
    if rate.free_nats_per == "example":
        return jnp.maximum(terms.kl_nats, rate.free_nats)
    assert terms.factor_kl_nats is not None
    if terms.factor_kl_nats.shape[1] == 0:  # without a latent
        return terms.kl_nats
    mean = (real[:, None] * terms.factor_kl_nats).sum(axis=0) / real.sum()  # [F]
    share = rate.free_nats / mean.shape[0]
    return jnp.broadcast_to(jnp.maximum(mean, share).sum(), terms.kl_nats.shape)
