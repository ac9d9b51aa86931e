"""Parts that encoders and decoders share: initialisation, dropout, one LSTM layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer
from jaxtyping import Array, Float, Int, Key

from spherical_vae.models.compute import EXACT, FLOAT32, Compute
from spherical_vae.models.recurrence import Kernels, State, recurrence
from spherical_vae.random import threefry


def fan_in_uniform(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Initialises uniformly within +-1/sqrt(fan in), for a fan-in of 0 too.

    A model without a latent variable has weights of shape `[0, H]`.
    """
    bound = max(shape[0], 1) ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def dense(
    features: int,
    name: str,
    kernel_init: Initializer | None = None,
    bias_init: Initializer = nn.initializers.zeros,
) -> nn.Dense:
    """Returns an affine map in float32, by default with the package's initialisation, zero bias."""
    return nn.Dense(
        features,
        kernel_init=kernel_init or fan_in_uniform,
        bias_init=bias_init,
        precision=EXACT,
        name=name,
    )


class DropoutRates(NamedTuple):
    """Dropout rates, in [0, 1); traced, so that one program serves every rate.

    Attributes:
      units: of embeddings, outputs and hidden layers.
      state: of the recurrent state of a sentence decoder.
      words: of the previous words that a sentence decoder reads; they become the unknown word.
    """

    units: Float[Array, ""]
    state: Float[Array, ""]
    words: Float[Array, ""]


def dropout_mask(
    key: Key[Array, ""], shape: tuple[int, ...], rate: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Returns 0 with probability `rate` and 1 / (1 - rate) else, for each entry."""
    return jnp.where(threefry.uniform(key, shape) > rate, 1 / (1 - rate), 0.0)


class Dropout(nn.Module):
    """Zeroes entries with the module's "dropout" key; the identity without a rate.

    Unlike with `nn.Dropout`, the rate may be traced.

    Attributes:
      shared_axis: the axis along which all entries share one mask, or None: time, if a sentence
        has one mask for all of its steps (Gal and Ghahramani 2016).
    """

    shared_axis: int | None = None

    @nn.compact
    def __call__(
        self, values: Float[Array, "*shape"], rate: Float[Array, ""] | None
    ) -> Float[Array, "*shape"]:
        """Returns `values` with entries dropped; a rate of None marks evaluation."""
        if rate is None:
            return values
        key = self.make_rng("dropout")
        if self.shared_axis is None:
            kept = threefry.uniform(key, values.shape) > rate
            return jnp.where(kept, values / (1 - rate), 0.0)
        shape = list(values.shape)
        shape[self.shared_axis] = 1
        return values * dropout_mask(key, tuple(shape), rate)


class SoftmaxWeights(nn.Module):
    """The affine map from a hidden vector to the logits of all words.

    Attributes:
      vocabulary_size: V.
      tied: whether the kernel is the transposed word embeddings (Press and Wolf 2017; Inan et al.
        2017), with a projection if the sizes differ; else it is learned.
    """

    vocabulary_size: int
    tied: bool = False

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "*rows H"], embeddings: Float[Array, "V E"]
    ) -> tuple[Float[Array, "*rows K"], Float[Array, "K V"], Float[Array, " V"]]:
        """Returns the rows that the kernel multiplies, the kernel and the bias."""
        if self.tied:
            kernel = embeddings.T
            if hidden.shape[-1] != kernel.shape[0]:
                hidden = dense(kernel.shape[0], "projection")(hidden)
        else:
            shape = (hidden.shape[-1], self.vocabulary_size)
            kernel = self.param("kernel", fan_in_uniform, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.vocabulary_size,))
        return hidden, kernel, bias


class LSTMLayer(nn.Module):
    """One LSTM layer over time-major inputs.

    Attributes:
      features: H, the size of the state.
      compute: how products are formed.
    """

    features: int
    compute: Compute = FLOAT32

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "T M F"] | None,
        constant: Float[Array, "N C"],
        initial: State,
        steps: int,
        state_mask: Float[Array, "N H"] | None = None,
    ) -> tuple[State, Float[Array, "T N H"]]:
        """Runs the layer, with the arguments of `recurrence`; C may be 0."""
        gates = 4 * self.features
        fixed = dense(gates, "constant", bias_init=forget_bias_one)(constant)  # [N, 4H]
        kernel = None
        if inputs is not None:
            kernel = self.param("input_kernel", fan_in_uniform, (inputs.shape[-1], gates))
        recurrent = self.param("recurrent_kernel", fan_in_uniform, (self.features, gates))
        kernels = Kernels(kernel, recurrent)
        return recurrence(self.compute, steps, kernels, inputs, fixed, initial, state_mask)


def forget_bias_one(
    key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> Float[Array, " H4"]:
    """Initialises gate biases: 1 for the forget gate, so that a new layer remembers, else 0."""
    del key
    quarter = shape[0] // 4
    return jnp.zeros(shape, dtype).at[quarter : 2 * quarter].set(1.0)


def bag_vector(
    ids: Int[Array, "B T"], counts: Float[Array, "B T"], vocabulary_size: int
) -> Float[Array, "B V"]:
    """Returns dense word counts from sparse ones; repeated ids add up."""
    rows = jnp.arange(ids.shape[0])[:, None]
    return jnp.zeros((ids.shape[0], vocabulary_size)).at[rows, ids].add(counts)
