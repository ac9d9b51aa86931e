"""Device calls: several steps, of several replicas, in one compiled program.

One call costs the host a tenth of a millisecond or more and lets an accelerator wait. A call of
several steps is a scan over a stack of batches, which does not need the host between two steps.
Which steps share a call has no effect on a step: its batch, hyperparameters and key are its own.

In a checkpoint every array has a first axis R over replicas. On the device several replicas have it
too, and a single one does not, so that its program is that of one model: with an axis of size 1 the
compiler joins other operations and rounds otherwise. On accelerators several replicas are an axis
of every product (`vmap`). On a CPU, which one replica keeps busy, that costs memory and time for
replicas that have stopped: there they take their steps in turn, inside one compiled call.
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
from spherical_vae.data.batches import epoch_batches
from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation.evaluator import corpus_boundaries
from spherical_vae.parallel.sharding import shard_batch
from spherical_vae.training.optimizer import Timetable
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
    """Groups consecutive batches of one shape, keeping their order.

    Args:
      batches: those of steps `step`, `step` + 1 and so on.
      step: steps already taken.
      steps_per_call: most steps of a call.
      is_pause: whether a call must end after that many steps.

    Yields:
      The same batches, grouped; where a group ends depends only on what follows its first batch, so
      that a run resumed at the end of a group makes the same groups.
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
    """Yields how many steps each call takes so that all calls together take `steps`.

    Each length is a program to be compiled, so there are few: `steps_per_call`, and the powers of
    two below it.
    """
    while steps:
        length = steps_per_call if steps >= steps_per_call else 1 << (steps.bit_length() - 1)
        yield length
        steps -= length


def put_on_mesh(call: Call, mesh: Mesh) -> Call:
    """Puts the batches of a call on the devices, their rows split over them."""
    return call._replace(batches=shard_batch(call.batches, mesh, axis=int(call.steps > 1)))


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Returns the trees as one whose leaves, on the host, have a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def join(trees: Sequence[PyTree]) -> PyTree:
    """Returns the trees of all replicas as the device has them: stacked if there are several."""
    return trees[0] if len(trees) == 1 else stack(trees)


def split(tree: PyTree, replicas: int) -> list[PyTree]:
    """Returns the trees that `join` was called on, on the host."""
    if replicas == 1:
        return [tree]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(replicas)]


def add_axis(tree: PyTree) -> PyTree:
    """Returns the arrays of a single replica as a checkpoint has them."""
    return jax.tree.map(lambda leaf: leaf[None], tree)


def drop_axis(tree: PyTree) -> PyTree:
    """Returns what `add_axis` was called on."""
    return jax.tree.map(lambda leaf: jnp.squeeze(leaf, 0), tree)


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
    """Returns shapes, types and shardings of the states of replicas in a checkpoint.

    Args:
      state: abstract, of one replica.
      shardings: of one replica; every replica is laid out like that.
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

        def advance(
            state: TrainState, inputs: tuple[Batch, Hyperparameters]
        ) -> tuple[TrainState, None]:
            return step(state, *inputs), None

        return jax.lax.scan(advance, state, (batches, hypers))[0]

    return call


def alone(step: TrainStep) -> ReplicaStep:
    """Returns a function that takes the step of a single replica, not yet jitted."""

    def call(
        state: TrainState, batches: Batch, hypers: Hyperparameters, active: Array
    ) -> TrainState:
        del active  # Training is over when the only replica has stopped.
        return step(state, batches, hypers)

    return call


def side_by_side(step: TrainStep) -> ReplicaStep:
    """Returns a function that takes the step of all replicas at once, not yet jitted."""
    every = jax.vmap(step, in_axes=(0, None, 0))

    def call(
        states: TrainState, batches: Batch, hypers: Hyperparameters, active: Array
    ) -> TrainState:
        return select(active, every(states, batches, hypers), states)

    return call


def in_turn(step: TrainStep) -> ReplicaStep:
    """Returns a function that takes the step of one active replica after the other, not yet jitted.

    The loop is over the active replicas only, so a replica that has stopped costs nothing.
    """

    def call(
        states: TrainState, batches: Batch, hypers: Hyperparameters, active: Array
    ) -> TrainState:
        order = jnp.argsort(~active, stable=True)

        def advance(turn: Array, states: TrainState) -> TrainState:
            replica = order[turn]
            # Compiled for itself, so that its sums are taken in the order of a single run's.
            inputs = (take(states, replica), batches, take(hypers, replica))
            new = jax.lax.optimization_barrier(step(*jax.lax.optimization_barrier(inputs)))
            return jax.tree.map(lambda stacked, one: stacked.at[replica].set(one), states, new)

        return jax.lax.fori_loop(0, active.sum(), advance, states)

    return call


def replica_step(step: TrainStep, replicas: int, vectorised: bool | None = None) -> ReplicaStep:
    """Returns the step of all replicas, not yet jitted, in the way that suits the device.

    Args:
      step: of one replica.
      replicas: R.
      vectorised: whether several replicas take their steps at once rather than in turn; None for
        at once on accelerators, in turn on a CPU.
    """
    if replicas == 1:
        return alone(step)
    if vectorised is None:
        vectorised = jax.default_backend() != "cpu"
    return side_by_side(step) if vectorised else in_turn(step)
