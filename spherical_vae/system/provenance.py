"""Provenance of a record: the code, the machine, the versions, the date."""

import datetime
import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import spherical_vae

ROOT = Path(spherical_vae.__file__).parent.parent
# Files that figures depend on; the records themselves change with each experiment.
_CODE = ("spherical_vae", "configs", "paper")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def circumstances() -> dict[str, Any]:
    """Returns `device`, `versions` and `date` (in UTC) as they are, and `commit()`."""
    device = jax.devices()[0]
    accelerators = f"{jax.device_count()} {device.device_kind}"
    return {
        "device": _cores() if device.platform == "cpu" else accelerators,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }


def _cores() -> str:
    # A process may be bound to some of those that the machine has, where systems can do so.
    bound = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if bound else os.cpu_count()
    return f"{count} CPU core{'' if count == 1 else 's'}"


@functools.cache
def commit(root: Path = ROOT, *folders: str) -> str | None:
    """Returns the commit of the code in the clone at `root`, as it was at the first call.

    Args:
      root: the folder of the clone.
      *folders: of `root`; the record depends on their files too.

    Returns:
      Ten digits, followed by `-modified` if a file that figures depend on is changed or new; None
      if `root` is not a clone, or git is not installed. A copy without its history is told where it
      comes from by $SPHERICAL_VAE_COMMIT, which is returned if it is set.
    """
    if named := os.environ.get("SPHERICAL_VAE_COMMIT"):
        return named

    def git(*arguments: str) -> str:
        # Read only: another git may work in the clone.
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed package may lie inside of another project's repository.
        if Path(git("rev-parse", "--show-toplevel")) != root.resolve():
            return None
        changes = git("status", "--porcelain", "--", *_CODE, *folders)
        return git("rev-parse", "--short=10", "HEAD") + ("-modified" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None
