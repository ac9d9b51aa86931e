"""Learning rate and KL weight of each step, and the timetable of training, which the host keeps."""

import dataclasses
import math

from ml_collections import ConfigDict

from spherical_vae.data.batches import batches_per_epoch
from spherical_vae.runs.progress import Progress
from spherical_vae.system.errors import UserError


def after_validation(state: Progress, value: float, step: int, settings: ConfigDict) -> Progress:
    """Returns the progress after an evaluation at a step: the best step, and plateau decay.

    Selection minimises `value`; NaN is not an improvement. With schedule "plateau" of
    `config.optimizer` the learning rate is divided if there is no improvement.
    """
    if value < state.best:
        return dataclasses.replace(state, best=value, best_step=step, stale=0)
    factor = settings.plateau_divisor if settings.schedule == "plateau" else 1.0
    divisor = state.rate_divisor * factor
    return dataclasses.replace(state, stale=state.stale + 1, rate_divisor=divisor)


def learning_rate(settings: ConfigDict, step: int, total_steps: int, divisor: float = 1.0) -> float:
    """Returns the learning rate of a step, from 0, for `config.optimizer`.

    It rises linearly over `warmup_steps`; then the cosine ends at `total_steps`, and "plateau"
    divides by `Progress.rate_divisor`.
    """
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "plateau":
        return rate / divisor
    if settings.schedule == "cosine":
        span = max(total_steps - settings.warmup_steps, 1)
        wave = 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / span))
        return rate * (settings.final_fraction + (1 - settings.final_fraction) * wave)
    return rate


def kl_weight(settings: ConfigDict, epoch: int, step: int, total_steps: int) -> float:
    """Returns the weight of the KL in a step, for `config.kl_weight`.

    Linear and sigmoid depend on the whole epochs done; their defaults are those of the authors'
    code. Cyclical divides `total_steps` into equal cycles: Fu et al. (2019), "Cyclical Annealing
    Schedule: A Simple Approach to Mitigating KL Vanishing", with a linear rise and their defaults.
    """
    if settings.schedule == "linear":
        return settings.value * min(1.0, epoch / settings.linear_epochs)
    if settings.schedule == "sigmoid":
        # By tanh, which cannot overflow.
        exponent = settings.sigmoid_slope * epoch - settings.sigmoid_shift
        return settings.value * 0.5 * (1 + math.tanh(0.5 * exponent))
    if settings.schedule == "cyclical":
        # In integers: where a step is the start of a cycle, the weight is exactly 0.
        done = step * settings.cycles % total_steps / total_steps
        return settings.value * min(1.0, done / settings.rising_fraction)
    return settings.value


class Timetable:
    """The steps of training at which the host acts.

    Args:
      config: whole and validated.
      examples: number of training examples.

    Attributes:
      steps_per_epoch: batches of train.
      total_steps: of training.
      autoencoder_steps: of the autoencoder phase, with which training begins; 0 for none.

    Raises:
      UserError: training ends before the autoencoder phase does.
    """

    def __init__(self, config: ConfigDict, examples: int) -> None:
        settings, epochs = config.train, config.rate.autoencoder_epochs
        self.steps_per_epoch = batches_per_epoch(examples, settings.batch_size)
        self.total_steps = settings.steps or self.steps_per_epoch * settings.epochs
        self.autoencoder_steps = self.steps_per_epoch * epochs
        if self.autoencoder_steps >= self.total_steps:
            raise UserError(
                f"config.rate.autoencoder_epochs: {epochs} given, allowed: fewer than the "
                f"{self.total_steps} steps of training; an epoch has {self.steps_per_epoch}"
            )
        self._log_every, self._checkpoint_every = settings.log_every, settings.checkpoint_every
        self._evaluate_every = settings.evaluate_every or self.steps_per_epoch

    def is_log(self, step: int) -> bool:
        """Returns whether a train record is written after `step` steps."""
        return step % self._log_every == 0 or self.is_evaluation(step)

    def is_evaluation(self, step: int) -> bool:
        """Returns whether validation is measured after `step` steps."""
        return step % self._evaluate_every == 0 or step == self.total_steps

    def is_checkpoint(self, step: int) -> bool:
        """Returns whether the state is saved after `step` steps."""
        periodic = self._checkpoint_every > 0 and step % self._checkpoint_every == 0
        return periodic or self.is_evaluation(step)

    def is_pause(self, step: int) -> bool:
        """Returns whether the host acts after `step` steps, so that no call may pass them."""
        return self.is_log(step) or self.is_checkpoint(step) or self.is_restart(step)

    def is_restart(self, step: int) -> bool:
        """Returns whether the autoencoder phase ends after `step` steps: the decoder is reset."""
        return 0 < step == self.autoencoder_steps


def check_schedules(config: ConfigDict, timetable: Timetable) -> None:
    """Raises a `UserError` if training is too short for its schedules.

    It may end before its warm-up, or the KL weight may be 0 in all of it, or in a cycle.
    """
    total, warmup = timetable.total_steps, config.optimizer.warmup_steps
    if warmup >= total:
        raise UserError(
            f"config.optimizer.warmup_steps: {warmup} given, allowed: less than the {total} steps "
            "of training"
        )
    weight, steps = config.kl_weight, total - timetable.autoencoder_steps
    if weight.schedule == "linear" and steps <= timetable.steps_per_epoch:
        raise UserError(
            "config.kl_weight.schedule: linear given, whose first epoch has the weight 0, allowed: "
            f"another, or more than one epoch, {timetable.steps_per_epoch} steps, of the KL"
        )
    if weight.schedule == "cyclical" and 2 * weight.cycles > steps:
        raise UserError(
            f"config.kl_weight.cycles: {weight.cycles} given, allowed: at most half of the {steps} "
            "steps of training"
        )
