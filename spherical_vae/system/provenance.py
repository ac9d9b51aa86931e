"""Provenance of a record: the code, the machine, the versions, the day."""

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
# Where numbers come from; the records themselves change with every experiment.
_CODE = ("spherical_vae", "configs", "paper")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


@functools.cache
def circumstances() -> dict[str, Any]:
    """Returns `device`, `versions`, `date` and `commit`, as they were at the first call."""
    device = jax.devices()[0]
    cores = f"{os.cpu_count()} CPU cores"
    accelerators = f"{jax.device_count()} {device.device_kind}"
    return {
        "device": cores if device.platform == "cpu" else accelerators,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }


@functools.cache
def commit(root: Path = ROOT) -> str | None:
    """Returns the commit of the code, as it was at the first call.

    Args:
      root: of the clone.

    Returns:
      Ten digits, with `-modified` behind them if a file that numbers come from is changed or new;
      None if `root` is not a clone, or git is not installed.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    # An installed package may lie inside the repository of something else.
    if top is None or Path(top) != root.resolve():
        return None
    head = _git(root, "rev-parse", "--short=10", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *_CODE)
    if head is None or changes is None:
        return None
    return f"{head}-modified" if changes else head


def _git(root: Path, *arguments: str) -> str | None:
    # It must not write: another git may be at work in the clone.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
