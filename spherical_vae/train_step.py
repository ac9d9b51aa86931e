"""One optimiser step as a pure function: `state = train_step(state, batch, hyper)`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, UInt
from ml_collections import ConfigDict

from spherical_vae.compute import EXACT
from spherical_vae.data.corpus import Batch
from spherical_vae.decoders.lstm import LSTMDecoder
from spherical_vae.keys import Purpose, root_key
from spherical_vae.objectives import elbo_terms
from spherical_vae.vae import VAE, init_params


class Sums(NamedTuple):
    """Totals since the last log line, kept on the device so that no step waits for the host.

    Attributes:
      reconstruction_nats: over examples.
      kl_nats: over examples.
      tokens: scored.
      examples: seen.
      first_bad_step: where the loss was first not finite, -1 for never.
    """

    reconstruction_nats: Float[Array, ""]
    kl_nats: Float[Array, ""]
    tokens: Float[Array, ""]
    examples: Float[Array, ""]
    first_bad_step: Int[Array, ""]


class TrainState(NamedTuple):
    """All that training changes on the device; with the host's plateau it is the whole checkpoint.

    Attributes:
      step: steps done.
      params: of the model.
      opt_state: of optax.
      sums: since the last log line.
    """

    step: Int[Array, ""]
    params: dict
    opt_state: optax.OptState
    sums: Sums


class Hyperparameters(NamedTuple):
    """What may change without compiling again; scalars.

    Attributes:
      seed: of dropout and sampling; the key of a step is a function of it and of the step.
      learning_rate: of this step.
      concentration: of the fixed vMF.
      kl_weight: of this step.
      dropout_rate: in [0, 1).
    """

    seed: UInt[Array, ""]
    learning_rate: Float[Array, ""]
    concentration: Float[Array, ""]
    kl_weight: Float[Array, ""]
    dropout_rate: Float[Array, ""]


TrainStep = Callable[[TrainState, Batch, Hyperparameters], TrainState]


def empty_sums() -> Sums:
    """Returns the totals of no step, each in a buffer of its own: the step donates them."""
    return Sums(
        reconstruction_nats=jnp.zeros(()),
        kl_nats=jnp.zeros(()),
        tokens=jnp.zeros(()),
        examples=jnp.zeros(()),
        first_bad_step=jnp.full((), -1, jnp.int32),
    )


def init_state(params: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), empty_sums())


def abstract_state(model: VAE, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns shapes and types of the state, without making it."""
    return jax.eval_shape(lambda: init_state(init_params(model, 0), optimizer))


def make_train_step(
    model: VAE, optimizer: optax.GradientTransformation, settings: ConfigDict
) -> TrainStep:
    """Returns the step, not yet jitted.

    Args:
      model: the VAE.
      optimizer: gives directions; the step applies the learning rate.
      settings: `config.train`: `samples`, `protocol`, and `nats_per`, whether the loss is the mean
        over examples or over tokens (of sentences "paper" divides by padded slots, as the authors
        do).
    """

    unit = settings.nats_per
    if unit == "token" and settings.protocol == "paper" and isinstance(model.decoder, LSTMDecoder):
        unit = "slot"

    def train_step(state: TrainState, batch: Batch, hyper: Hyperparameters) -> TrainState:
        key = jax.random.fold_in(root_key(hyper.seed, Purpose.TRAIN), state.step)
        real = (batch.index >= 0).astype(jnp.float32)  # rows that only fill the batch weigh nothing
        tokens = batch.counts.sum().astype(jnp.float32)
        divisor = {
            "example": real.sum(),
            "token": tokens,
            "slot": real.sum() * batch.ids.shape[1],
        }[unit]

        def loss(params: dict) -> tuple[Array, tuple[Array, Array]]:
            terms = elbo_terms(
                model,
                params,
                batch,
                key,
                concentration=hyper.concentration,
                dropout_rate=hyper.dropout_rate,
                samples=settings.samples,
                protocol=settings.protocol,
            )
            nats = terms.reconstruction_nats + hyper.kl_weight * terms.kl_nats
            total = partial(jnp.dot, real, precision=EXACT)
            return total(nats) / divisor, (total(terms.reconstruction_nats), total(terms.kl_nats))

        (value, (reconstruction, kl)), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        updates = jax.tree.map(lambda update: -hyper.learning_rate * update, updates)
        # The norm sees a NaN in any gradient, also where the loss itself was still finite.
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
        return TrainState(state.step + 1, params, opt_state, new_sums)

    return train_step
