"""The starts of a training, of which an interruption makes several: how long, and by which code."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spherical_vae.atomic_file import write_atomically
from spherical_vae.experiments.provenance import circumstances, commit

Starts = list[dict[str, Any]]


@contextlib.contextmanager
def timed(directory: Path) -> Iterator[Starts]:
    """A context in which training is started in a directory, which keeps the time it took.

    Yields:
      A list that is empty, and has all starts of the training when the context ends.
    """
    starts: Starts = []
    begun = time.monotonic()
    try:
        yield starts
    finally:
        starts += add_start(directory, time.monotonic() - begun)


def add_start(directory: Path, seconds: float) -> Starts:
    """Adds a start to those of a directory, and returns them all."""
    path = directory / "starts.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    # Once only the seconds were noted.
    starts = [one if isinstance(one, dict) else {"seconds": one, "commit": None} for one in before]
    starts.append({"seconds": round(seconds, 1), "commit": commit()})
    write_atomically(path, json.dumps(starts) + "\n")
    return starts


def in_all(starts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what a record says of all starts; the last one is of this process."""
    commits = dict.fromkeys(start["commit"] for start in starts)
    return {
        "train_seconds": round(sum(start["seconds"] for start in starts), 1),
        "starts": len(starts),
        **circumstances(),
        # A run that went on with other code names them all, unless one is not known.
        "commit": None if None in commits else ", ".join(commits),
    }
