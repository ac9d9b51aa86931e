"""Checkpoints of a run, by Orbax: the latest and the best, durable before an old one goes.

What the state consists of is not known here: a pytree of arrays, and JSON values of the host.
"""

import json
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from spherical_vae.atomic_file import sync_directory
from spherical_vae.errors import UserError

_TRASH = "trash"
_DAMAGED = "damaged"


class DamagedCheckpointError(UserError):
    """A checkpoint whose files are missing, cut or altered."""


class CheckpointStore:
    """The checkpoints of one run; keeps the latest and the one that `best_step` names.

    A checkpoint is written beside the others, made durable, and only then are those removed that
    are neither the latest nor the best. A save that is cut short leaves what was there before.
    With each array goes a checksum, so that damage is found rather than trained on.

    Args:
      directory: where they lie, one folder a step.
      read_only: for looking at a run that may be in training: nothing is written, moved or removed.

    Raises:
      UserError: the directory cannot be made.
    """

    def __init__(self, directory: str | os.PathLike[str], read_only: bool = False):
        # Orbax takes a third of a second to import; commands that read a config need none of it.
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._directory = Path(directory).absolute()
        self._read_only = read_only
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=False,
            # A rename is atomic, removing a folder is not: what is removed is renamed first.
            todelete_subdir=None if read_only else _TRASH,
        )
        try:
            self._manager = ocp.CheckpointManager(
                self._directory, options=options, item_names=("state", "host")
            )
            if not read_only:
                self._empty_trash()
        except OSError as error:
            raise UserError(f"{directory}: cannot hold checkpoints ({error})") from error

    def save(self, step: int, state: PyTree[Any], host_state: dict[str, Any]) -> None:
        """Writes a checkpoint and returns once it is durable.

        Args:
          step: training steps taken; must be past every step that is kept.
          state: a pytree of jax arrays, without typed PRNG keys.
          host_state: JSON values (tuples come back as lists); `best_step`, if there is one, names
            the checkpoint that is kept beside the latest.

        Raises:
          UserError: it could not be written; the earlier checkpoints are as they were.
        """
        args = self._ocp.args
        host: dict[str, Any] = {"host_state": host_state, "arrays": _describe(state)}
        host["checksum"] = _checksum_json(host)
        try:
            self._manager.save(
                step,
                args=args.Composite(state=args.StandardSave(state), host=args.JsonSave(host)),
            )
            self._sync(step)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._directory / str(step)}: the checkpoint could not be written "
                f"({_first_line(error)}); earlier checkpoints are as they were: free some space "
                "and start the command again"
            ) from error
        for old in self.steps():
            if old not in (step, host_state.get("best_step")):
                self._manager.delete(old)
        self._empty_trash()

    def steps(self) -> list[int]:
        """Returns the steps of the finished checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """Returns the step of the latest finished checkpoint, or None."""
        return max(self.steps(), default=None)

    def restore_host(self, step: int) -> dict[str, Any]:
        """Returns the host state saved at `step`.

        Raises:
          UserError: there is no such checkpoint, or it is damaged.
        """
        return self._read_host(step)["host_state"]

    def restore(self, step: int, abstract_state: PyTree[Any]) -> PyTree[Any]:
        """Returns the state saved at `step`, laid out as `abstract_state` is.

        Args:
          step: one of `steps()`.
          abstract_state: arrays or `jax.ShapeDtypeStruct`s of the same structure, shapes and
            dtypes; their shardings are those of the result.

        Raises:
          UserError: there is no such checkpoint, it is damaged, or it is of another model.
        """
        saved = self._read_host(step)["arrays"]
        abstract_state = jax.tree.map(_abstract_leaf, abstract_state)
        _refuse_other_structure(self._directory / str(step), saved, abstract_state)
        args = self._ocp.args
        try:
            state = self._manager.restore(
                step, args=args.Composite(state=args.StandardRestore(abstract_state))
            ).state
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise self._damaged(step, _first_line(error)) from error
        for name, entry in _describe(state).items():
            if entry["checksum"] != saved[name]["checksum"]:
                raise self._damaged(step, f"{name} is not what was saved")
        return state

    def restore_latest(
        self, abstract_state: PyTree[Any]
    ) -> tuple[int, PyTree[Any], dict[str, Any]] | None:
        """Returns step, state and host state of the latest checkpoint that is whole.

        A damaged checkpoint is reported on standard error and moved aside, and the one before it is
        taken: training is a function of the state, so that only time is lost.

        Args:
          abstract_state: as for `restore`.

        Raises:
          UserError: checkpoints are there but all are damaged, or they are of another model.
        """
        steps = self.steps()
        for index, step in enumerate(reversed(steps), start=1):
            try:
                return step, self.restore(step, abstract_state), self.restore_host(step)
            except DamagedCheckpointError as error:
                if index == len(steps):
                    raise
                print(f"warning: {error}; taking an earlier one", file=sys.stderr)
                self._set_aside(step)
        return None

    def close(self) -> None:
        """Releases what Orbax holds."""
        self._manager.close()

    def _read_host(self, step: int) -> dict[str, Any]:
        if step not in self.steps():
            raise UserError(
                f"{self._directory}: there is no checkpoint of step {step}, only {self.steps()}"
            )
        args = self._ocp.args
        try:
            host = self._manager.restore(step, args=args.Composite(host=args.JsonRestore())).host
            checksum = host.pop("checksum")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._damaged(step, _first_line(error)) from error
        if checksum != _checksum_json(host):
            raise self._damaged(step, "its host state is not what was saved")
        return host

    def _damaged(self, step: int, reason: str) -> DamagedCheckpointError:
        return DamagedCheckpointError(
            f"{self._directory / str(step)}: this checkpoint is damaged ({reason}); remove that "
            "folder and start again, which resumes from an earlier checkpoint or from the start"
        )

    def _set_aside(self, step: int) -> None:
        if self._read_only:
            return
        aside = self._directory / _DAMAGED
        aside.mkdir(exist_ok=True)
        target = aside / str(step)
        shutil.rmtree(target, ignore_errors=True)
        (self._directory / str(step)).rename(target)
        self._manager.reload()

    def _empty_trash(self) -> None:
        shutil.rmtree(self._directory / _TRASH, ignore_errors=True)

    def _sync(self, step: int) -> None:
        for folder, _, files in os.walk(self._directory / str(step)):
            for name in files:
                descriptor = os.open(Path(folder) / name, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            sync_directory(Path(folder))
        sync_directory(self._directory)


def _abstract_leaf(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        # Without one, Orbax would take the sharding from the file, which another machine wrote.
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _describe(state: PyTree[Any]) -> dict[str, dict[str, Any]]:
    """Returns shape, dtype and checksum of each array of `state` by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        jax.tree_util.keystr(path): {
            "shape": list(leaf.shape),
            "dtype": str(leaf.dtype),
            "checksum": _checksum(leaf),
        }
        for path, leaf in leaves
    }


def _checksum(leaf: Any) -> int | None:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return None
    # What lies on other hosts cannot be seen from here, unless this host has a copy.
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return None
    return zlib.crc32(np.ascontiguousarray(leaf).tobytes())


def _checksum_json(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _refuse_other_structure(
    path: Path, saved: dict[str, dict[str, Any]], abstract_state: PyTree[Any]
) -> None:
    wanted = _describe(abstract_state)
    for name in saved | wanted:
        old, new = (
            f"{e['dtype']}{e['shape']}" if e else "absent"
            for e in (saved.get(name), wanted.get(name))
        )
        if old != new:
            raise UserError(
                f"{path}: this checkpoint is of another model: state{name} is {old} there and "
                f"{new} here; use the configuration that it was trained with, or another --workdir"
            )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
