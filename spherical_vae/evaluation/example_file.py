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


def empty_columns(examples: int) -> dict[str, Float[np.ndarray, " N"]]:
    """Returns the columns of N examples that have not been measured: all NaN."""
    return {name: np.full(examples, np.nan) for name in COLUMNS}


class OtherExamplesError(UserError):
    """A file that is about something else, or is no such file."""


class ExampleFile:
    """The file of one model, split, protocol and seed.

    Args:
      path: of the file; continued if it is there.
      about: JSON values that determine every number in it.
      examples: size of the split.

    Attributes:
      columns: `[N]` float64 arrays by name, in the order of the split; NaN where not measured. Who
        measures writes into them.

    Raises:
      UserError: the file cannot be read, or is about something else.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], examples: int) -> None:
        self._path, self._about, self._saved = path, dict(about), time.monotonic()
        there, columns = _read(path) if path.exists() else ({}, empty_columns(0))
        if not np.isfinite(columns["tokens"]).any():
            # Nothing has been measured: perhaps because it could not be.
            self.columns = empty_columns(examples)
            # The folder is known to be writable before hours are spent.
            self.save()
            return
        self.columns, found = columns, len(columns["tokens"])
        if found != examples:
            raise OtherExamplesError(f"{path}: has {found} examples, this evaluation {examples}")
        for key in differing(there, self._about)[:1]:
            raise OtherExamplesError(
                f"{path}: its {key} is {there.get(key)!r}, this evaluation has "
                f"{self._about.get(key)!r}; name another file"
            )

    def save(self, after_seconds: float = 0.0) -> None:
        """Writes the file, if its last save is so long ago; a crash leaves the old or new file."""
        if time.monotonic() - self._saved < after_seconds:
            return
        columns = {
            name: [value if np.isfinite(value) else None for value in column.tolist()]
            for name, column in self.columns.items()
        }
        content = {"about": self._about, **columns}
        try:
            write_atomically(self._path, json.dumps(content, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error}") from None
        self._saved = time.monotonic()


def differing(about: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Returns the keys by which two measures differ.

    The name of the corpus is none of them: that of an own text is where its files are. The
    fingerprint tells texts apart.
    """
    keys = dict.fromkeys([*about, *other])
    return [key for key in keys if key != "corpus" and about.get(key) != other.get(key)]


def own_example_file(path: Path, about: Mapping[str, Any], examples: int) -> ExampleFile:
    """Returns the file of a run in its own directory, begun anew if it is about something else."""
    try:
        return ExampleFile(path, about, examples)
    except OtherExamplesError:
        # Of an earlier step, say; nobody has named this file.
        path.unlink()
        return ExampleFile(path, about, examples)


def read_bounds(path: Path) -> tuple[dict[str, Any], Float[np.ndarray, " N"]]:
    """Returns what a finished file is about, and its importance-weighted bound of each example.

    Without a latent the bound is log p(x) itself.

    Raises:
      UserError: the file is missing, damaged or not finished, or has no such bound.
    """
    about, columns = _read(path)
    bounds = columns["iw_nll_nats"]
    if not np.isfinite(bounds).all():
        raise UserError(f"{path}: has no importance-weighted bound of every example")
    return about, bounds


def check_comparable(
    path: Path, about: Mapping[str, Any], other: Path, about_other: Mapping[str, Any]
) -> None:
    """Raises a UserError unless two files are about the same quantity of the same examples.

    Bounds come closer to log p(x) with more samples: only one that is exact stands beside any.
    """
    keys = ["corpus_fingerprint", "split", "condition_on_bag"]
    if not (about.get("exact") or about_other.get("exact")):
        keys.append("importance_samples")
    for key in keys:
        ours, theirs = about.get(key, False), about_other.get(key, False)
        if ours != theirs:
            raise UserError(f"{path} has {key} {ours!r} and {other} {theirs!r}")


def paired_difference(path: Path, other: Path) -> tuple[float, float]:
    """Compares two finished files of the same examples by their importance-weighted bounds.

    Returns:
      The mean of the nats in `path` minus those in `other`, and its standard error over examples.

    Raises:
      UserError: as `read_bounds`, or the two are not comparable.
    """
    (about, ours), (about_other, theirs) = read_bounds(path), read_bounds(other)
    check_comparable(path, about, other, about_other)
    if len(ours) != len(theirs):
        raise UserError(f"{path} has {len(ours)} examples and {other} {len(theirs)}")
    difference = ours - theirs
    return float(difference.mean()), standard_error(difference)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Float[np.ndarray, " N"]]]:
    """Returns what a file is about, and its columns."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["about"], dict):
            raise TypeError
        columns = {name: np.array(content[name], np.float64) for name in COLUMNS}
        if len({column.shape for column in columns.values()}) > 1:
            raise ValueError
        return content["about"], columns
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise OtherExamplesError(f"{path}: is no file of an evaluation's examples") from None
