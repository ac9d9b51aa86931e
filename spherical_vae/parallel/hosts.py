"""Several processes that train together: how they meet, and what they agree on.

They may be on one host or on many. A process on its own does without all of this: nothing is sent,
and JAX is not imported for it.
"""

import json
import os
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spherical_vae.system.errors import UserError

# A process that is killed is missed after so long; the others then end with JAX's message.
HEARTBEAT_SECONDS = 30
# A process that ends by an error waits so long for the others to end as well.
SHUTDOWN_SECONDS = 10
JOIN_SECONDS = 300


def join(
    coordinator: str | None = None,
    process_count: int | None = None,
    process_index: int | None = None,
) -> None:
    """Makes this process one of several; must come before any computation.

    Without arguments that is done where a launcher is found: SLURM with several tasks, or a TPU.

    Args:
      coordinator: `HOST:PORT` that process 0 listens on and the others reach.
      process_count: processes in all; 1 for a process on its own, under any launcher.
      process_index: of this one, from 0.

    Raises:
      UserError: arguments that do not go together, or the others were not met within
        `JOIN_SECONDS`.
    """
    if process_count == 1 and coordinator is None and process_index is None:
        return
    given = {
        "--coordinator": coordinator,
        "--process_count": process_count,
        "--process_index": process_index,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given) and not launched_together(os.environ):
        return
    if 0 < len(missing) < len(given):
        raise UserError(f"{missing[0]}=VALUE is missing: {', '.join(given)} go together")
    if coordinator is not None and process_count is not None and process_index is not None:
        host, colon, port = coordinator.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
            raise UserError(f"--coordinator={coordinator}: HOST:PORT is allowed")
        if not 0 <= process_index < process_count:
            raise UserError(
                f"--process_index={process_index}: 0 to {process_count - 1} is allowed with "
                f"--process_count={process_count}"
            )
    _initialise(coordinator, process_count, process_index)


def _initialise(
    coordinator: str | None, process_count: int | None, process_index: int | None
) -> None:
    import jax

    # Ours saves on SIGINT as well, and stops all processes at a step that they have agreed on.
    jax.config.update("jax_enable_preemption_service", False)
    # On CPUs two programs in flight may meet their neighbours' in another order, and wait for ever.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            coordinator,
            process_count,
            process_index,
            # All devices of the host, unless a launcher is to share them out.
            cluster_detection_method=None if coordinator is None else "deactivate",
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"process {process_index if coordinator else '?'} could not join the others at "
            f"{coordinator or 'the coordinator that was detected'} ({reason}); give --coordinator, "
            "--process_count and --process_index, or --process_count=1 to train alone"
        ) from error
    if jax.default_backend() == "cpu":
        # With jax 0.10.2, processes that find their programs in the cache wait for each other for
        # ever in the first collective.
        jax.config.update("jax_enable_compilation_cache", False)
    _keep_standard_output()


def launched_together(variables: Mapping[str, str]) -> bool:
    """Returns whether a launcher that JAX knows has started this process as one of several.

    Args:
      variables: the environment.
    """
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")
    if all(name in variables for name in slurm) and int(variables.get("SLURM_NTASKS", "1")) > 1:
        return True
    if variables.get("JAX_PLATFORMS") == "cpu":
        return False
    workers = variables.get("TPU_PROCESS_ADDRESSES") or variables.get("TPU_WORKER_HOSTNAMES", "")
    if "," in workers or int(variables.get("MEGASCALE_NUM_SLICES") or "1") > 1:
        return True
    # A virtual machine with TPUs knows its neighbours by its metadata server; others forbid to ask.
    asked = "TPU_SKIP_MDS_QUERY" not in variables and not workers
    return asked and any(Path("/dev").glob("accel[0-9]*"))


def _keep_standard_output() -> None:
    """Leaves standard output to Python: the collectives of CPUs tell there who is connected."""
    sys.stdout.flush()
    results = os.dup(1)
    os.dup2(2, 1)
    out = sys.stdout
    sys.stdout = os.fdopen(results, "w", encoding=out.encoding, errors=out.errors)


def several() -> bool:
    """Returns whether this process is one of several."""
    if "jax" not in sys.modules:
        return False
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Returns whether this process is the one that writes logs: process 0, or one on its own."""
    if not several():
        return True
    import jax

    return jax.process_index() == 0


def from_first(compute: Callable[[], Any]) -> Any:
    """Returns what process 0 computes, in every process; all must call this in the same order.

    It is a barrier too: no process goes on before process 0 has come to the end of `compute`.

    Args:
      compute: called in process 0 only; returns a JSON value.

    Raises:
      UserError: that of `compute`, in every process.
    """
    if not several():
        return compute()
    message: dict[str, Any] = {}
    if is_first():
        try:
            message = {"value": compute()}
        except UserError as error:
            message = {"error": str(error)}
    message = json.loads(_broadcast(json.dumps(message).encode()))
    if "error" in message:
        raise UserError(message["error"])
    return message["value"]


def largest(value: int) -> int:
    """Returns the largest of the values that the processes give; all must call this."""
    if not several():
        return value
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def refuse_differences(what: str, content: str) -> None:
    """Raises `UserError`, in every process, unless `content` is the same in all."""
    if not several():
        return
    from jax.experimental import multihost_utils

    digest = np.uint32(zlib.crc32(content.encode()))
    digests = multihost_utils.process_allgather(digest)
    different = [i for i, other in enumerate(digests) if other != digests[0]]
    if different:
        raise UserError(
            f"{what} of process {different[0]} differs from that of process 0: start all processes "
            "with the same command, on the same files"
        )


def wait_for_all() -> None:
    """Returns when all processes have come here."""
    largest(0)


def _broadcast(content: bytes) -> bytes:
    from jax.experimental import multihost_utils

    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    # Few sizes, for each is a program to be compiled.
    buffer = np.zeros(1 << max(size - 1, 255).bit_length(), np.uint8)
    if is_first():
        buffer[:size] = np.frombuffer(content, np.uint8)
    return multihost_utils.broadcast_one_to_all(buffer)[:size].tobytes()
