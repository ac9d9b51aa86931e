"""Optimisers and the schedules of learning rate and KL weight; knows nothing of models.

The learning rate is no part of the optax transformation: it reaches the compiled step as a traced
value, so that plateau decay, decided on the host, needs no second executable.
"""

import math
from dataclasses import dataclass, replace

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from spherical_vae.system.errors import UserError


def build_optimizer(settings: ConfigDict) -> optax.GradientTransformation:
    """Returns clipping and the update direction; the caller multiplies by minus the learning rate.

    Args:
      settings: `config.optimizer`; `clip_norm` is of the global norm, 0 for none.
    """
    parts = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
    if settings.name in ("adam", "adamw"):
        parts.append(optax.scale_by_adam())
    if settings.name == "adamw":
        parts.append(optax.add_decayed_weights(settings.weight_decay))
    return optax.chain(*parts) if parts else optax.identity()


def averaging_weight(decay: float, step: Int[Array, ""]) -> Float[Array, ""]:
    """Returns the weight of the newest parameters in their moving average.

    Args:
      decay: of the average in the long run, in (0, 1).
      step: steps done before; the first ones are forgotten sooner, so that the average does not
        stay at the initial parameters for 1 / (1 - decay) steps.
    """
    count = jnp.asarray(step, jnp.float32)
    return jnp.maximum(1 - decay, 9 / (10 + count))


@dataclass(frozen=True)
class Plateau:
    """What the host remembers of dev: the best value, and how long ago it was.

    Attributes:
      best: lowest dev value so far.
      best_step: the step it was reached at, -1 before the first evaluation.
      stale: evaluations in a row that did not improve on it.
      divisor: by what the learning rate has been divided so far.
    """

    best: float = math.inf
    best_step: int = -1
    stale: int = 0
    divisor: float = 1.0

    def observe(self, value: float, step: int, settings: ConfigDict) -> "Plateau":
        """Returns what is known after an evaluation; divides when dev did not improve.

        Args:
          value: what selection minimises, on dev.
          step: at which it was measured.
          settings: `config.optimizer`.
        """
        if value < self.best:
            return replace(self, best=value, best_step=step, stale=0)
        divided = settings.schedule == "plateau"
        factor = settings.plateau_divisor if divided else 1.0
        return replace(self, stale=self.stale + 1, divisor=self.divisor * factor)


def learning_rate(settings: ConfigDict, step: int, total_steps: int, plateau: Plateau) -> float:
    """Returns the learning rate of a step, a function of the step and of dev so far.

    Args:
      settings: `config.optimizer`.
      step: from 0.
      total_steps: where cosine ends.
      plateau: decides under "plateau".
    """
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "plateau":
        return rate / plateau.divisor
    if settings.schedule == "cosine":
        span = max(total_steps - settings.warmup_steps, 1)
        wave = 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / span))
        return rate * (settings.final_fraction + (1 - settings.final_fraction) * wave)
    return rate


def refuse_endless_warmup(settings: ConfigDict, total_steps: int) -> None:
    """Raises a `UserError` where training would be over before its warm-up is.

    Args:
      settings: `config.optimizer`.
      total_steps: of training.
    """
    if settings.warmup_steps >= total_steps:
        raise UserError(
            f"config.optimizer.warmup_steps: {settings.warmup_steps} given, allowed: less than the "
            f"{total_steps} steps of training"
        )


def refuse_short_cycles(settings: ConfigDict, total_steps: int) -> None:
    """Raises a `UserError` if the cycles of the KL weight have less than two steps each.

    In a cycle of a single step the weight would be 0 and nothing else.

    Args:
      settings: `config.kl_weight`.
      total_steps: of training.
    """
    if settings.schedule == "cyclical" and 2 * settings.cycles > total_steps:
        raise UserError(
            f"config.kl_weight.cycles: {settings.cycles} given, allowed: at most half of the "
            f"{total_steps} steps of training"
        )


def kl_weight(settings: ConfigDict, epoch: int, step: int, total_steps: int) -> float:
    """Returns the weight of the KL in a step.

    Args:
      settings: `config.kl_weight`; the defaults of linear, min(1, epoch / 20), and of sigmoid,
        sigmoid(epoch / 2 - 5), are those of the authors' code. Cyclical: Fu et al. (2019),
        "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing", with a linear
        rise; its defaults are theirs, M = 4 cycles and R = 0.5.
      epoch: whole epochs done; linear and sigmoid depend on it.
      step: steps done; cyclical depends on it.
      total_steps: of training; cyclical divides them into equal cycles.
    """
    if settings.schedule == "linear":
        return settings.value * min(1.0, epoch / settings.linear_epochs)
    if settings.schedule == "sigmoid":
        # By tanh, which cannot overflow.
        place = settings.sigmoid_slope * epoch - settings.sigmoid_shift
        return settings.value * 0.5 * (1 + math.tanh(0.5 * place))
    if settings.schedule == "cyclical":
        # By whole numbers: where a cycle starts, the weight is exactly 0.
        done = step * settings.cycles % total_steps / total_steps
        return settings.value * min(1.0, done / settings.rising_fraction)
    return settings.value
