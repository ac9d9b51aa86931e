"""Precision of matrix products, and memory of the backward pass."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

# By default a TPU multiplies float32 in bfloat16, and a GPU may in TF32, of ten bits.
EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Compute:
    """Static settings of `config.compute`, part of the compiled program.

    Attributes:
      dtype: of the factors of large products: "float32" or "bfloat16". Parameters, sums and results
        are float32 always.
      recompute_gates: whether an LSTM forms its gates anew in the backward pass: a third of what a
        layer keeps from the forward pass stays, and a third of its products is added.
      logits_at_once: most logits that are held at a time; where there are more, they are formed in
        blocks, and again in the backward pass.
    """

    dtype: str = "float32"
    recompute_gates: bool = False
    logits_at_once: int = 2**26

    @classmethod
    def of(cls, settings: ConfigDict) -> "Compute":
        """Returns what `config.compute` describes."""
        return cls(settings.dtype, settings.recompute_gates, settings.logits_at_once)

    def product(
        self, left: Float[Array, "*rows K"], right: Float[Array, "K N"]
    ) -> Float[Array, "*rows N"]:
        """Returns the matrix product in float32, of factors rounded to `dtype`, on any device."""
        if self.dtype == "float32":
            return jnp.matmul(left, right, precision=EXACT)
        left, right = left.astype(self.dtype), right.astype(self.dtype)
        return jnp.matmul(left, right, preferred_element_type=jnp.float32)

    def gram(self, left: Float[Array, "N K"], right: Float[Array, "N M"]) -> Float[Array, "K M"]:
        """Returns left^T right, the gradient of a kernel, likewise."""
        if self.dtype != "float32":
            left, right = left.astype(self.dtype), right.astype(self.dtype)
        return jax.lax.dot_general(
            left,
            right,
            (((0,), (0,)), ((), ())),
            precision=EXACT if self.dtype == "float32" else None,
            preferred_element_type=jnp.float32,
        )


FLOAT32 = Compute()
