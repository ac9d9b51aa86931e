"""The store of runs: one JSON file a run, `results/runs/ID.json`, read into typed records.

A run is a configuration and a seed. Its ID is a digest of the settings that differ from the base
configuration, so tables that need the same run share one file. Tables and figures are views.
"""

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError

Value = str | bool | int | float
_DIGITS = 12  # hexadecimal, of the digest


@dataclass(frozen=True)
class Training:
    """The course of a training; None if it was not recorded.

    The parameters that are measured are those of `best_step`, with the lowest `perplexity` of the
    ELBO on validation; `kl_nats` belongs to the same step. `seconds` is the wall time of all
    `starts` (processes that worked on it), with validation and compilation. `diverged` is the
    reason if there is no best step.
    """

    best_step: int | None = None
    last_step: int | None = None
    tokens_seen: int | None = None
    parameters: int | None = None
    perplexity: float | None = None
    kl_nats: float | None = None
    seconds: float | None = None
    starts: int | None = None
    diverged: str | None = None


@dataclass(frozen=True)
class Provenance:
    """The origin of a run: the command that repeats it, code, machine, and the end of training.

    There are several commits if a run was resumed with other code.
    """

    command: str
    commit: str | None = None
    device: str | None = None
    date: str | None = None
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """The origin of one measure of a run, which may be another than that of the training."""

    commit: str | None = None
    device: str | None = None
    date: str | None = None


@dataclass(frozen=True)
class Point:
    """One evaluation on validation; None where a value was not finite or not recorded."""

    step: int
    kl_nats: float | None = None
    perplexity: float | None = None


@dataclass(frozen=True)
class Bounds:
    """The output of `python -m spherical_vae.evaluate --json` for one split and one protocol.

    `nats` is per example, in the order of the split, rounded to hundredths: the
    importance-weighted bound if there is one, otherwise the ELBO. `converted_from_batches` is the
    batch size of the padded slots that a measure by protocol paper was converted from.
    """

    examples: int
    tokens: int
    step: int
    nll_nats: float | None = None
    reconstruction_nats: float | None = None
    kl_nats: float | None = None
    perplexity: float | None = None
    iw_nll_nats: float | None = None
    iw_perplexity: float | None = None
    importance_samples: int | None = None
    active_units: int | None = None
    participation_ratio: float | None = None
    mutual_information_nats: float | None = None
    mutual_information_nats_standard_error: float | None = None
    mutual_information_ceiling_nats: float | None = None
    mutual_information_at_ceiling: bool | None = None
    document_perplexity: float | None = None
    iw_document_perplexity: float | None = None
    note: str | None = None
    converted_from_batches: int | None = None
    nats: tuple[float, ...] | None = None

    @property
    def samples(self) -> int | None:
        """Of the importance-weighted bound; None if there is none, or no code to draw: exact."""
        return None if self.kl_nats == 0 else self.importance_samples

    @property
    def level(self) -> float | None:
        """The mean of `nats`."""
        return self.nll_nats if self.iw_nll_nats is None else self.iw_nll_nats


# Of the generator that selects the examples of a tight bound.
TIGHT_SEED = 0


def tight_rows(total: int, size: int) -> np.ndarray:
    """Returns the examples of a tight bound, the same for all models: positions `[size]` of test.

    They are selected without replacement from `total`.
    """
    return np.sort(np.random.default_rng(TIGHT_SEED).permutation(total)[:size])


@dataclass(frozen=True)
class Tight:
    """The importance-weighted bound with many samples on some examples of test.

    `nats` is per example of `tight_rows`, `gain_nats` how far the bound is below that with fewer
    samples, paired.
    """

    examples: int
    tokens: int
    importance_samples: int
    iw_nll_nats: float
    iw_nll_nats_standard_error: float
    iw_perplexity: float
    iw_perplexity_standard_error: float
    fewer_importance_samples: int
    gain_nats: float
    gain_nats_standard_error: float
    nats: tuple[float, ...]

    @property
    def samples(self) -> int:
        """Of the bound."""
        return self.importance_samples

    @property
    def level(self) -> float:
        """The mean of `nats`."""
        return self.iw_nll_nats


@dataclass(frozen=True)
class Record:
    """Numbers that no run is needed for: a scale, an origin, and the values, a namespace."""

    scale: str
    provenance: Provenance
    values: Any


@dataclass(frozen=True)
class Run:
    """A training and everything that was measured of it.

    Attributes:
      config: `NAME` or `NAME:VARIANT` of a file in `configs/`.
      overrides: of that configuration, by dotted key.
      seed: `config.seed`.
      settings: everything in which the configuration differs from the base, seed left out.
      validation: evaluations through training, oldest first.
      bounds: by `SPLIT/PROTOCOL`.
      tight: of `measures/tight.py`; None if it was not measured.
      swaps, probes, concentrations, trace: as the other modules of `measures/` return them:
        namespaces, or lists of such; None if not measured.
      measured: origins of the bounds and measures, by name; None in older records.
      note: on what is not as usual.
    """

    config: str
    overrides: dict[str, Value]
    seed: int
    settings: dict[str, Value]
    corpus: str
    training: Training
    provenance: Provenance
    validation: tuple[Point, ...] = ()
    bounds: dict[str, Bounds] = field(default_factory=dict)
    tight: Tight | None = None
    swaps: Any = None
    probes: Any = None
    concentrations: Any = None
    trace: Any = None
    measured: dict[str, Measured] | None = None
    note: str | None = None

    @property
    def id(self) -> str:
        """Name of the file in the store."""
        return run_id(self.settings, self.seed)


def run_id(settings: Mapping[str, Value], seed: int) -> str:
    """Returns `FAMILY-SEED`; runs of one family differ by the seed alone."""
    return f"{family(settings)}-{seed}"


def family(settings: Mapping[str, Value]) -> str:
    """Returns the configuration's name and a digest of what is set."""
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()
    return f"{settings.get('name', 'kjv')}-{digest[:_DIGITS]}"


@dataclass
class Store:
    """The runs in a folder of `ID.json` files, which is made at the first `save`."""

    folder: Path

    @cached_property
    def _runs(self) -> dict[str, Run]:
        return {path.stem: read_run(path) for path in sorted(self.folder.glob("*.json"))}

    def __iter__(self) -> typing.Iterator[Run]:
        return iter(self._runs.values())

    def get(self, run: str, fresh: bool = False) -> Run | None:
        """Returns a run by its ID, or None; `fresh` reads the file again.

        Raises:
          UserError: a file is not a run.
        """
        path = self.folder / f"{run}.json"
        if fresh and path.exists():
            self._runs[run] = read_run(path)
        return self._runs.get(run)

    def of_family(self, name: str) -> list[Run]:
        """Returns the runs of all seeds of one family, in the order of the seeds."""
        runs = [run for key, run in self._runs.items() if key == f"{name}-{run.seed}"]
        return sorted(runs, key=lambda run: run.seed)

    def save(self, run: Run) -> Path:
        """Writes a run, and returns the path of its file."""
        path = write_record(self.folder / f"{run.id}.json", run)
        self._runs[run.id] = run
        return path


def read_run(path: Path) -> Run:
    """Returns the run in a file.

    Raises:
      UserError: the file is not a run, or its name is not the ID of its settings.
    """
    run: Run = read_record(path, Run, "a run")
    if run.id != path.stem:
        raise UserError(f"{path}: its settings are those of {run.id}")
    return run


def write_record(path: Path, record: Run | Record) -> Path:
    """Writes a record, and returns `path`; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, to_json(record))
    return path


def read_record(path: Path, kind: type, what: str) -> Any:
    """Returns the record of a type in a file.

    Raises:
      UserError: the file is not `what`.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        return decode(kind, found)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not {what} ({error})") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def to_json(record: Any) -> str:
    """Returns a dataclass or namespace as JSON: numbers of a list on one line, no None or NaN."""
    text = json.dumps(_plain(record), indent=1, allow_nan=False)
    return re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) or isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no infinity
        return None
    return value


def decode(kind: Any, value: Any, where: str = "") -> Any:
    """Returns JSON data as the type `kind`: dataclasses, tuples, dicts, unions and scalars.

    `Any` stands for data without a type of its own, whose objects become namespaces.

    Raises:
      ValueError: it does not fit; the message names the field, at first `where`.
      TypeError: a field is missing.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return json.loads(json.dumps(value), object_hook=lambda found: SimpleNamespace(**found))
    if origin in (types.UnionType, typing.Union):
        return value if type(value) in parts else decode(parts[0], value, where)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        name, hints = getattr(kind, "__name__", ""), typing.get_type_hints(kind)
        if unknown := value.keys() - hints.keys():
            raise ValueError(f"{name}: no field {min(unknown)!r}")
        fields = {k: decode(hints[k], item, f"{name}.{k}: ") for k, item in value.items()}
        return typing.cast(Any, kind)(**fields)
    if origin is tuple and isinstance(value, list):
        return tuple(decode(parts[0], item, where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: decode(parts[1], item, where) for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{where}{value!r} given, expected {getattr(kind, '__name__', kind)}")
    return value
