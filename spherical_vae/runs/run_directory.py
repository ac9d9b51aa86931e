"""A run's working directory: its configuration, its lock and the paths of its other files.

What is in the metrics and the checkpoints is the business of `metrics_log.py` and `checkpoint.py`.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.config.validation import flatten
from spherical_vae.parallel import hosts
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import FolderLock, cannot_write, lock_folder
from spherical_vae.system.paths import run_folder

_FORMAT = 1
# Keys that may change on resume, because they affect results at most by rounding, or are runs of
# their own: paths, how steps share calls and devices, how often the state is saved, the baselines.
# The configuration of the run has the new values from then on. That the text is the same is checked
# by its fingerprint.
RESUMABLE = frozenset(
    {
        "baselines",
        "compute.logits_at_once",
        "compute.recompute_gates",
        "data.cache_dir",
        "data.manual_dir",
        "data.path",
        "evaluation.chunk",
        "mesh.model",
        "train.checkpoint_every",
        "train.steps_per_call",
    }
)
# Keys that affect only what follows: a run may go on with other values, with a message; so may all
# of `evaluation`. Steps, by their number or by epochs, may only become more.
MAY_CHANGE = frozenset({"train.early_stopping", "train.log_every"})
_MAY_CHANGE_GROUP = "evaluation."
MAY_GROW = ("train.epochs", "train.steps")


class RunDirectory:
    """The paths of a run; holds the lock until `close` where `open_run` made it.

    Attributes:
      path: the working directory, `~` replaced.

    Raises:
      UserError: a URL, or a path under which checkpoints could not be read.
    """

    def __init__(self, path: str | os.PathLike[str], lock: FolderLock | None = None):
        self.path = run_folder(path)
        self._lock = lock

    @property
    def config_path(self) -> Path:
        """The configuration, `config.json`."""
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        """The metrics, `metrics.jsonl`."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard_path(self) -> Path:
        """The folder of TensorBoard files."""
        return self.path / "tensorboard"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def evaluation_path(self) -> Path:
        """What a replica of a sweep gave on the split it was measured on, `evaluation.json`."""
        return self.path / "evaluation.json"

    @property
    def results_path(self) -> Path:
        """The results of all replicas of a sweep, `results.json`."""
        return self.path / "results.json"

    def replica(self, name: str) -> "RunDirectory":
        """Returns where the metrics and results of one replica of a sweep lie.

        Args:
          name: of the replica; "" for that of a single run, which is the run itself.
        """
        return RunDirectory(self.path / "replicas" / name) if name else self

    def metrics_log(self, tensorboard: bool = True) -> MetricsLog:
        """Returns the run's log, mirrored to TensorBoard unless told not to.

        Of several processes, one that is not the first has a log that keeps nothing.
        """
        if not hosts.is_first():
            return MetricsLog(None)
        return MetricsLog(self.metrics_path, self.tensorboard_path if tensorboard else None)

    def close(self) -> None:
        """Gives the lock back; a process that dies gives it back as well."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_run(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    replicas: Mapping[str, Mapping[str, Any]] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> RunDirectory:
    """Makes or reopens a working directory for training, and locks it.

    Of several processes the first does it, and all open it at the same time.

    Args:
      workdir: the directory; made with its parents where it is not there.
      config: the configuration to train with; written at the first use, compared at every later
        one, when only what is in `RESUMABLE`, `MAY_CHANGE` and `evaluation` may differ, and what
        is in `MAY_GROW` be more.
      replicas: of a sweep, settings by name, which are kept and compared as well.
      origin: whose weights a new run starts from, `{"workdir": path, "step": its best}`; kept. A
        run that is there already must have the same; None for what it has.

    Returns:
      The locked run directory: a context manager.

    Raises:
      UserError: checkpoints could not be read there, it cannot be written, another process trains
        in it, it holds a run or sweep with another configuration, or the processes were given
        different ones.
    """
    path = run_folder(workdir)
    hosts.refuse_differences("the configuration", _to_json(config, replicas, origin))
    opened: list[RunDirectory] = []
    hosts.from_first(lambda: opened.append(_open(path, config, replicas, origin)))
    return opened[0] if opened else RunDirectory(path)


def _open(
    path: Path,
    config: ConfigDict,
    replicas: Mapping[str, Mapping[str, Any]] | None,
    origin: Mapping[str, Any] | None,
) -> RunDirectory:
    lock = _lock(path)
    try:
        run = RunDirectory(path, lock)
        stored = _load(path) if run.config_path.exists() else None
        if stored is not None:
            changes = _allowed_changes(path, stored.config, config, sweep=replicas is not None)
            _refuse_other_replicas(path, stored.replicas, replicas)
            origin = _same_origin(path, stored.origin, origin)
            for change in changes:
                print(change, file=sys.stderr)
        if stored is None or flatten(stored.config) != flatten(config):
            write_atomically(run.config_path, _to_json(config, replicas, origin))
    except OSError as error:
        lock.close()
        raise UserError(cannot_write(path, error)) from error
    except BaseException:
        lock.close()
        raise
    return run


def load_config(workdir: str | os.PathLike[str]) -> ConfigDict:
    """Returns the configuration of the run in `workdir`, equal to the one that was given to it.

    A key that the run is older than has the value of `base_config()`, which means what was done
    before there was that key.

    Raises:
      UserError: there is no run, or its `config.json` cannot be understood or has a key that this
        version does not know.
    """
    return _load(workdir).config


def load_replicas(workdir: str | os.PathLike[str]) -> dict[str, dict[str, Any]] | None:
    """Returns the settings of the replicas of the sweep in `workdir` by name, in their order.

    Returns:
      None where there is a single run.

    Raises:
      UserError: as `load_config`.
    """
    return _load(workdir).replicas


def load_origin(workdir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Returns whose weights the run in `workdir` started from, `workdir` and `step`, or None.

    Raises:
      UserError: as `load_config`.
    """
    return _load(workdir).origin


class _Stored(NamedTuple):
    """The content of a `config.json`."""

    config: ConfigDict
    replicas: dict[str, dict[str, Any]] | None
    origin: dict[str, Any] | None


def _load(workdir: str | os.PathLike[str]) -> _Stored:
    path = RunDirectory(workdir).config_path
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{workdir}: no run here (there is no {path.name}); train with --workdir={workdir} "
            "first, or check the path"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(_broken(path, str(error))) from error
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {_FORMAT}")
        replicas, origin = content.get("replicas"), content.get("origin")
        return _Stored(
            _completed(path, ConfigDict(_decode(content["config"]))),
            None if replicas is None else dict(replicas),
            None if origin is None else dict(origin),
        )
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(_broken(path, f"{type(error).__name__}: {error}")) from error


def _lock(path: Path) -> FolderLock:
    try:
        return lock_folder(path, ".lock")
    except BlockingIOError:
        raise UserError(
            f"{path}: another process or thread is training here; wait for it or use another "
            "--workdir"
        ) from None


def _completed(path: Path, stored: ConfigDict) -> ConfigDict:
    """Returns a stored configuration with the keys that it is older than."""
    config, leaves = base_config(), flatten(stored)
    unknown = leaves.keys() - flatten(config).keys()
    if unknown:
        raise UserError(
            f"{path}: config.{min(unknown)}: this version has no such key; use the version that "
            "the run was trained with"
        )
    config.update_from_flattened_dict(leaves)
    return config


def _allowed_changes(
    path: Path, stored: ConfigDict, requested: ConfigDict, sweep: bool
) -> list[str]:
    """Returns a message for each difference that has an effect; raises if one is not allowed."""
    old, new = flatten(stored), flatten(requested)
    changed = [
        key
        for key in old | new
        if key not in RESUMABLE and not (key in old and key in new and _same(old[key], new[key]))
    ]
    differences = {
        key: f"config.{key}: {_show(old, key)} in {path}, {_show(new, key)}" for key in changed
    }
    refused = [
        f"{difference} given{limit}"
        for key, difference in differences.items()
        if (limit := _refusal(key, old, new, sweep)) is not None
    ]
    if refused:
        raise UserError("; ".join([*refused, "use another --workdir"]))
    messages = [f"{difference} from now on" for difference in differences.values()]
    if not set(MAY_GROW).isdisjoint(changed) and requested.optimizer.schedule == "cosine":
        messages.append(
            "config.optimizer.schedule=cosine: the learning rate of every step to come is that of "
            "a training as long as this one is now"
        )
    return messages


def _refusal(key: str, old: dict[str, Any], new: dict[str, Any], sweep: bool) -> str | None:
    """Returns None if a key may be another one than before, else what is allowed, if anything."""
    # Replicas that have stopped are behind the others, and cannot go on beside them.
    if key == "train.early_stopping" and sweep:
        return ""
    if key in MAY_CHANGE or key.startswith(_MAY_CHANGE_GROUP):
        return None
    if key not in MAY_GROW or key not in new or key not in old:
        return ""
    if (old["train.steps"] == 0) != (new["train.steps"] == 0):
        return "" if key == "train.steps" else None
    return None if new[key] > old[key] else f", allowed: at least {old[key]}"


def _same_origin(
    path: Path, stored: Mapping[str, Any] | None, requested: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    if requested is not None and (stored is None or stored["workdir"] != requested["workdir"]):
        began = "none" if stored is None else stored["workdir"]
        raise UserError(
            f"--init_from: {began} in {path}, {requested['workdir']} given; use another --workdir"
        )
    return stored


def _refuse_other_replicas(
    path: Path,
    stored: Mapping[str, Mapping[str, Any]] | None,
    requested: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    # Their order is that of the arrays in the checkpoints.
    if (stored and list(stored)) != (requested and list(requested)):
        raise UserError(
            f"--sweep: {_listed(stored)} in {path}, {_listed(requested)} given; "
            "use another --workdir"
        )


def _listed(replicas: Mapping[str, Mapping[str, Any]] | None) -> str:
    return "a single run" if replicas is None else f"replicas {' '.join(replicas)}"


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _show(leaves: dict[str, Any], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "absent"


def _to_json(
    config: ConfigDict,
    replicas: Mapping[str, Mapping[str, Any]] | None,
    origin: Mapping[str, Any] | None,
) -> str:
    content = {"format": _FORMAT, "config": _encode(config.to_dict())}
    if replicas is not None:
        content["replicas"] = replicas
    if origin is not None:
        content["origin"] = dict(origin)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _encode(value: Any) -> Any:
    # JSON has one kind of sequence; tuples are marked, so that what is read back compares equal.
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"tuple"} and isinstance(value["tuple"], list):
            return tuple(_decode(item) for item in value["tuple"])
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value


def _broken(path: Path, reason: str) -> str:
    return f"{path}: cannot be read as a run's configuration ({reason}); use another --workdir"
