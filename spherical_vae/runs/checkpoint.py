"""Checkpoints of a run, by Orbax: the latest and the best, durable before an old one goes.

What the state consists of is not known here: a pytree of arrays, and JSON values of the host.
"""

import contextlib
import json
import os
import shutil
import sys
import zlib
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
    """The checkpoints of one run; keeps the latest and the one that `best_step` names.

    A checkpoint is written beside the others, read back, made durable, sealed with the checksums of
    its files, and only then are those removed that are neither the latest nor the best. A save that
    is cut short leaves what was there before. The checksums are needed: an altered byte of an array
    can pass through Orbax unnoticed.

    Several processes write and read their parts of the arrays together: all must call the same
    methods in the same order, and the directory must be one that all of them see. Checksums, seals
    and leftovers are the business of the first, while the others wait.

    Args:
      directory: where they lie, one folder a step.
      read_only: for looking at a run that may be in training: nothing is written, moved or removed.

    Raises:
      UserError: the directory cannot be written, or checkpoints could not be read there.
    """

    def __init__(self, directory: str | os.PathLike[str], read_only: bool = False):
        self._directory = run_folder(directory).absolute()
        # Orbax takes a third of a second to import; commands that only read a config need none.
        import orbax.checkpoint as ocp

        _silence_orbax()
        self._ocp = ocp
        self._read_only = read_only
        self._verified: set[int] = set()
        options = ocp.CheckpointManagerOptions(
            create=False,
            enable_async_checkpointing=False,
            # A rename is atomic, removing a folder is not: what is removed is renamed first.
            todelete_subdir=_TRASH,
        )
        try:
            if not read_only:
                hosts.from_first(self._prepare)
            self._manager = ocp.CheckpointManager(
                self._directory, options=options, item_names=("state", "host")
            )
        except OSError as error:
            raise UserError(_cannot_hold(self._directory, error)) from error

    def save(self, step: int, state: PyTree[Any], host_state: dict[str, Any]) -> None:
        """Writes a checkpoint and returns once it has been read back and is durable.

        Args:
          step: training steps taken; past every step that is kept.
          state: a pytree of jax arrays, at least one, without typed PRNG keys.
          host_state: JSON values (tuples come back as lists); `best_step`, if there is one, names
            the checkpoint that is kept beside the latest.

        Raises:
          UserError: it could not be written, or what is read back is not what was written; the
            earlier checkpoints are as they were.
          ValueError: `step` is not past the latest.
        """
        latest = self.latest_step()
        if latest is not None and step <= latest:
            raise ValueError(f"step {step} is not past the latest checkpoint, step {latest}")
        args = self._ocp.args
        leaves = _named_leaves(state)
        host = {"host_state": host_state, "arrays": _describe(leaves)}
        json.dumps(host)  # What is no JSON is the caller's mistake, not the disk's.
        # Orbax refuses arrays without elements, which models without a latent have.
        filled = {name: leaf for name, leaf in leaves.items() if leaf.size}
        try:
            self._manager.save(
                step,
                args=args.Composite(state=args.StandardSave(filled), host=args.JsonSave(host)),
            )
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
        self._verified.add(step)
        for old in self.steps():
            if old not in (step, host_state.get("best_step")):
                self._manager.delete(old)
                self._verified.discard(old)
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

    def restore(self, step: int, abstract_state: PyTree[Any]) -> PyTree[Any]:
        """Returns the state saved at `step`, laid out as `abstract_state` is.

        Args:
          step: one of `steps()`.
          abstract_state: arrays or `jax.ShapeDtypeStruct`s of the same structure, shapes and
            dtypes; their shardings are those of the result.

        Raises:
          UserError: there is no such checkpoint, or it is of another model.
          DamagedCheckpointError: its files are not what was written; a `UserError` too.
        """
        saved = self._read_host(step)["arrays"]
        leaves = _named_leaves(abstract_state)
        _refuse_other_structure(
            f"{self._directory / str(step)}: this checkpoint is of another model",
            saved,
            _describe(leaves),
            "use the configuration that it was trained with, or another --workdir",
        )
        abstract = {name: _abstract_leaf(leaf) for name, leaf in leaves.items()}
        filled = {name: leaf for name, leaf in abstract.items() if leaf.size}
        args = self._ocp.args
        restored = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(filled))
        ).state
        arrays = [
            restored[name] if name in restored else _zeros(leaf) for name, leaf in abstract.items()
        ]
        return jax.tree.unflatten(jax.tree.structure(abstract_state), arrays)

    def restore_latest(
        self, abstract_state: PyTree[Any]
    ) -> tuple[int, PyTree[Any], dict[str, Any]] | None:
        """Returns step, state and host state of the latest checkpoint that is whole.

        A damaged checkpoint is reported on standard error and moved aside, and the one before it is
        taken: what follows is a function of the state, so that only time is lost. The best one,
        which training needs in the end, is looked at now, not when it has ended.

        Args:
          abstract_state: as for `restore`.

        Raises:
          UserError: the checkpoint is of another model, or the best one of its training is missing.
          DamagedCheckpointError: there are checkpoints, but not one is whole, or the best is not.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                host = self.restore_host(step)
                state = self.restore(step, abstract_state)
            except DamagedCheckpointError as error:
                if step == steps[0]:
                    raise
                if hosts.is_first():
                    print(f"warning: {error.damage}; going on from the one before", file=sys.stderr)
                self._set_aside(step)
            else:
                best = host.get("best_step")
                if best is not None:
                    self._find(best)
                return step, state, host
        return None

    def close(self) -> None:
        """Releases what Orbax holds."""
        self._manager.close()

    def _read_host(self, step: int) -> dict[str, Any]:
        self._find(step)
        args = self._ocp.args
        return self._manager.restore(step, args=args.Composite(host=args.JsonRestore())).host

    def _reads_back(self, step: int, leaves: dict[str, Any], host: dict[str, Any]) -> bool:
        """Returns whether this process finds what it has just written, to the bit."""
        args = self._ocp.args
        # On the host: a second state might not fit into the memory of the device.
        abstract = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
        wanted = args.Composite(state=args.StandardRestore(abstract), host=args.JsonRestore())
        try:
            found = self._manager.restore(step, args=wanted)
        except (OSError, ValueError):
            return False
        if json.dumps(found.host) != json.dumps(host):
            return False
        return all(_same_bits(leaf, found.state[name]) for name, leaf in leaves.items())

    def _seal(self, step: int) -> None:
        """Makes a written checkpoint durable, then records what its files are."""
        folder = self._directory / str(step)
        checksums = {}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            checksums[str(file.relative_to(folder))] = zlib.crc32(file.read_bytes())
            _sync_file(file)
        for path in folder.rglob("*"):
            if path.is_dir():
                sync_directory(path)
        sync_directory(self._directory)
        write_atomically(folder / _SEAL, json.dumps(checksums))

    def _find(self, step: int) -> None:
        """Compares the files of a checkpoint with its seal, once for each store."""
        steps = self.steps()
        advice = (
            "to go on without it, remove that folder and start again: the checkpoint before it is "
            "taken, or else the beginning"
        )
        if steps and step != steps[-1]:
            advice = (
                "what was trained after it needs it as the best: bring it back from a copy, or "
                f"remove {self._directory} and start again from the beginning"
            )
        if step not in steps:
            raise UserError(
                f"{self._directory}: there is no checkpoint of step {step}, only of {steps}; "
                f"{advice}"
            )
        if step in self._verified:
            return
        damage = hosts.from_first(lambda: self._damage(step))
        if damage is not None:
            raise DamagedCheckpointError(damage, advice)
        self._verified.add(step)

    def _damage(self, step: int) -> str | None:
        folder = self._directory / str(step)
        name = _SEAL
        try:
            checksums = json.loads((folder / _SEAL).read_bytes())
            for name, checksum in checksums.items():
                if zlib.crc32((folder / name).read_bytes()) != checksum:
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


def refuse_other_arrays(what: str, there: PyTree[Any], here: PyTree[Any], advice: str) -> None:
    """Raises `UserError` unless two pytrees have arrays of the same names, shapes and dtypes.

    Args:
      what: begins the message, which names the first array that differs.
      there: arrays, or their shapes and dtypes.
      here: the same.
      advice: ends the message.
    """
    _refuse_other_structure(
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


def _refuse_other_structure(
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
