"""The direction of an update, and the moving average of the parameters.

The learning rate is not part of the optax transformation: it is an argument of the compiled step,
so that plateau decay, decided on the host (`schedules.py`), needs no second executable.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict


def build_optimizer(settings: ConfigDict) -> optax.GradientTransformation:
    """Returns the direction of an update, after clipping, without the learning rate."""
    parts = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
    if settings.name in ("adam", "adamw"):
        parts.append(optax.scale_by_adam())
    if settings.name == "adamw":
        # Biases are left alone: that of the softmax starts at the log frequencies of the words.
        matrices = partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
        parts.append(optax.add_decayed_weights(settings.weight_decay, matrices))
    return optax.chain(*parts) if parts else optax.identity()


def averaging_weight(decay: float, step: Int[Array, ""]) -> Float[Array, ""]:
    """Returns the weight of the newest parameters in their moving average.

    Args:
      decay: of the average in the long run, in (0, 1).
      step: steps done before. The first steps have larger weights, so that the average does not
        stay at the initial parameters for 1 / (1 - decay) steps.
    """
    count = jnp.asarray(step, jnp.float32)
    return jnp.maximum(1 - decay, 9 / (10 + count))
