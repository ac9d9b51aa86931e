"""The states of several runs stacked into one, and a step of all of them; knows nothing of files.

On accelerators the replicas are an axis of every product (`vmap`). On a CPU, which one replica
keeps busy, that would only take memory, and a replica that has stopped would go on costing time:
there they take their steps in turn, inside one compiled call.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from spherical_vae.data.batch import Batch
from spherical_vae.training.step import (
    Hyperparameters,
    TrainState,
    TrainStep,
    empty_sums,
    with_new_decoder,
)


class SweepState(NamedTuple):
    """All that a sweep changes on the device.

    Attributes:
      replicas: a `TrainState` whose arrays have a first axis R.
      best: parameters of each replica at its best step on dev, `[R, ...]`.
    """

    replicas: TrainState
    best: dict


SweepStep = Callable[[TrainState, Batch, Hyperparameters, Bool[Array, " R"]], TrainState]


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Returns the trees as one whose leaves have a first axis R."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def take(tree: PyTree, replica: int | Int[Array, ""]) -> PyTree:
    """Returns one replica of a stacked tree; the index may be traced."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, replica, keepdims=False), tree
    )


def select(chosen: Bool[Array, " R"], new: PyTree, old: PyTree) -> PyTree:
    """Returns `new` for the chosen replicas and `old` for the others."""

    def leaf(one: Array, other: Array) -> Array:
        return jnp.where(chosen.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

    return jax.tree.map(leaf, new, old)


def init_sweep_state(states: Sequence[TrainState]) -> SweepState:
    """Returns the state before the first step, on the host."""
    replicas = stack(states)
    return SweepState(replicas, jax.tree.map(np.copy, replicas.evaluated))


def abstract_sweep_state(state: PyTree, replicas: int) -> SweepState:
    """Returns shapes, types and places of the state of a sweep.

    Args:
      state: abstract `TrainState` of one replica, with shardings; each replica lies as it does.
      replicas: R.
    """

    def widen(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(leaf.sharding.mesh, PartitionSpec(None, *leaf.sharding.spec))
        return jax.ShapeDtypeStruct((replicas, *leaf.shape), leaf.dtype, sharding=sharding)

    widened = jax.tree.map(widen, state)
    return SweepState(widened, widened.evaluated)


def keep_best(best: dict, params: dict, improved: Bool[Array, " R"]) -> dict:
    """Returns the best parameters after an evaluation."""
    return select(improved, params, best)


def without_sums(states: TrainState, chosen: Bool[Array, " R"]) -> TrainState:
    """Returns the states with new totals in the chosen replicas."""
    fresh = jax.tree.map(
        lambda old, new: jnp.broadcast_to(new, old.shape), states.sums, empty_sums()
    )
    return states._replace(sums=select(chosen, fresh, states.sums))


def with_new_decoders(
    states: TrainState, initial: TrainState, chosen: Bool[Array, " R"]
) -> TrainState:
    """Returns the states after `with_new_decoder` in the chosen replicas."""
    return select(chosen, with_new_decoder(states, initial), states)


def side_by_side(step: TrainStep) -> SweepStep:
    """Returns a function that takes the step of all replicas at once, not yet jitted."""
    every = jax.vmap(step, in_axes=(0, None, 0))

    def call(
        states: TrainState, batches: Batch, hypers: Hyperparameters, active: Array
    ) -> TrainState:
        return select(active, every(states, batches, hypers), states)

    return call


def in_turn(step: TrainStep) -> SweepStep:
    """Returns a function that takes the step of one active replica after the other, not yet jitted.

    A stopped replica costs nothing: the loop is over the active ones, however many they are.
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
