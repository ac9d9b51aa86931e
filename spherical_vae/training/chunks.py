"""Several steps a call: batches of one padded length stacked, and a scan of the step over them.

One call costs the host a tenth of a millisecond or more and lets an accelerator wait; a scan over a
stack of batches runs from the first step to the last without the host. Which steps share a call
changes nothing but when the host looks: every step has its own batch, hyperparameters and key.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from spherical_vae.data.batch import Batch
from spherical_vae.training.schedules import call_lengths
from spherical_vae.training.step import Hyperparameters, TrainState, TrainStep


class Chunk(NamedTuple):
    """The batches of one call.

    Attributes:
      steps: how many there are.
      batches: a `Batch` whose columns are stacked, `[steps, B, ...]`; not stacked for one step.
    """

    steps: int
    batches: Batch


def chunks(
    batches: Iterable[Batch], step: int, longest: int, is_pause: Callable[[int], bool]
) -> Iterator[Chunk]:
    """Groups consecutive batches of one shape, keeping their order.

    Args:
      batches: those of steps `step`, `step` + 1 and so on.
      step: steps already taken.
      longest: most steps of a call.
      is_pause: whether a call must end after that many steps.

    Yields:
      The same batches, grouped; where a group ends hangs only on what follows its first batch, so
      that a run resumed at the end of a group makes the same groups.
    """
    waiting: list[Batch] = []
    for batch in batches:
        if waiting and waiting[0].ids.shape != batch.ids.shape:
            yield from _calls(waiting, longest)
            waiting = []
        waiting.append(batch)
        step += 1
        if len(waiting) == longest or is_pause(step):
            yield from _calls(waiting, longest)
            waiting = []
    yield from _calls(waiting, longest)


def _calls(batches: list[Batch], longest: int) -> Iterator[Chunk]:
    begin = 0
    for length in call_lengths(len(batches), longest):
        part = batches[begin : begin + length]
        begin += length
        yield Chunk(length, part[0] if length == 1 else _stack(part))


def _stack(batches: list[Batch]) -> Batch:
    return Batch(*(np.stack(columns) for columns in zip(*batches, strict=True)))


def stack_hyperparameters(hypers: list[Hyperparameters]) -> Hyperparameters:
    """Returns what `make_call` takes beside a chunk's batches: `[steps]`, or scalars for one."""
    if len(hypers) == 1:
        return hypers[0]
    stacked: Hyperparameters = jax.tree.map(lambda *values: np.stack(values), *hypers)
    return stacked


def make_call(step: TrainStep) -> TrainStep:
    """Returns a function that takes all steps of a chunk, not yet jitted.

    Args:
      step: one step.

    Returns:
      `(state, batches, hypers) -> state`: one step where the batches are not stacked, a scan else.
    """

    def call(state: TrainState, batches: Batch, hypers: Hyperparameters) -> TrainState:
        if batches.ids.ndim == 2:
            return step(state, batches, hypers)

        def advance(
            state: TrainState, inputs: tuple[Batch, Hyperparameters]
        ) -> tuple[TrainState, None]:
            return step(state, *inputs), None

        return jax.lax.scan(advance, state, (batches, hypers))[0]

    return call
