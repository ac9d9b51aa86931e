"""Compiled programs that workers share, and with which the next run of the tests begins.

Most of the time of the tests is compilation. JAX writes an entry of its cache in place, and another
process could read the half of it: each worker has a folder of its own, and exchanges whole entries
with the common one between two modules.
"""

import os
import shutil
from pathlib import Path

# Those of one version of the package are 75 MB (`du -sh .pytest_cache` after a whole run).
_MOST_BYTES = 4e9


def prepare(common: Path) -> None:
    """Makes the common folder, and empties it if it has the programs of many versions."""
    common.mkdir(exist_ok=True)
    if sum(program.stat().st_size for program in common.iterdir()) > _MOST_BYTES:
        shutil.rmtree(common)
        common.mkdir()


def exchange(own: Path, common: Path) -> None:
    """Copies new programs of a worker's folder to the common one, and links to those of others."""
    own.mkdir(parents=True, exist_ok=True)
    others = {program.name for program in common.glob("*-cache")}
    for program in own.glob("*-cache"):
        if program.name not in others:
            arriving = Path(shutil.copyfile(program, common / f"{program.name}.{os.getpid()}"))
            arriving.replace(common / program.name)
        others.discard(program.name)
    for name in others:
        (own / name).symlink_to(common / name)
