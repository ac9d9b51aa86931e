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


@jax.custom_vjp
def recurrence(
    kernel: Float[Array, "H H4"], projected: Float[Array, "T N H4"], initial: State
) -> tuple[State, Float[Array, "T N H"]]:
    """Runs the LSTM over gates to which the inputs have already contributed.

    Args:
      kernel: from the hidden state to the gates.
      projected: what inputs and biases add to the gates.
      initial: (cell, hidden) before the first step.

    Returns:
      The state after the last step, and the hidden states of all steps.

    Gradients: reverse mode; the kernel's is one product after the backward scan, where
    differentiating the scan would form one a step and add them up.
    """

    def advance(state: State, gates: Array) -> tuple[State, Array]:
        state = lstm_cell(gates + state[1] @ kernel, state[0])
        return state, state[1]

    return jax.lax.scan(advance, initial, projected)


def _recurrence_forward(kernel: Array, projected: Array, initial: State) -> tuple[Any, Any]:
    def advance(state: State, gates: Array) -> tuple[State, tuple[Array, Array, Array]]:
        gates = gates + state[1] @ kernel
        state = lstm_cell(gates, state[0])
        return state, (gates, *state)

    final, (gates, cells, hiddens) = jax.lax.scan(advance, initial, projected)
    return (final, hiddens), (kernel, gates, cells, hiddens, initial)


def _recurrence_backward(saved: Any, cotangents: Any) -> tuple[Array, Array, State]:
    kernel, gates, cells, hiddens, initial = saved
    final, outputs = cotangents
    cells_before = jnp.concatenate([initial[0][None], cells[:-1]])
    hiddens_before = jnp.concatenate([initial[1][None], hiddens[:-1]])

    def retreat(state: State, step: tuple[Array, Array, Array]) -> tuple[State, Array]:
        output, step_gates, cell_before = step
        _, pull = jax.vjp(lstm_cell, step_gates, cell_before)
        gates_bar, cell_bar = pull((state[0], state[1] + output))
        return (cell_bar, gates_bar @ kernel.T), gates_bar

    first, gates_bar = jax.lax.scan(retreat, final, (outputs, gates, cells_before), reverse=True)
    return jnp.einsum("tnh,tng->hg", hiddens_before, gates_bar), gates_bar, first


recurrence.defvjp(_recurrence_forward, _recurrence_backward)


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
        gates = fixed[None] if varying is None else varying + fixed[None]
        gates = jnp.broadcast_to(gates, (steps, *gates.shape[1:]))
        return recurrence(self.recurrent_kernel, gates, initial)


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
