"""The mesh of a run: examples are split along its axis `data`, the vocabulary along `model`.

With these shardings, `jit` lets the compiler average gradients and add up the parts of a softmax.
Which arrays have an axis over the vocabulary is not known here.
"""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from spherical_vae.data.batch import Batch
from spherical_vae.system.errors import UserError


def data_mesh(batch_size: int, model: int = 1) -> Mesh:
    """Returns the mesh of all devices of all processes, for training.

    `model` devices share one copy of the vocabulary, and all devices each batch.

    Raises:
      UserError: `model` does not divide the devices of a process, or the batch does not divide
        over the groups of `model` devices.
    """
    local = jax.local_device_count()
    if local % model:
        raise UserError(f"config.mesh.model: {model} does not divide the {local} devices here")
    mesh = _mesh(jax.devices(), model)
    require_divisible("config.train.batch_size", batch_size, mesh)
    return mesh


def evaluation_mesh(batch_size: int) -> Mesh:
    """Returns the mesh of as many devices as divide a batch; with several processes, of all.

    The size of a batch is never changed, since samples depend on the position in it.
    """
    devices = jax.devices()
    if jax.process_count() == 1:
        devices = devices[: math.gcd(batch_size, len(devices))]
    return _mesh(devices, 1)


def require_divisible(key: str, batch_size: int, mesh: Mesh) -> None:
    """Raises a `UserError` if the batch that `key` sets does not divide over the mesh."""
    groups, model = mesh.shape["data"], mesh.shape["model"]
    if batch_size % groups:
        what = "devices" if model == 1 else f"groups of {model} devices"
        raise UserError(
            f"{key}: {batch_size} does not divide over {groups} {what}; use a multiple of {groups}"
        )


def _mesh(devices: Sequence[jax.Device], model: int) -> Mesh:
    # The rows of a process are adjacent in the batch, so its devices are adjacent in the mesh.
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(ordered).reshape(-1, model), ("data", "model"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(
    state: PyTree, mesh: Mesh, vocabulary_axes: Mapping[str, int]
) -> PyTree[NamedSharding]:
    """Returns the shardings of a state: arrays over the vocabulary in parts, the others whole.

    Args:
      state: arrays or their shapes; the optimiser's arrays are sharded as their parameters are.
      mesh: of `data_mesh`.
      vocabulary_axes: the axis over the vocabulary, by the end of an array's path.

    Raises:
      UserError: the vocabulary does not divide over the axis `model`.
    """
    parts = mesh.shape["model"]

    def sharding(path: tuple, leaf: jax.ShapeDtypeStruct | jax.Array) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        for end, axis in vocabulary_axes.items():
            if name.endswith(end):  # Of `first_decoder` too.
                if leaf.shape[axis] % parts:
                    raise UserError(
                        f"config.mesh.model: {parts} does not divide the {leaf.shape[axis]} words "
                        "of the vocabulary, special ones included; see config.data.vocabulary_size"
                    )
                return NamedSharding(mesh, PartitionSpec(*[None] * axis, "model"))
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(sharding, state)


def place(tree: PyTree, shardings: PyTree[NamedSharding]) -> PyTree[jax.Array]:
    """Lays out arrays that every process has whole, by one sharding each or one for all.

    No process waits for another.
    """

    def put(sharding: NamedSharding, subtree: PyTree) -> PyTree:
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(x.shape, sharding, x.__getitem__),
            jax.tree.map(np.asarray, subtree),
        )

    return jax.tree.map(put, shardings, tree)


def shard_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Puts this process's rows of a batch, or of a stack of batches, on the devices.

    Args:
      batch: as `epoch_batches` yields it, or several stacked.
      mesh: of `data_mesh`.
    """
    stacked = batch.ids.ndim > 2
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * stacked, "data"))
    return jax.make_array_from_process_local_data(sharding, batch)
