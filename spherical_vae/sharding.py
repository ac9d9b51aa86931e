"""Data parallelism: one mesh axis over all devices, batches split along it, the state on each.

`jit` with these shardings lets the compiler average gradients; `pmap` is in maintenance in JAX.
"""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from spherical_vae.chunks import Chunk
from spherical_vae.errors import UserError


def data_mesh(batch_size: int) -> Mesh:
    """Returns the mesh of all local devices.

    Args:
      batch_size: examples a step, over all devices.

    Raises:
      UserError: the batch does not divide over the devices.
    """
    devices = jax.device_count()
    if batch_size % devices:
        raise UserError(
            f"config.train.batch_size: {batch_size} does not divide over {devices} devices; "
            f"use a multiple of {devices}"
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def shard_batch(chunk: Chunk, mesh: Mesh) -> Chunk:
    """Puts the batches of a chunk on the devices, their rows split over them."""
    rows = PartitionSpec("data") if chunk.steps == 1 else PartitionSpec(None, "data")
    return chunk._replace(batches=jax.device_put(chunk.batches, NamedSharding(mesh, rows)))
