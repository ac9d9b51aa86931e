"""Several processes that train together: how they meet, and what they agree on.

They may run on one host or on many. A single process needs none of this: nothing is sent, and JAX
is not imported.
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

# A killed process is missed after this time; the others then end with a message of JAX.
HEARTBEAT_SECONDS = 30
# A process that ends by an error waits this long for the others to end too.
SHUTDOWN_SECONDS = 10
JOIN_SECONDS = 300


def join(coordinator: str | None, process_count: int | None, process_index: int | None) -> None:
    """Makes this process one of several; must be called before any computation.

    If all arguments are None, a process joins if a launcher is found: SLURM with several tasks, or
    a TPU.

    Args:
      coordinator: `HOST:PORT` on which process 0 listens.
      process_count: number of processes; 1 for a process on its own, under any launcher.
      process_index: of this process, from 0.

    Raises:
      UserError: the arguments do not go together, or the others were not met within
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
    if 0 < len(missing) < len(given):
        raise UserError(f"{missing[0]}=VALUE is missing: {', '.join(given)} go together")
    if coordinator is None or process_count is None or process_index is None:
        if not launched_together(os.environ):
            return
    else:
        host, colon, port = coordinator.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
            raise UserError(f"--coordinator={coordinator}: HOST:PORT is allowed")
        if not 0 <= process_index < process_count:
            raise UserError(
                f"--process_index={process_index}: 0 to {process_count - 1} is allowed with "
                f"--process_count={process_count}"
            )

    import jax

    if jax.distributed.is_initialized():
        return  # A command before, of this process, has joined them.
    # JAX's handler of SIGTERM; ours handles SIGINT too, and stops all processes at one step.
    jax.config.update("jax_enable_preemption_service", False)
    # On CPUs, two programs in flight may meet those of other processes in another order and wait
    # forever.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            coordinator,
            process_count,
            process_index,
            # Each process has all devices of its host, unless a launcher divides them.
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
        # With jax 0.10.2, processes that find their programs in the cache wait for each other
        # forever in the first collective.
        jax.config.update("jax_enable_compilation_cache", False)
    # The collectives of CPUs report their connections on standard output, which is for results:
    # they get standard error instead, and Python keeps the old output.
    sys.stdout.flush()
    results, out = os.dup(1), sys.stdout
    os.dup2(2, 1)
    sys.stdout = os.fdopen(results, "w", encoding=out.encoding, errors=out.errors)


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
    # A virtual machine with TPUs finds its neighbours by its metadata server, unless that is
    # forbidden.
    may_query = "TPU_SKIP_MDS_QUERY" not in variables and not workers
    return may_query and any(Path("/dev").glob("accel[0-9]*"))


def several() -> bool:
    """Returns whether this process is one of several."""
    if "jax" not in sys.modules:
        return False
    import jax  # waits for another thread that is importing it

    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Returns whether this process writes logs: process 0, or a process on its own."""
    return not several() or sys.modules["jax"].process_index() == 0


def from_first(compute: Callable[[], Any]) -> Any:
    """Returns the JSON value that process 0 computes, in every process, in the same order of calls.

    No process continues before process 0 has finished `compute`, which it alone calls.

    Raises:
      UserError: raised by `compute`; in every process.
    """
    if not several():
        return compute()
    from jax.experimental.multihost_utils import broadcast_one_to_all

    content = b""
    if is_first():
        try:
            message = {"value": compute()}
        except UserError as error:
            message = {"error": str(error)}
        content = json.dumps(message).encode()
    size = int(broadcast_one_to_all(np.int32(len(content))))
    # Few different sizes, since each is a program to compile.
    buffer = np.zeros(1 << max(size - 1, 255).bit_length(), np.uint8)
    buffer[: len(content)] = np.frombuffer(content, np.uint8)
    message = json.loads(broadcast_one_to_all(buffer)[:size].tobytes())
    if "error" in message:
        raise UserError(message["error"])
    return message["value"]


def largest(value: int) -> int:
    """Returns the largest of the values in all processes, when all have called this."""
    if not several():
        return value
    from jax.experimental.multihost_utils import process_allgather

    return int(np.max(process_allgather(np.int32(value))))


def require_same(what: str, content: str) -> None:
    """Raises a `UserError`, in every process, unless `content` is the same in all."""
    if not several():
        return
    from jax.experimental.multihost_utils import process_allgather

    digests = process_allgather(np.uint32(zlib.crc32(content.encode())))
    different = np.flatnonzero(digests != digests[0])
    if different.size:
        raise UserError(
            f"{what} of process {different[0]} differs from that of process 0: start all processes "
            "with the same command, on the same files"
        )


def wait_for_all() -> None:
    """Returns when all processes have called this."""
    largest(0)
