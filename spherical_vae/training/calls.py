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
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.data.batches import corpus_boundaries, epoch_batches
from spherical_vae.data.corpus import Corpus
from spherical_vae.parallel.sharding import shard_batch
from spherical_vae.training.schedules import Timetable
from spherical_vae.training.step import Hyperparameters, TrainState, TrainStep, with_first_decoder

# `(states, batches, hyperparameters, active) -> states`; all but batches joined over replicas.
ReplicaStep = Callable[[TrainState, Batch, Hyperparameters, Bool[Array, " *R"]], TrainState]


class Call(NamedTuple):
    """The input of one device call.

    Attributes:
      steps: number of steps.
      batches: a `Batch`; for more than one step its columns are stacked, `[steps, B, ...]`.
    """

    steps: int
    batches: Batch


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
) -> Iterator[Call]:
    """Groups consecutive batches of one shape, in their order.

    The end of a group depends only on what follows its first batch, so that a run resumed at the
    end of a group makes the same groups.

    Args:
      batches: those of steps `step`, `step` + 1 and so on.
      step: steps done.
      steps_per_call: largest number of steps of a call.
      is_pause: whether a call must end after that many steps.
    """
    waiting: list[Batch] = []
    for batch in batches:
        if waiting and waiting[0].ids.shape != batch.ids.shape:
            yield from _split(waiting, steps_per_call)
            waiting = []
        waiting.append(batch)
        step += 1
        if len(waiting) == steps_per_call or is_pause(step):
            yield from _split(waiting, steps_per_call)
            waiting = []
    yield from _split(waiting, steps_per_call)


def _split(batches: list[Batch], steps_per_call: int) -> Iterator[Call]:
    begin = 0
    for length in call_lengths(len(batches), steps_per_call):
        part = batches[begin : begin + length]
        begin += length
        yield Call(length, part[0] if length == 1 else stack(part))


def call_lengths(steps: int, steps_per_call: int) -> Iterator[int]:
    """Yields the lengths of the calls that take `steps` steps together.

    Each length is a program to compile, so there are few: `steps_per_call`, and powers of two.
    """
    while steps:
        length = steps_per_call if steps >= steps_per_call else 1 << (steps.bit_length() - 1)
        yield length
        steps -= length


def put_on_mesh(call: Call, mesh: Mesh) -> Call:
    """Puts the batches of a call on the devices, their rows split over them."""
    return call._replace(batches=shard_batch(call.batches, mesh, axis=int(call.steps > 1)))


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Returns one tree whose leaves, on the host, have a new first axis over the trees."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def join(trees: Sequence[PyTree]) -> PyTree:
    """Returns the trees of all replicas as the device has them: stacked if there are several."""
    return trees[0] if len(trees) == 1 else stack(trees)


def split(tree: PyTree, replicas: int) -> list[PyTree]:
    """Returns the trees that `join` was called on."""
    if replicas == 1:
        return [tree]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(replicas)]


def take(tree: PyTree, replica: int | Int[Array, ""]) -> PyTree:
    """Returns one replica of a stacked tree; the index may be traced."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, replica, keepdims=False), tree
    )


def select(chosen: Bool[Array, " *R"], new: PyTree, old: PyTree) -> PyTree:
    """Returns `new` for the chosen replicas and `old` for the others."""

    def leaf(one: Array, other: Array) -> Array:
        mask = chosen.reshape(*chosen.shape, *(1,) * (one.ndim - chosen.ndim))
        return jnp.where(mask, one, other)

    return jax.tree.map(leaf, new, old)


def with_first_decoders(
    states: TrainState, chosen: Bool[Array, " *R"], optimizer: optax.GradientTransformation
) -> TrainState:
    """Returns the states after `with_first_decoder` in the chosen replicas."""
    renew = partial(with_first_decoder, optimizer=optimizer)
    return select(chosen, jax.vmap(renew)(states) if chosen.ndim else renew(states), states)


def abstract_replicas(
    state: TrainState, shardings: PyTree[NamedSharding], replicas: int
) -> TrainState:
    """Returns shapes, types and shardings of the states of R replicas in a checkpoint.

    Args:
      state: abstract, of one replica.
      shardings: of one replica; every replica is sharded alike.
      replicas: R.
    """

    def widen(leaf: jax.ShapeDtypeStruct, one: NamedSharding) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(one.mesh, PartitionSpec(None, *one.spec))
        return jax.ShapeDtypeStruct((replicas, *leaf.shape), leaf.dtype, sharding=sharding)

    widened: TrainState = jax.tree.map(widen, state, shardings)
    return widened


def multi_step(step: TrainStep) -> TrainStep:
    """Returns a function that takes all steps of a call for one replica, not yet jitted.

    Returns:
      `(state, batches, hypers) -> state`: one step if the batches are not stacked, else a scan.
    """

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


def replica_step(step: TrainStep, replicas: int, vectorised: bool | None = None) -> ReplicaStep:
    """Returns the step of R replicas, not yet jitted, in the form that suits the device.

    `vectorised` says whether several replicas take their steps at once rather than in turn; None is
    at once on accelerators, in turn on a CPU.
    """
    if replicas == 1:  # A single replica that has stopped is not called.
        return lambda state, batches, hypers, active: step(state, batches, hypers)
    if vectorised is None:
        vectorised = jax.default_backend() != "cpu"
    return side_by_side(step) if vectorised else in_turn(step)
