"""Checkpoints of a run, by Orbax: the latest two, each durable before an old one is removed.

A checkpoint is a set of named items, pytrees of arrays that can be read separately, and JSON values
of the host. Their meaning is not known here.
"""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from logging import LogRecord
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import PyTree

from spherical_vae.parallel import hosts
from spherical_vae.system.atomic_file import sync_directory, write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.system.paths import run_folder
from spherical_vae.system.standard_error import tell

# The last file of a checkpoint to be written: a checkpoint without it is incomplete.
_SEAL = "files.json"
_FORMAT = 2
# The item of the JSON values.
_HOST = "host"
_KEPT = 2
_TRASH = "trash"
_ADVICE = (
    "to go on without it, remove that folder and start again: the checkpoint before it is taken, "
    "or else the beginning"
)


class DamagedCheckpointError(UserError):
    """A checkpoint whose files are missing, cut or altered.

    Attributes:
      damage: which checkpoint, and what is wrong with it.
    """

    def __init__(self, damage: str):
        super().__init__(f"{damage}; {_ADVICE}")
        self.damage = damage


class CheckpointStore:
    """The checkpoints of one run; keeps the latest and the one before it.

    A checkpoint is written, read back, made durable and sealed with the checksums of its files;
    only then are older ones removed. An interrupted save leaves the earlier checkpoints as they
    were. The checksums are needed: Orbax can read an array with an altered byte without an error.

    Several processes write and read their parts of the arrays together: all must call the same
    methods in the same order, on a directory that all of them see. The first process handles
    checksums, seals and leftovers, while the others wait.

    Args:
      directory: of the checkpoints, one folder a step.
      read_only: for a run that may be in training: nothing is written, moved or removed.
      after_write: called with the folder of a checkpoint between writing and reading back.

    Raises:
      UserError: the directory cannot be written, or checkpoints could not be read back from it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        read_only: bool = False,
        after_write: Callable[[Path], object] = lambda folder: None,
    ):
        self._directory = run_folder(directory).absolute()
        # Importing Orbax takes a third of a second, which some commands need not spend.
        import orbax.checkpoint as ocp

        # Orbax logs its failures, which are raised anyway, with tracebacks and from threads that
        # may outlive the call.
        logging.get_absl_logger().addFilter(_is_not_from_orbax)
        self._args = ocp.args
        self._read_only = read_only
        self._after_write = after_write
        options = ocp.CheckpointManagerOptions(
            create=False,
            enable_async_checkpointing=False,
            # A rename is atomic, removing a folder is not: a folder is renamed before its removal.
            todelete_subdir=_TRASH,
        )
        try:
            if not read_only:
                hosts.from_first(self._prepare)
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        except OSError as error:
            raise self._cannot_hold(error) from error

    def save(self, step: int, items: Mapping[str, PyTree[Any]], host_state: dict[str, Any]) -> None:
        """Writes a checkpoint and returns when it has been read back and is durable.

        Args:
          step: training steps done; larger than every saved step.
          items: by name, pytrees of jax arrays, at least one array each, without typed PRNG keys.
          host_state: JSON values; tuples are read back as lists.

        Raises:
          UserError: the checkpoint could not be written, or differs when it is read back; the
            earlier checkpoints are as they were.
          ValueError: `step` is not larger than the latest, or a value is not JSON.
        """
        latest = self.latest_step()
        if latest is not None and step <= latest:
            raise ValueError(f"step {step} is not past the latest checkpoint, step {latest}")
        described = {item: describe_arrays(tree) for item, tree in items.items()}
        host = {"format": _FORMAT, "host_state": host_state, "arrays": described}
        json.dumps(host)  # Raises here what is not JSON: a mistake of the caller, not of the disk.
        arrays = {item: _filled(_named_leaves(tree)) for item, tree in items.items()}
        written = {item: self._args.StandardSave(leaves) for item, leaves in arrays.items()}
        composite = self._args.Composite(**{_HOST: self._args.JsonSave(host)}, **written)
        folder = self._directory / str(step)
        try:
            self._manager.save(step, args=composite)
            self._after_write(folder)
            if hosts.largest(int(not self._reads_back(step, arrays, host))):
                raise ValueError("what is read back is not what was written")
            hosts.from_first(lambda: _seal(folder))
        # TensorStore reports a full disk as a ValueError.
        except (OSError, ValueError) as error:
            # Another process may still be writing; the next start removes what it leaves. The disk
            # may be too full even to remove it now.
            if not hosts.several():
                with contextlib.suppress(OSError):
                    self._remove_leftovers()
                    self._manager.reload()
            raise UserError(
                f"{folder}: the checkpoint could not be written ({_summary(error)}); the earlier "
                "ones are as they were: make room and start the same command again"
            ) from error
        for old in self.steps()[:-_KEPT]:
            self._manager.delete(old)
        if hosts.is_first():
            shutil.rmtree(self._directory / _TRASH, ignore_errors=True)

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, in order."""

        def find() -> list[int]:
            names = [seal.parent.name for seal in self._directory.glob(f"*/{_SEAL}")]
            return sorted(int(name) for name in names if name.isdecimal())

        return list(hosts.from_first(find))

    def latest_step(self) -> int | None:
        """Returns the step of the latest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def restore_host(self, step: int) -> dict[str, Any]:
        """Returns the host state saved at `step`.

        Raises:
          UserError: there is no such checkpoint.
          DamagedCheckpointError: its files are not what was written; a `UserError` too.
        """
        return self._read_host(step)["host_state"]

    def restore(self, step: int, item: str, abstract: PyTree[Any]) -> PyTree[Any]:
        """Returns an item saved at `step`; no other item is read.

        Args:
          step: one of `steps()`.
          item: its name.
          abstract: arrays or `jax.ShapeDtypeStruct`s of the same structure, shapes and dtypes;
            the result has their shardings.

        Raises:
          UserError: there is no such checkpoint, or it is of another model.
          DamagedCheckpointError: its files are not what was written; a `UserError` too.
        """
        check_same_arrays(
            f"{self._directory / str(step)}: this checkpoint is of another model",
            self._read_host(step)["arrays"][item],
            describe_arrays(abstract),
            "use the configuration that it was trained with, or another --workdir",
        )
        self._verify(step, item)
        wanted = {name: _abstract_leaf(leaf) for name, leaf in _named_leaves(abstract).items()}
        restore = self._args.StandardRestore(_filled(wanted))
        read = self._manager.restore(step, args=self._args.Composite(**{item: restore}))[item]
        arrays = [
            read[name]
            if leaf.size
            else jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)
            for name, leaf in wanted.items()
        ]
        return jax.tree.unflatten(jax.tree.structure(abstract), arrays)

    def restore_latest(
        self, abstract: Mapping[str, PyTree[Any]]
    ) -> tuple[int, dict[str, PyTree[Any]], dict[str, Any]] | None:
        """Returns step, items and host state of the latest checkpoint that is not damaged, or None.

        A damaged checkpoint is reported on standard error and moved aside, and the one before it is
        taken: training is a function of the state, so that only time is lost. `abstract` has the
        argument of `restore` for each item.

        Raises:
          UserError: the checkpoint is of another model.
          DamagedCheckpointError: there are checkpoints, and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                items = {item: self.restore(step, item, tree) for item, tree in abstract.items()}
                return step, items, self.restore_host(step)
            except DamagedCheckpointError as error:
                if step == steps[0]:
                    raise
                if hosts.is_first():
                    tell(f"warning: {error.damage}; going on from the one before")
                if not self._read_only:
                    hosts.from_first(partial(self._move_aside, step))
                    self._manager.reload()
        return None

    def close(self) -> None:
        """Releases the resources of Orbax."""
        self._manager.close()

    def _read_host(self, step: int) -> dict[str, Any]:
        self._verify(step, _HOST)
        composite = self._args.Composite(**{_HOST: self._args.JsonRestore()})
        read = self._manager.restore(step, args=composite)[_HOST]
        if read.get("format") != _FORMAT:
            raise UserError(
                f"{self._directory / str(step)}: a checkpoint of format {read.get('format', 1)}, "
                f"allowed: format {_FORMAT}; use the version that wrote it, or train again in "
                "another --workdir"
            )
        return dict(read)

    def _reads_back(
        self, step: int, items: dict[str, dict[str, Any]], host: dict[str, Any]
    ) -> bool:
        """Returns whether this process reads what it has just written, to the bit."""
        # To the host: the device may have no memory for a second state.
        wanted = {
            item: self._args.StandardRestore(
                {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in arrays.items()}
            )
            for item, arrays in items.items()
        }
        composite = self._args.Composite(**{_HOST: self._args.JsonRestore()}, **wanted)
        try:
            read = self._manager.restore(step, args=composite)
        except (OSError, ValueError):
            return False
        return json.dumps(read[_HOST]) == json.dumps(host) and all(
            np.asarray(shard.data).tobytes()
            == np.ascontiguousarray(read[item][name][shard.index]).tobytes()
            for item, arrays in items.items()
            for name, leaf in arrays.items()
            for shard in leaf.addressable_shards
        )

    def _verify(self, step: int, item: str) -> None:
        """Compares the files of an item, and those of no item, with their seal."""
        steps = self.steps()
        if step not in steps:
            raise UserError(
                f"{self._directory}: there is no checkpoint of step {step}, only of {steps}; "
                f"{_ADVICE}"
            )
        damage = hosts.from_first(lambda: _damage(self._directory / str(step), item))
        if damage is not None:
            raise DamagedCheckpointError(damage)

    def _move_aside(self, step: int) -> None:
        target = self._directory / "damaged" / str(step)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        (self._directory / str(step)).rename(target)

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
        except OSError as error:
            raise self._cannot_hold(error) from error

    def _remove_leftovers(self) -> None:
        """Removes what was being written or removed when a process died."""
        for path in self._directory.iterdir():
            unsealed = path.name.isdecimal() and not (path / _SEAL).exists()
            if path.is_dir() and (unsealed or path.name == _TRASH or "-tmp" in path.name):
                shutil.rmtree(path, ignore_errors=True)

    def _cannot_hold(self, error: OSError) -> UserError:
        return UserError(f"{self._directory}: cannot hold checkpoints ({error.strerror})")


def describe_arrays(tree: PyTree[Any]) -> dict[str, str]:
    """Returns dtype and shape of each array by its path."""
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in _named_leaves(tree).items()}


def check_same_arrays(
    what: str, there: Mapping[str, str], here: Mapping[str, str], advice: str
) -> None:
    """Raises a `UserError` unless two results of `describe_arrays` are equal.

    The message begins with `what`, names the first array that differs, and ends with `advice`.
    """
    for name in dict(there) | dict(here):
        old, new = there.get(name, "absent"), here.get(name, "absent")
        if old != new:
            raise UserError(f"{what}: {name} is {old} there and {new} here; {advice}")


def _seal(folder: Path) -> None:
    """Makes a written checkpoint durable, then records the checksums of its files."""
    checksums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_directory(path)
            continue
        checksums[path.relative_to(folder).as_posix()] = zlib.crc32(path.read_bytes())
        # Opened for writing: Windows syncs no other file.
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    sync_directory(folder.parent)
    write_atomically(folder / _SEAL, json.dumps(checksums))


def _damage(folder: Path, item: str) -> str | None:
    """Returns a message if the seal, or a file of the item or of none, is not what was written."""
    name = _SEAL
    try:
        checksums = json.loads((folder / _SEAL).read_bytes())
        for name, checksum in checksums.items():
            part = name.split("/")[0] if "/" in name else ""
            if part in ("", item) and zlib.crc32((folder / name).read_bytes()) != checksum:
                raise ValueError("altered")
        # A seal with an altered name says nothing of the file that had it.
        name = _SEAL
        files = (path for path in (folder / item).rglob("*") if path.is_file())
        if any(path.relative_to(folder).as_posix() not in checksums for path in files):
            raise ValueError("altered")
    except (OSError, ValueError, AttributeError) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "altered or cut"
        return f"{folder}: this checkpoint is damaged ({name} is {reason})"
    return None


def _is_not_from_orbax(record: LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _filled(arrays: dict[str, Any]) -> dict[str, Any]:
    # Orbax raises for arrays without elements, which models without a latent have.
    return {name: leaf for name, leaf in arrays.items() if leaf.size}


def _abstract_leaf(leaf: Any) -> jax.ShapeDtypeStruct:
    # Without a sharding, Orbax would take that of the file, which another machine may have written.
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    sharding = getattr(leaf, "sharding", None) or default
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _named_leaves(state: PyTree[Any]) -> dict[str, Any]:
    """Returns the arrays of `state` by path (`params.encoder.kernel`), in the leaves' order."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise ValueError("two arrays of the state have the same path")
    return named


def _summary(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # TensorStore writes the whole storage specification before the message of the system.
    return lines[0] if len(lines[0]) < 200 else f"{lines[0][:60]} ... {lines[0][-120:]}"
