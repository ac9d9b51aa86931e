"""The softmax over a vocabulary at given words: the costliest products of a sentence model."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spherical_vae.models.compute import Compute

# 16 MiB: few enough to stay in the outermost cache of a CPU until they are summed, enough for a
# fast product. `docs/training_speed.md` has the rates.
_CACHED_LOGITS = 2**22


def target_log_probs(
    compute: Compute,
    hidden: Float[Array, "T N H"],
    kernel: Float[Array, "H V"],
    bias: Float[Array, " V"],
    targets: Int[Array, "T N"],
    wanted: Bool[Array, "T N"] | None = None,
) -> Float[Array, "T N"]:
    """Returns log softmax(hidden kernel + bias) at the targets, in nats.

    Args:
      compute: how products are formed, and the most logits in memory at a time; a block is one or
        more whole steps.
      hidden: input of the softmax.
      kernel: of the softmax.
      bias: of each word.
      targets: in 0 .. V - 1.
      wanted: in evaluation, the scores that are used; others may be 0. Steps after the last of them
        cost nothing, and on a CPU a block is small enough for its cache. None in training.
    """
    operands = hidden, kernel, bias, targets
    if wanted is None:
        return _in_blocks(compute, compute.logits_at_once, *operands)
    cached = min(compute.logits_at_once, _CACHED_LOGITS)
    return jax.lax.platform_dependent(
        *operands,
        wanted,
        cpu=partial(_wanted_in_blocks, compute, cached),
        default=partial(_wanted_in_blocks, compute, compute.logits_at_once),
    )


def _in_blocks(
    compute: Compute,
    logits_at_once: int,
    hidden: Array,
    kernel: Array,
    bias: Array,
    targets: Array,
) -> Array:
    steps, rows = targets.shape
    block = max(1, logits_at_once // (rows * kernel.shape[1]))
    if block >= steps:
        return _log_probs(compute, hidden, kernel, bias, targets)

    @jax.checkpoint
    def score(part: tuple[Array, Array]) -> Array:
        return _log_probs(compute, part[0], kernel, bias, part[1])

    scores = jax.lax.map(score, (_split(hidden, block), _split(targets, block)))
    return scores.reshape(-1, rows)[:steps]


def _split(values: Array, block: int) -> Array:
    """Cuts the first axis into blocks, the last filled up with zeros."""
    blocks = math.ceil(values.shape[0] / block)
    filler = [(0, blocks * block - values.shape[0])] + [(0, 0)] * (values.ndim - 1)
    return jnp.pad(values, filler).reshape(blocks, block, *values.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _wanted_in_blocks(
    compute: Compute,
    logits_at_once: int,
    hidden: Array,
    kernel: Array,
    bias: Array,
    targets: Array,
    wanted: Array,
) -> Array:
    """Scores as `_in_blocks` does, up to the last block with a wanted score; the rest is 0."""
    steps, rows = targets.shape
    block = max(1, logits_at_once // (rows * kernel.shape[1]))
    if block >= steps:
        return _log_probs(compute, hidden, kernel, bias, targets)
    parts = _split(hidden, block), _split(targets, block)

    def score(i: Array, scores: Array) -> Array:
        found = _log_probs(compute, parts[0][i], kernel, bias, parts[1][i])
        return scores.at[i].set(found)

    used = _split(wanted, block).any(axis=(1, 2))
    end = jnp.max(jnp.where(used, 1 + jnp.arange(used.size), 0))
    scores = jax.lax.fori_loop(0, end, score, jnp.zeros(parts[1].shape))
    return scores.reshape(-1, rows)[:steps]


def _wanted_forward(compute: Compute, logits_at_once: int, *operands: Array) -> tuple[Array, tuple]:
    return _wanted_in_blocks(compute, logits_at_once, *operands), operands


def _wanted_backward(
    compute: Compute, logits_at_once: int, operands: tuple, cotangent: Array
) -> tuple:
    # A loop of unknown length has no reverse mode; evaluation seldom needs one, so this is slow.
    hidden, kernel, bias, targets, wanted = operands
    whole = partial(_in_blocks, compute, logits_at_once)
    _, pull = jax.vjp(whole, hidden, kernel, bias, targets)
    return *pull(jnp.where(wanted, cotangent, 0.0)), None


_wanted_in_blocks.defvjp(_wanted_forward, _wanted_backward)


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
