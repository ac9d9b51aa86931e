"""The starts of a training, of which an interruption makes several: how long, and by which code."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spherical_vae.experiments.laboratory.provenance import circumstances, commit
from spherical_vae.system.atomic_file import write_atomically

Starts = list[dict[str, Any]]


@contextlib.contextmanager
def timed(directory: Path) -> Iterator[Starts]:
    """A context in which training is started in a directory, which keeps the time it took.

    Yields:
      A list that is empty, and has all starts of the training when the context ends.
    """
    path = directory / "starts.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    # Once only the seconds were noted.
    before = [one if isinstance(one, dict) else {"seconds": one, "commit": None} for one in before]
    starts: Starts = []
    begun = time.monotonic()
    # A process that is killed was at it too, for a time that nobody knows.
    _write(path, [*before, {"seconds": None, "commit": commit()}])
    try:
        yield starts
    finally:
        seconds = round(time.monotonic() - begun, 1)
        starts += [*before, {"seconds": seconds, "commit": commit()}]
        _write(path, starts)


def in_all(starts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what a record says of all starts; the last one is of this process.

    The seconds are None where one of them was killed.
    """
    commits = dict.fromkeys(start["commit"] for start in starts)
    seconds = [start["seconds"] for start in starts]
    return {
        "train_seconds": None if None in seconds else round(sum(seconds), 1),
        "starts": len(starts),
        **circumstances(),
        # A run that went on with other code names them all, unless one is not known.
        "commit": None if None in commits else ", ".join(commits),
    }


def _write(path: Path, starts: Starts) -> None:
    write_atomically(path, json.dumps(starts) + "\n")
