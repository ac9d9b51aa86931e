"""The small pieces that encoders and decoders share: initialisation, dropout, one LSTM layer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

State = tuple[Float[Array, "N H"], Float[Array, "N H"]]


def fan_in_uniform() -> Callable[..., Array]:
    """Returns an initialiser: uniform within +-1/sqrt(fan in), defined for a fan-in of 0 too.

    A model without a latent variable has weights of shape `[0, H]`; nothing branches on it.
    """

    def initialise(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        bound = max(shape[0], 1) ** -0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialise


def dense(features: int, name: str) -> nn.Dense:
    """Returns an affine map with the package's initialisation and a zero bias."""
    return nn.Dense(features, kernel_init=fan_in_uniform(), name=name)


def dropout(
    key: Key[Array, ""], values: Float[Array, "*shape"], rate: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Zeroes each entry with probability `rate` and scales the others by 1 / (1 - rate).

    Unlike `nn.Dropout`, the rate may be traced, so that one executable serves every rate.
    """
    kept = jax.random.bernoulli(key, 1 - rate, values.shape)
    return jnp.where(kept, values / (1 - rate), 0.0)


class Dropout(nn.Module):
    """`dropout` with the module's "dropout" key; the identity where the rate is None."""

    @nn.compact
    def __call__(
        self, values: Float[Array, "*shape"], rate: Float[Array, ""] | None
    ) -> Float[Array, "*shape"]:
        """Returns `values` with entries dropped; a rate of None marks evaluation."""
        return values if rate is None else dropout(self.make_rng("dropout"), values, rate)


def lstm_cell(gates: Float[Array, "N H4"], cell: Float[Array, "N H"]) -> State:
    """Returns the next (cell, hidden); gates in the order input, forget, candidate, output.

    Source: Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000).
    """
    into, forget, candidate, out = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(into) * jnp.tanh(candidate)
    return cell, jax.nn.sigmoid(out) * jnp.tanh(cell)


class LSTMLayer(nn.Module):
    """One LSTM layer over time-major inputs; the input products are hoisted out of the recurrence.

    Attributes:
      features: H, the size of the state.
    """

    features: int

    def setup(self) -> None:
        """Declares the recurrent kernel; the input kernels take their width from the inputs."""
        gates = 4 * self.features
        self.input = nn.Dense(gates, use_bias=False, kernel_init=fan_in_uniform())
        self.constant = nn.Dense(gates, kernel_init=fan_in_uniform(), bias_init=forget_bias_one)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", fan_in_uniform(), (self.features, gates)
        )

    def __call__(
        self,
        inputs: Float[Array, "T N F"] | None,
        constant: Float[Array, "N C"],
        initial: State,
        steps: int,
    ) -> tuple[State, Float[Array, "T N H"]]:
        """Runs the layer.

        Args:
          inputs: what differs from step to step, or None.
          constant: what is fed at every step; C may be 0. Its product is formed once.
          initial: (cell, hidden) before the first step.
          steps: T.

        Returns:
          The state after step T, and the hidden states of all steps.
        """
        fixed = self.constant(constant)  # [N, 4H]
        varying = None if inputs is None else self.input(inputs)  # [T, N, 4H]
        recurrent = self.recurrent_kernel

        def advance(state: State, projected: Array | None) -> tuple[State, Array]:
            gates = state[1] @ recurrent + fixed
            state = lstm_cell(gates if projected is None else gates + projected, state[0])
            return state, state[1]

        return jax.lax.scan(advance, initial, varying, length=steps)


def forget_bias_one(
    key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> Float[Array, " H4"]:
    """Initialises gate biases: 1 for the forget gate, so that a new layer remembers, else 0."""
    del key
    quarter = shape[0] // 4
    return jnp.zeros(shape, dtype).at[quarter : 2 * quarter].set(1.0)


def zero_state(rows: int, features: int) -> State:
    """Returns the all-zero LSTM state."""
    return jnp.zeros((rows, features)), jnp.zeros((rows, features))


def bag_vector(
    ids: Int[Array, "B T"], counts: Float[Array, "B T"], vocabulary_size: int
) -> Float[Array, "B V"]:
    """Returns dense word counts from sparse ones; repeated ids add up."""
    rows = jnp.arange(ids.shape[0])[:, None]
    return jnp.zeros((ids.shape[0], vocabulary_size)).at[rows, ids].add(counts)
