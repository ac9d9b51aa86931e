"""Device calls: several steps, of several replicas, in one compiled program.

A call costs the host a tenth of a millisecond or more, during which an accelerator waits. A call of
several steps is a scan over a stack of batches, which does not need the host between two steps.
Which steps share a call has no effect on a step: its batch, hyperparameters and key are its own.

In a checkpoint every array has a first axis R over replicas. On the device several replicas have it
too, but a single one does not: with an axis of size 1 the compiler would fuse and round otherwise
than in the program of one model. On accelerators several replicas are an axis of every product
(`vmap`). On a CPU, which one replica keeps busy, that would cost memory, and time for replicas that
have stopped: there they take their steps in turn, inside one compiled call.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.data.batches import corpus_boundaries, epoch_batches
from spherical_vae.data.corpus import Corpus
from spherical_vae.training.schedules import Timetable
from spherical_vae.training.step import Hyperparameters, TrainState, TrainStep

# `(states, batches, hyperparameters, active) -> states`; all but batches joined over replicas.
ReplicaStep = Callable[[TrainState, Batch, Hyperparameters, Bool[Array, " *R"]], TrainState]


def batches_from(
    corpus: Corpus, config: ConfigDict, timetable: Timetable, step: int
) -> Iterator[Batch]:
    """Yields the batches of training from a step on, without end."""
    boundaries = corpus_boundaries(corpus, config.data.buckets)
    epoch, start = divmod(step, timetable.steps_per_epoch)
    while True:
        yield from epoch_batches(
            corpus.splits["train"],
            config.train.batch_size,
            boundaries,
            seed=config.data.seed,
            epoch=epoch,
            start=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        epoch, start = epoch + 1, 0


def group_into_calls(
    batches: Iterable[Batch], step: int, steps_per_call: int, is_pause: Callable[[int], bool]
) -> Iterator[Batch]:
    """Groups consecutive batches of one shape, in their order, into the inputs of device calls.

    The end of a group depends only on what follows its first batch, so that a run resumed at the
    end of a group makes the same groups.

    Args:
      batches: those of steps `step`, `step` + 1 and so on.
      step: steps done.
      steps_per_call: largest number of steps of a call.
      is_pause: whether a call must end after that many steps.

    Yields:
      The batches of a call: a `Batch`, its columns stacked for several steps, `[steps, B, ...]`.
    """
    waiting: list[Batch] = []
    for done, batch in enumerate(batches, step + 1):
        if waiting and waiting[0].ids.shape != batch.ids.shape:
            yield from _split(waiting, steps_per_call)
            waiting = []
        waiting.append(batch)
        if len(waiting) == steps_per_call or is_pause(done):
            yield from _split(waiting, steps_per_call)
            waiting = []
    yield from _split(waiting, steps_per_call)


def _split(batches: list[Batch], steps_per_call: int) -> Iterator[Batch]:
    # Each length is a program to compile, so there are few: `steps_per_call`, and powers of two.
    while steps := len(batches):
        length = steps_per_call if steps >= steps_per_call else 1 << (steps.bit_length() - 1)
        yield join(batches[:length])
        batches = batches[length:]


def steps_of(batches: Batch) -> int:
    """Returns the number of steps of a call."""
    return 1 if batches.ids.ndim == 2 else batches.ids.shape[0]


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Returns one tree whose leaves, on the host, have a new first axis over the trees."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def join(trees: Sequence[PyTree]) -> PyTree:
    """Returns the trees of all replicas, or of all steps, stacked if there are several."""
    return trees[0] if len(trees) == 1 else stack(trees)


def take(tree: PyTree, replica: int | Int[Array, ""]) -> PyTree:
    """Returns one replica of a stacked tree; the index may be traced."""
    return jax.tree.map(lambda leaf: leaf[replica], tree)


def select(chosen: Bool[Array, " *R"], new: PyTree, old: PyTree) -> PyTree:
    """Returns `new` for the chosen replicas and `old` for the others."""

    def leaf(one: Array, other: Array) -> Array:
        axes = tuple(range(chosen.ndim, one.ndim))
        return jnp.where(jnp.expand_dims(chosen, axes), one, other)

    return jax.tree.map(leaf, new, old)


def abstract_replicas(
    state: TrainState, shardings: PyTree[NamedSharding], replicas: int
) -> TrainState:
    """Returns shapes, types and shardings of R replicas in a checkpoint, from those of one."""

    def widen(leaf: jax.ShapeDtypeStruct, one: NamedSharding) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(one.mesh, PartitionSpec(None, *one.spec))
        return jax.ShapeDtypeStruct((replicas, *leaf.shape), leaf.dtype, sharding=sharding)

    return jax.tree.map(widen, state, shardings)


def multi_step(step: TrainStep) -> TrainStep:
    """Returns a function that takes all steps of a call for one replica, not yet jitted."""

    def call(state: TrainState, batches: Batch, hypers: Hyperparameters) -> TrainState:
        if batches.ids.ndim == 2:
            return step(state, batches, hypers)
        return jax.lax.scan(lambda s, inputs: (step(s, *inputs), None), state, (batches, hypers))[0]

    return call


def side_by_side(step: TrainStep) -> ReplicaStep:
    """Returns a function that takes the step of all replicas at once, not yet jitted."""
    every = jax.vmap(step, in_axes=(0, None, 0))
    return lambda states, batches, hypers, active: select(
        active, every(states, batches, hypers), states
    )


def in_turn(step: TrainStep) -> ReplicaStep:
    """Returns a function that takes the steps of the active replicas in turn, not yet jitted."""

    def call(
        states: TrainState, batches: Batch, hypers: Hyperparameters, active: Array
    ) -> TrainState:
        order = jnp.argsort(~active, stable=True)

        def advance(turn: Array, states: TrainState) -> TrainState:
            replica = order[turn]
            # Compiled by itself, so that its sums are taken in the order of a single run's.
            inputs = (take(states, replica), batches, take(hypers, replica))
            new = jax.lax.optimization_barrier(step(*jax.lax.optimization_barrier(inputs)))
            return jax.tree.map(lambda stacked, one: stacked.at[replica].set(one), states, new)

        return jax.lax.fori_loop(0, active.sum(), advance, states)

    return call


def replica_step(step: TrainStep, replicas: int) -> ReplicaStep:
    """Returns the step of R replicas, not yet jitted, in the form that suits the device."""
    if replicas == 1:  # A single replica that has stopped is not called.
        return lambda state, batches, hypers, active: step(state, batches, hypers)
    return in_turn(step) if jax.default_backend() == "cpu" else side_by_side(step)
