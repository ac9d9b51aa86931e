"""When things happen in a run, in steps; knows neither models nor devices."""

from collections.abc import Iterator
from dataclasses import dataclass

from ml_collections import ConfigDict

from spherical_vae.data.batches import batches_per_epoch
from spherical_vae.system.errors import UserError


@dataclass(frozen=True)
class Timetable:
    """A function of the configuration and the size of train.

    Attributes:
      steps_per_epoch: batches of train.
      total_steps: of training.
      log_every: see `config.train`.
      evaluate_every: see `config.train`.
      checkpoint_every: see `config.train`.
      autoencoder_steps: of the autoencoder phase, with which training begins; 0 for none.
    """

    steps_per_epoch: int
    total_steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    autoencoder_steps: int = 0

    @classmethod
    def of(cls, config: ConfigDict, examples: int) -> "Timetable":
        """Returns the timetable of a configuration for a number of training examples.

        Raises:
          UserError: training is over before the autoencoder phase is.
        """
        settings, epochs = config.train, config.rate.autoencoder_epochs
        per_epoch = batches_per_epoch(examples, settings.batch_size)
        total = settings.steps or per_epoch * settings.epochs
        if per_epoch * epochs >= total:
            raise UserError(
                f"config.rate.autoencoder_epochs: {epochs} given, allowed: fewer than the {total} "
                f"steps of training; an epoch has {per_epoch}"
            )
        return cls(
            steps_per_epoch=per_epoch,
            total_steps=total,
            log_every=settings.log_every,
            evaluate_every=settings.evaluate_every or per_epoch,
            checkpoint_every=settings.checkpoint_every,
            autoencoder_steps=per_epoch * epochs,
        )

    def epoch(self, step: int) -> int:
        """Returns the epoch that the step after `step` steps belongs to, from 0."""
        return step // self.steps_per_epoch

    def is_log(self, step: int) -> bool:
        """Whether a train record is written after `step` steps."""
        return step % self.log_every == 0 or self.is_evaluation(step)

    def is_evaluation(self, step: int) -> bool:
        """Whether dev is measured after `step` steps."""
        return step % self.evaluate_every == 0 or step == self.total_steps

    def is_checkpoint(self, step: int) -> bool:
        """Whether the state is saved after `step` steps."""
        periodic = self.checkpoint_every > 0 and step % self.checkpoint_every == 0
        return periodic or self.is_evaluation(step)

    def is_pause(self, step: int) -> bool:
        """Whether the host has anything to do after `step` steps: no call may pass that point."""
        return self.is_log(step) or self.is_checkpoint(step) or self.is_restart(step)

    def is_restart(self, step: int) -> bool:
        """Whether the autoencoder phase is over after `step` steps, and the decoder is reset."""
        return 0 < step == self.autoencoder_steps

    def in_autoencoder_phase(self, step: int) -> bool:
        """Whether the parameters after `step` steps, at least 1, are of the autoencoder phase."""
        return step <= self.autoencoder_steps

    def first_step(self, step: int) -> int:
        """Returns how many steps precede the phase that the step after `step` steps belongs to."""
        return self.autoencoder_steps if step >= self.autoencoder_steps else 0


def call_lengths(steps: int, longest: int) -> Iterator[int]:
    """Yields how many steps each call takes so that all calls together take `steps`.

    Each length is a program to be compiled, so there are few: `longest`, and the powers of two
    below it.

    Args:
      steps: at least 0.
      longest: `config.train.steps_per_call`.
    """
    while steps:
        length = longest if steps >= longest else 1 << (steps.bit_length() - 1)
        yield length
        steps -= length
