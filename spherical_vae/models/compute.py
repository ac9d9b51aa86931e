"""Precision of matrix products, and memory of the backward pass."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# By default a TPU multiplies float32 in bfloat16, and a GPU may in TF32, of ten bits.
EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Compute:
    """The settings of `config.compute`, part of the compiled program.

    Attributes:
      dtype: of the factors of large products: "float32" or "bfloat16". Parameters, sums and results
        are float32 always.
      recompute_gates: whether an LSTM forms its gates again in the backward pass, with a third of
        the memory for a third more products.
      logits_at_once: most logits in memory at a time; more are formed in blocks, and again in the
        backward pass.
    """

    dtype: str = "float32"
    recompute_gates: bool = False
    logits_at_once: int = 2**26

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
