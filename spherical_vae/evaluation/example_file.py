"""Nats of each example in a JSON file, which is saved while they are measured.

A bound of hundreds of samples takes an hour on a CPU: if it is interrupted, it continues from the
file. Two files of the same examples are compared in pairs.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from spherical_vae.evaluation.metrics import standard_error
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError

SAVE_SECONDS = 20.0
COLUMNS = ("reconstruction_nats", "kl_nats", "iw_nll_nats", "tokens")


class ExampleFile:
    """The file of one model, split, protocol and seed.

    Args:
      path: of the file; continued if it is there.
      about: JSON values that determine every number in it.
      examples: size of the split.

    Attributes:
      columns: `[N]` float64 arrays by name, in the order of the split; NaN where not measured.

    Raises:
      UserError: the file cannot be read, or is about something else.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], examples: int) -> None:
        self._path, self._about = path, dict(about)
        self._saved = time.monotonic()
        self.columns = {name: np.full(examples, np.nan) for name in COLUMNS}
        if not path.exists():
            # The folder is known to be writable before hours are spent.
            self.save()
            return
        content = _read(path)
        there = content["about"]
        for key in dict.fromkeys([*self._about, *there]):
            if there.get(key) != self._about.get(key):
                raise UserError(
                    f"{path}: its {key} is {there.get(key)!r}, this evaluation has "
                    f"{self._about.get(key)!r}; name another file"
                )
        self.columns = _columns(content)

    def has(self, rows: np.ndarray) -> bool:
        """Returns whether all of these examples have been measured."""
        return bool(np.isfinite(self.columns["tokens"][rows]).all())

    def keep(self, rows: np.ndarray, **values: Float[np.ndarray, " B"]) -> None:
        """Stores values of some examples by column; they reach the disk every 20 seconds."""
        for name, column in values.items():
            self.columns[name][rows] = column
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Writes the file; a crash leaves the old one or the new one."""
        columns = {
            name: [None if np.isnan(value) else value for value in column.tolist()]
            for name, column in self.columns.items()
        }
        content = {"about": self._about, **columns}
        try:
            write_atomically(self._path, json.dumps(content, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error}") from None
        self._saved = time.monotonic()


def paired_difference(path: Path, other: Path) -> tuple[float, float]:
    """Compares two finished files of the same examples by their tightest bounds.

    Returns:
      The mean of the nats in `path` minus those in `other`, and its standard error over examples.
      The bound is the importance-weighted one; without a latent it is log p(x) itself.

    Raises:
      UserError: a file is damaged or not finished, or the examples are not the same.
    """
    contents = [_read(path), _read(other)]
    for key in ("corpus", "corpus_fingerprint", "split"):
        values = [content["about"].get(key) for content in contents]
        if values[0] != values[1]:
            raise UserError(f"{path} has {key} {values[0]!r} and {other} {values[1]!r}")
    nats = []
    for file, content in zip((path, other), contents, strict=True):
        columns = _columns(content)
        if not np.isfinite(columns["iw_nll_nats"]).all():
            raise UserError(f"{file}: has no importance-weighted bound of every example")
        nats.append(columns["iw_nll_nats"])
    if len(nats[0]) != len(nats[1]):
        raise UserError(f"{path} has {len(nats[0])} examples and {other} {len(nats[1])}")
    difference = nats[0] - nats[1]
    return float(difference.mean()), standard_error(difference)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["about"], dict) or any(name not in content for name in COLUMNS):
            raise KeyError
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is no file of an evaluation's examples") from None
    return content


def _columns(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(content[name], np.float64) for name in COLUMNS}
