"""Data parallelism: one mesh axis over all devices, batches split along it, the state on each.

`jit` with these shardings lets the compiler average gradients; `pmap` is in maintenance in JAX.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

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


def shard_batch(batch: PyTree[np.ndarray], mesh: Mesh) -> PyTree[jax.Array]:
    """Puts a host batch on the devices, its rows split over them."""
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
