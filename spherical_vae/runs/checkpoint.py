"""Checkpoints of a run, by Orbax: the latest two, each durable before an old one is removed.

A checkpoint is a set of named items, pytrees of arrays that can be read one without the others, and
JSON values of the host. What they mean is not known here.
"""

import contextlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping
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

# The last file of a checkpoint to be written: what lacks it was cut short and does not count.
_SEAL = "files.json"
_FORMAT = 2
# The item of the JSON values.
_HOST = "host"
_KEPT = 2
_TRASH = "trash"
_DAMAGED = "damaged"


class DamagedCheckpointError(UserError):
    """A checkpoint whose files are missing, cut or altered.

    Attributes:
      damage: which checkpoint, and what is wrong with it.
    """

    def __init__(self, damage: str, advice: str):
        super().__init__(f"{damage}; {advice}")
        self.damage = damage


class CheckpointStore:
    """The checkpoints of one run; keeps the latest and the one before it.

    A checkpoint is written beside the others, read back, made durable, sealed with the checksums of
    its files, and only then are older ones removed. A save that is cut short leaves what was there
    before. The checksums are needed: an altered byte of an array can pass through Orbax unnoticed.

    Several processes write and read their parts of the arrays together: all must call the same
    methods in the same order, and the directory must be one that all of them see. Checksums, seals
    and leftovers are the business of the first, while the others wait.

    Args:
      directory: where they lie, one folder a step.
      read_only: for looking at a run that may be in training: nothing is written, moved or removed.
      after_write: called with the folder of a checkpoint between writing and reading back.

    Raises:
      UserError: the directory cannot be written, or checkpoints could not be read there.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        read_only: bool = False,
        after_write: Callable[[Path], object] = lambda folder: None,
    ):
        self._directory = run_folder(directory).absolute()
        # Orbax takes a third of a second to import; commands that only read a config need none.
        import orbax.checkpoint as ocp

        _silence_orbax()
        self._ocp = ocp
        self._read_only = read_only
        self._after_write = after_write
        # Step and folder of what has been compared with its checksums.
        self._verified: set[tuple[int, str]] = set()
        options = ocp.CheckpointManagerOptions(
            create=False,
            enable_async_checkpointing=False,
            # A rename is atomic, removing a folder is not: what is removed is renamed first.
            todelete_subdir=_TRASH,
        )
        try:
            if not read_only:
                hosts.from_first(self._prepare)
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        except OSError as error:
            raise UserError(_cannot_hold(self._directory, error)) from error

    def save(self, step: int, items: Mapping[str, PyTree[Any]], host_state: dict[str, Any]) -> None:
        """Writes a checkpoint and returns once it has been read back and is durable.

        Args:
          step: training steps taken; past every step that is saved.
          items: by name, pytrees of jax arrays, at least one array each, without typed PRNG keys.
          host_state: JSON values; tuples come back as lists.

        Raises:
          UserError: it could not be written, or what is read back is not what was written; the
            earlier checkpoints are as they were.
          ValueError: `step` is not past the latest.
        """
        latest = self.latest_step()
        if latest is not None and step <= latest:
            raise ValueError(f"step {step} is not past the latest checkpoint, step {latest}")
        leaves = {item: _named_leaves(tree) for item, tree in items.items()}
        described = {item: _describe(arrays) for item, arrays in leaves.items()}
        host = {"format": _FORMAT, "host_state": host_state, "arrays": described}
        json.dumps(host)  # What is no JSON is the caller's mistake, not the disk's.
        # Orbax refuses arrays without elements, which models without a latent have.
        filled = {item: _filled(arrays) for item, arrays in leaves.items()}
        args = self._ocp.args
        written = {item: args.StandardSave(arrays) for item, arrays in filled.items()}
        try:
            self._manager.save(step, args=args.Composite(host=args.JsonSave(host), **written))
            self._after_write(self._directory / str(step))
            unlike = hosts.largest(int(not self._reads_back(step, filled, host)))
            if unlike:
                raise ValueError("what is read back is not what was written")
            hosts.from_first(lambda: self._seal(step))
        # TensorStore reports a full disk as a ValueError.
        except (OSError, ValueError) as error:
            self._give_up(step)
            raise UserError(
                f"{self._directory / str(step)}: the checkpoint could not be written "
                f"({_summary(error)}); the earlier ones are as they were: make room and start the "
                "same command again"
            ) from error
        self._verified |= {(step, folder) for folder in ("", _HOST, *items)}
        for old in self.steps()[:-_KEPT]:
            self._manager.delete(old)
        if hosts.is_first():
            shutil.rmtree(self._directory / _TRASH, ignore_errors=True)

    def steps(self) -> list[int]:
        """Returns the steps of the finished checkpoints, in order."""
        return list(hosts.from_first(self._steps))

    def _steps(self) -> list[int]:
        seals = self._directory.glob(f"*/{_SEAL}")
        return sorted(int(seal.parent.name) for seal in seals if seal.parent.name.isdecimal())

    def latest_step(self) -> int | None:
        """Returns the step of the latest finished checkpoint, or None."""
        return max(self.steps(), default=None)

    def restore_host(self, step: int) -> dict[str, Any]:
        """Returns the host state saved at `step`.

        Raises:
          UserError: there is no such checkpoint.
          DamagedCheckpointError: its files are not what was written; a `UserError` too.
        """
        return self._read_host(step)["host_state"]

    def restore(self, step: int, item: str, abstract: PyTree[Any]) -> PyTree[Any]:
        """Returns an item saved at `step`, laid out as `abstract` is; no other item is read.

        Args:
          step: one of `steps()`.
          item: its name.
          abstract: arrays or `jax.ShapeDtypeStruct`s of the same structure, shapes and dtypes;
            their shardings are those of the result.

        Raises:
          UserError: there is no such checkpoint, or it is of another model.
          DamagedCheckpointError: its files are not what was written; a `UserError` too.
        """
        saved = self._read_host(step)["arrays"][item]
        leaves = _named_leaves(abstract)
        _check_same_structure(
            f"{self._directory / str(step)}: this checkpoint is of another model",
            saved,
            _describe(leaves),
            "use the configuration that it was trained with, or another --workdir",
        )
        self._verify(step, item)
        wanted = {name: _abstract_leaf(leaf) for name, leaf in leaves.items()}
        args = self._ocp.args
        read = self._manager.restore(
            step, args=args.Composite(**{item: args.StandardRestore(_filled(wanted))})
        )[item]
        arrays = [read[name] if name in read else _zeros(leaf) for name, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(abstract), arrays)

    def restore_latest(
        self, abstract: Mapping[str, PyTree[Any]]
    ) -> tuple[int, dict[str, PyTree[Any]], dict[str, Any]] | None:
        """Returns step, items and host state of the latest checkpoint that is whole.

        A damaged checkpoint is reported on standard error and moved aside, and the one before it is
        taken: what follows is a function of the state, so that only time is lost.

        Args:
          abstract: of each item, as for `restore`.

        Raises:
          UserError: the checkpoint is of another model.
          DamagedCheckpointError: there are checkpoints, but not one is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                host = self.restore_host(step)
                items = {item: self.restore(step, item, tree) for item, tree in abstract.items()}
            except DamagedCheckpointError as error:
                if step == steps[0]:
                    raise
                if hosts.is_first():
                    print(f"warning: {error.damage}; going on from the one before", file=sys.stderr)
                self._set_aside(step)
            else:
                return step, items, host
        return None

    def close(self) -> None:
        """Releases what Orbax holds."""
        self._manager.close()

    def _read_host(self, step: int) -> dict[str, Any]:
        self._verify(step, _HOST)
        args = self._ocp.args
        read = self._manager.restore(step, args=args.Composite(host=args.JsonRestore())).host
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
        """Returns whether this process finds what it has just written, to the bit."""
        args = self._ocp.args
        # On the host: a second state might not fit into the memory of the device.
        wanted = {
            item: args.StandardRestore(
                {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in arrays.items()}
            )
            for item, arrays in items.items()
        }
        try:
            read = self._manager.restore(
                step, args=args.Composite(host=args.JsonRestore(), **wanted)
            )
        except (OSError, ValueError):
            return False
        if json.dumps(read.host) != json.dumps(host):
            return False
        return all(
            _same_bits(leaf, read[item][name])
            for item, arrays in items.items()
            for name, leaf in arrays.items()
        )

    def _seal(self, step: int) -> None:
        """Makes a written checkpoint durable, then records what its files are."""
        folder = self._directory / str(step)
        checksums = {}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            checksums[file.relative_to(folder).as_posix()] = zlib.crc32(file.read_bytes())
            _sync_file(file)
        for path in folder.rglob("*"):
            if path.is_dir():
                sync_directory(path)
        sync_directory(self._directory)
        write_atomically(folder / _SEAL, json.dumps(checksums))

    def _verify(self, step: int, item: str) -> None:
        """Compares the files of an item, and those of no item, with their seal, once a store."""
        advice = (
            "to go on without it, remove that folder and start again: the checkpoint before it is "
            "taken, or else the beginning"
        )
        steps = self.steps()
        if step not in steps:
            raise UserError(
                f"{self._directory}: there is no checkpoint of step {step}, only of {steps}; "
                f"{advice}"
            )
        folders = [folder for folder in ("", item) if (step, folder) not in self._verified]
        damage = hosts.from_first(lambda: self._damage(step, folders)) if folders else None
        if damage is not None:
            raise DamagedCheckpointError(damage, advice)
        self._verified |= {(step, folder) for folder in folders}

    def _damage(self, step: int, folders: list[str]) -> str | None:
        folder = self._directory / str(step)
        name = _SEAL
        try:
            checksums = json.loads((folder / _SEAL).read_bytes())
            for name, checksum in checksums.items():
                top = name.split("/")[0] if "/" in name else ""
                if top in folders and zlib.crc32((folder / name).read_bytes()) != checksum:
                    raise ValueError("altered")
        except (OSError, ValueError, AttributeError) as error:
            reason = "missing" if isinstance(error, FileNotFoundError) else "altered or cut"
            return f"{folder}: this checkpoint is damaged ({name} is {reason})"
        return None

    def _set_aside(self, step: int) -> None:
        if self._read_only:
            return
        hosts.from_first(lambda: self._move_aside(step))
        self._manager.reload()

    def _move_aside(self, step: int) -> None:
        target = self._directory / _DAMAGED / str(step)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        (self._directory / str(step)).rename(target)

    def _give_up(self, step: int) -> None:
        # Another process may still be writing; the next start removes what it leaves.
        if hosts.several():
            return
        # The disk may be too full even for this; the next start tries again.
        with contextlib.suppress(OSError):
            self._remove_leftovers()
            self._manager.reload()

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
        except OSError as error:
            raise UserError(_cannot_hold(self._directory, error)) from error

    def _remove_leftovers(self) -> None:
        """Removes what was being written or removed when a process died."""
        for path in self._directory.iterdir():
            unsealed = path.name.isdecimal() and not (path / _SEAL).exists()
            if path.is_dir() and (unsealed or path.name == _TRASH or "-tmp" in path.name):
                shutil.rmtree(path, ignore_errors=True)


def _filled(arrays: dict[str, Any]) -> dict[str, Any]:
    """Returns the arrays that have elements."""
    return {name: leaf for name, leaf in arrays.items() if leaf.size}


def check_same_arrays(what: str, there: PyTree[Any], here: PyTree[Any], advice: str) -> None:
    """Raises `UserError` unless two pytrees have arrays of the same names, shapes and dtypes.

    Args:
      what: begins the message, which names the first array that differs.
      there: arrays, or their shapes and dtypes.
      here: the same.
      advice: ends the message.
    """
    _check_same_structure(
        what, _describe(_named_leaves(there)), _describe(_named_leaves(here)), advice
    )


def _silence_orbax() -> None:
    """Drops what Orbax logs: its failures reach us as exceptions and are told in one line.

    It logs tracebacks of them too, from threads of its own that may outlive the call.
    """
    logger = logging.get_absl_logger()
    if _is_not_from_orbax not in logger.filters:
        logger.addFilter(_is_not_from_orbax)


def _is_not_from_orbax(record: LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _cannot_hold(directory: Path, error: OSError) -> str:
    return f"{directory}: cannot hold checkpoints ({error.strerror})"


def _sync_file(path: Path) -> None:
    # For writing: Windows syncs no other file.
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _abstract_leaf(leaf: Any) -> jax.ShapeDtypeStruct:
    # Without a sharding, Orbax would take that of the file, which another machine may have written.
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    sharding = getattr(leaf, "sharding", None) or default
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _same_bits(array: jax.Array, read: np.ndarray) -> bool:
    return all(
        np.asarray(shard.data).tobytes() == np.ascontiguousarray(read[shard.index]).tobytes()
        for shard in array.addressable_shards
    )


def _zeros(abstract: jax.ShapeDtypeStruct) -> jax.Array:
    return jax.device_put(np.zeros(abstract.shape, abstract.dtype), abstract.sharding)


def _named_leaves(state: PyTree[Any]) -> dict[str, Any]:
    """Returns the arrays of `state` by path (`params.encoder.kernel`), in the leaves' order."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise ValueError("two arrays of the state have the same path")
    return named


def _describe(leaves: dict[str, Any]) -> dict[str, str]:
    """Returns dtype and shape of each array."""
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}


def _check_same_structure(
    what: str, saved: dict[str, str], wanted: dict[str, str], advice: str
) -> None:
    for name in saved | wanted:
        old, new = saved.get(name, "absent"), wanted.get(name, "absent")
        if old != new:
            raise UserError(f"{what}: {name} is {old} there and {new} here; {advice}")


def _summary(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # TensorStore puts the whole storage specification in front of what the system said.
    return lines[0] if len(lines[0]) < 200 else f"{lines[0][:60]} ... {lines[0][-120:]}"
