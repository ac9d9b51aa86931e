"""The softmax over a vocabulary at given words: the costliest products of a sentence model."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from spherical_vae.compute import Compute


def target_log_probs(
    compute: Compute,
    hidden: Float[Array, "T N H"],
    kernel: Float[Array, "H V"],
    bias: Float[Array, " V"],
    targets: Int[Array, "T N"],
) -> Float[Array, "T N"]:
    """Returns log softmax(hidden kernel + bias) at the targets, in nats.

    Args:
      compute: how products are formed, and how many logits are held at a time; a block is whole
        steps, at least one.
      hidden: before the softmax.
      kernel: H to V.
      bias: of each word.
      targets: in 0 .. V - 1.
    """
    steps, rows = targets.shape
    block = max(1, compute.logits_at_once // (rows * kernel.shape[1]))
    if block >= steps:
        return _log_probs(compute, hidden, kernel, bias, targets)
    blocks = math.ceil(steps / block)

    def split(values: Array) -> Array:
        filler = [(0, blocks * block - steps)] + [(0, 0)] * (values.ndim - 1)
        return jnp.pad(values, filler).reshape(blocks, block, *values.shape[1:])

    @jax.checkpoint
    def score(part: tuple[Array, Array]) -> Array:
        return _log_probs(compute, part[0], kernel, bias, part[1])

    scores = jax.lax.map(score, (split(hidden), split(targets)))
    return scores.reshape(-1, rows)[:steps]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_probs(
    compute: Compute, hidden: Array, kernel: Array, bias: Array, targets: Array
) -> Array:
    return _forward(compute, hidden, kernel, bias, targets)[0]


def _forward(
    compute: Compute, hidden: Array, kernel: Array, bias: Array, targets: Array
) -> tuple[Array, tuple]:
    logits = compute.product(hidden, kernel) + bias[None, None]
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return chosen - normaliser, (hidden, kernel, targets, logits, normaliser)


def _backward(compute: Compute, saved: tuple, cotangent: Array) -> tuple:
    hidden, kernel, targets, logits, normaliser = saved
    words = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    # One pass over the logits; a scatter at the targets would be one more.
    chosen = (words == targets[..., None]).astype(logits.dtype)
    logits_bar = cotangent[..., None] * (chosen - jnp.exp(logits - normaliser[..., None]))
    hidden_bar = compute.product(logits_bar, kernel.T)
    flat = (x.reshape(-1, x.shape[-1]) for x in (hidden, logits_bar))
    return hidden_bar, compute.gram(*flat), logits_bar.sum(axis=(0, 1)), None


_log_probs.defvjp(_forward, _backward)
