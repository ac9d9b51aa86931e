"""When things happen in a run, in steps; knows neither models nor devices."""

from collections.abc import Iterator
from dataclasses import dataclass

from ml_collections import ConfigDict

from spherical_vae.data.batches import batches_per_epoch


@dataclass(frozen=True)
class Timetable:
    """A function of the configuration and the size of train."""

    steps_per_epoch: int
    total_steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int

    @classmethod
    def of(cls, settings: ConfigDict, examples: int) -> "Timetable":
        """Returns the timetable of `config.train` for a number of training examples."""
        per_epoch = batches_per_epoch(examples, settings.batch_size)
        return cls(
            steps_per_epoch=per_epoch,
            total_steps=settings.steps or per_epoch * settings.epochs,
            log_every=settings.log_every,
            evaluate_every=settings.evaluate_every or per_epoch,
            checkpoint_every=settings.checkpoint_every,
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
        return self.is_log(step) or self.is_checkpoint(step)


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
