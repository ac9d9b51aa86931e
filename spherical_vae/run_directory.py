"""A run's working directory: its configuration, its lock and where its other files lie.

What is in the metrics and the checkpoints is the business of `metrics_log.py` and `checkpoint.py`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ml_collections import ConfigDict

from spherical_vae import hosts
from spherical_vae.atomic_file import write_atomically
from spherical_vae.config_validation import flatten
from spherical_vae.errors import UserError
from spherical_vae.folder_lock import FolderLock, cannot_write, lock_folder
from spherical_vae.metrics_log import MetricsLog
from spherical_vae.paths import run_folder

_FORMAT = 1
# What changes no result but by rounding, or is a run of its own: where things are, how steps share
# calls and devices, how often the state is saved, which baselines are trained beside. A run may go
# on with other values, which its configuration has from then on. That the text is the same is seen
# to by its fingerprint.
NO_MATTER = frozenset(
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
        """Returns where the metrics and results of one replica of a sweep lie."""
        return RunDirectory(self.path / "replicas" / name)

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
) -> RunDirectory:
    """Makes or reopens a working directory for training, and locks it.

    Of several processes the first does it, and all open it at the same time.

    Args:
      workdir: the directory; made with its parents where it is not there.
      config: the configuration to train with; written at the first use, compared at every later
        one, when only what is in `NO_MATTER` may differ.
      replicas: of a sweep, settings by name, which are kept and compared as well.

    Returns:
      The locked run directory: a context manager.

    Raises:
      UserError: checkpoints could not be read there, it cannot be written, another process trains
        in it, it holds a run or sweep with another configuration, or the processes were given
        different ones.
    """
    path = run_folder(workdir)
    hosts.refuse_differences("the configuration", _to_json(config, replicas))
    opened: list[RunDirectory] = []
    hosts.from_first(lambda: opened.append(_open(path, config, replicas)))
    return opened[0] if opened else RunDirectory(path)


def _open(
    path: Path, config: ConfigDict, replicas: Mapping[str, Mapping[str, Any]] | None
) -> RunDirectory:
    lock = _lock(path)
    try:
        run = RunDirectory(path, lock)
        stored = load_config(path) if run.config_path.exists() else None
        if stored is not None:
            _refuse_differences(path, stored, config)
            _refuse_other_replicas(path, load_replicas(path), replicas)
        if stored is None or flatten(stored) != flatten(config):
            write_atomically(run.config_path, _to_json(config, replicas))
    except OSError as error:
        lock.close()
        raise UserError(cannot_write(path, error)) from error
    except BaseException:
        lock.close()
        raise
    return run


def load_config(workdir: str | os.PathLike[str]) -> ConfigDict:
    """Returns the configuration of the run in `workdir`, equal to the one that was given to it.

    Raises:
      UserError: there is no run, or its `config.json` cannot be understood.
    """
    return _load(workdir)[0]


def load_replicas(workdir: str | os.PathLike[str]) -> dict[str, dict[str, Any]] | None:
    """Returns the settings of the replicas of the sweep in `workdir` by name, in their order.

    Returns:
      None where there is a single run.

    Raises:
      UserError: as `load_config`.
    """
    return _load(workdir)[1]


def _load(
    workdir: str | os.PathLike[str],
) -> tuple[ConfigDict, dict[str, dict[str, Any]] | None]:
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
        replicas = content.get("replicas")
        return ConfigDict(_decode(content["config"])), None if replicas is None else dict(replicas)
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


def _refuse_differences(path: Path, stored: ConfigDict, given: ConfigDict) -> None:
    old, new = flatten(stored), flatten(given)
    differences = [
        f"config.{key}: {_show(old, key)} in {path}, {_show(new, key)} given"
        for key in old | new
        if key not in NO_MATTER and not (key in old and key in new and _same(old[key], new[key]))
    ]
    if differences:
        raise UserError("; ".join([*differences, "use another --workdir"]))


def _refuse_other_replicas(
    path: Path,
    stored: Mapping[str, Mapping[str, Any]] | None,
    given: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    # Their order is that of the arrays in the checkpoints.
    if (stored and list(stored)) != (given and list(given)):
        raise UserError(
            f"--sweep: {_listed(stored)} in {path}, {_listed(given)} given; use another --workdir"
        )


def _listed(replicas: Mapping[str, Mapping[str, Any]] | None) -> str:
    return "a single run" if replicas is None else f"replicas {' '.join(replicas)}"


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _show(leaves: dict[str, Any], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "absent"


def _to_json(config: ConfigDict, replicas: Mapping[str, Mapping[str, Any]] | None) -> str:
    content = {"format": _FORMAT, "config": _encode(config.to_dict())}
    if replicas is not None:
        content["replicas"] = replicas
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
