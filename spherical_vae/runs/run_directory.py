"""The working directory of a run: its configuration, its lock and the paths of its other files."""

import contextlib
import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.config.validation import flatten
from spherical_vae.data.corpus import Corpus
from spherical_vae.parallel import hosts
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.system.atomic_file import cannot_write, write_atomically, write_run_file
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import lock_folder
from spherical_vae.system.paths import run_folder
from spherical_vae.system.standard_error import tell

_FORMAT = 1
# Keys that may change on resuming, because they affect results at most by rounding, or are of other
# runs: paths, how steps share calls and devices, how often the state is saved, the baselines. The
# corpus has a fingerprint, which is compared.
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
# Keys that affect only what follows may change too, with a message; so may all of `evaluation`. The
# number of steps, by itself or by epochs, may only grow.
MAY_CHANGE = frozenset({"train.early_stopping", "train.log_every"})
MAY_GROW = ("train.epochs", "train.steps")

Replicas = Mapping[str, Mapping[str, Any]]
Origin = Mapping[str, Any]


class RunDirectory(contextlib.ExitStack):
    """The paths of a run; `open_run` returns one with a lock, which `close` releases.

    Raises:
      UserError: a URL, or a path from which checkpoints could not be read back.
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__()
        self.path = run_folder(path)  # with `~` replaced
        self.config_path = self.path / "config.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.tensorboard_path = self.path / "tensorboard"
        self.checkpoints_path = self.path / "checkpoints"
        self.replicas_path = self.path / "replicas"
        self.baselines_path = self.path / "baselines"
        self.evaluation_path = self.path / "evaluation.json"  # of a replica, on one split
        self.results_path = self.path / "results.json"  # of a sweep, or beside baselines
        self.examples_path = self.path / "test.examples.json"  # nats of each, beside baselines
        self._longer: str | None = None

    def replica(self, name: str) -> "RunDirectory":
        """Returns the folder of the metrics and results of a replica; that of "" is the run's."""
        return RunDirectory(self.replicas_path / name) if name else self

    def has_begun(self) -> bool:
        """Returns whether the run has records or a checkpoint, of a baseline or a replica too."""
        parts = (self.metrics_path, self.replicas_path, self.baselines_path)
        # Their folder is made before the first is written.
        checkpoints = self.checkpoints_path.glob("*")
        return any(part.exists() for part in parts) or any(checkpoints)

    def store_longer(self, content: str) -> None:
        """Keeps the `config.json` of a longer training until `keep_length` writes it."""
        self._longer = content

    def keep_length(self) -> None:
        """Stores that the run is longer, if it is: a checkpoint of the longer training follows.

        Before that, the run may be trained to its old length as well.

        Raises:
          UserError: it cannot be written.
        """
        if self._longer is not None:
            write_run_file(self.config_path, self._longer)
            self._longer = None

    def metrics_log(self) -> MetricsLog:
        """Returns the run's log; of several processes, only that of the first keeps records."""
        if not hosts.is_first():
            return MetricsLog(None)
        return MetricsLog(self.metrics_path, self.tensorboard_path)


class StoredRun(NamedTuple):
    """The content of a `config.json`.

    Attributes:
      config: the configuration.
      replicas: settings of the replicas of a sweep by name, in their order; None for a single run.
      origin: the run from whose parameters this one started, `{"workdir": path, "step": its best
        step}`, or None.
      corpus: fingerprint of the corpus; None if nobody has said it.
    """

    config: ConfigDict
    replicas: Replicas | None
    origin: Origin | None
    corpus: int | None = None

    def to_json(self) -> str:
        """Returns the text of the file."""
        content = {"format": _FORMAT, "config": _mark_tuples(self.config.to_dict())}
        if self.replicas is not None:
            content["replicas"] = self.replicas
        if self.origin is not None:
            content["origin"] = dict(self.origin)
        if self.corpus is not None:
            content["corpus"] = self.corpus
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def open_run(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    replicas: Replicas | None = None,
    origin: Origin | None = None,
    corpus: Corpus | None = None,
) -> RunDirectory:
    """Makes or reopens a working directory for training, and locks it.

    The first of several processes does it, and all must call this at the same time.

    Args:
      workdir: the directory; made with its parents if it does not exist.
      config: the configuration to train with. It is stored in a new run; in one that has begun
        it is compared, may differ only as `RESUMABLE`, `MAY_CHANGE` and `MAY_GROW` say, and is
        stored, a greater length by `keep_length`.
      replicas: of a sweep, as in `StoredRun`; stored and compared too.
      origin: of a new run, as in `StoredRun`; stored. One that has begun must have the same; None
        for the one that is stored with this configuration.
      corpus: to train on; its fingerprint is stored and compared. None: it is not.

    Raises:
      UserError: the directory cannot be written or checkpoints could not be read back from it,
        another process trains in it, it holds a run or sweep with another configuration or corpus,
        or the processes were given different ones. What is stored stays.
    """
    run = RunDirectory(workdir)
    fingerprint = None if corpus is None else corpus.fingerprint
    given = StoredRun(config, replicas, origin, fingerprint)
    hosts.require_same("the configuration", given.to_json())
    hosts.from_first(lambda: _open(run, given, corpus))
    return run


def _open(run: RunDirectory, given: StoredRun, corpus: Corpus | None) -> None:
    path = run.path
    try:
        lock = lock_folder(path, ".lock")
    except BlockingIOError:
        raise UserError(
            f"{path}: another process or thread is training here; wait for it or use another "
            "--workdir"
        ) from None
    with contextlib.ExitStack() as held:
        held.enter_context(lock)
        try:
            stored = load_run(path) if run.config_path.exists() else None
            if stored is not None and run.has_begun():
                if stored.corpus is None and corpus is not None:
                    _check_checkpoint(run, corpus)
                given = _reconcile(path, stored, given)
                now = _with_length_of(stored, given)
                if now is not given:
                    run.store_longer(given.to_json())
                    given = now
            elif stored is not None and flatten(stored.config) == flatten(given.config):
                given = given._replace(origin=given.origin or stored.origin)
            # Else what ended before the first record, by a mistake perhaps, binds nobody.
            if stored is None or stored.to_json() != given.to_json():
                write_atomically(run.config_path, given.to_json())
        except OSError as error:
            raise UserError(cannot_write(path, error)) from error
        run.push(held.pop_all())


def _with_length_of(stored: StoredRun, given: StoredRun) -> StoredRun:
    """Returns `given`, with the length of `stored` if that is another."""
    old, new = flatten(stored.config), flatten(given.config)
    length = {key: old[key] for key in MAY_GROW}
    if all(new[key] == length[key] for key in MAY_GROW):
        return given
    config = copy.deepcopy(given.config)
    with config.unlocked():
        config.update_from_flattened_dict(length)
    return given._replace(config=config)


def _check_checkpoint(run: RunDirectory, corpus: Corpus) -> None:
    """Raises a `UserError` if a run, older than the fingerprint in `config.json`, has another."""
    # Late: they load JAX, and most mistakes are told before.
    from spherical_vae.runs.checkpoint import CheckpointStore
    from spherical_vae.runs.progress import check_corpus

    if run.checkpoints_path.is_dir():
        store = CheckpointStore(run.checkpoints_path, read_only=True)
        check_corpus(store, corpus, run.path)
        store.close()


def load_run(workdir: str | os.PathLike[str]) -> StoredRun:
    """Returns the content of the `config.json` in `workdir`.

    A key that is newer than the run has the value of `base_config()`, which means what was done
    before.

    Raises:
      UserError: there is no run, or its `config.json` cannot be read or has a key that this version
        does not have.
    """
    path = RunDirectory(workdir).config_path
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_hook=_unmark_tuple)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {_FORMAT}")
        config, stored = base_config(), flatten(dict(content["config"]))
        replicas, origin = (
            None if content.get(key) is None else dict(content[key])
            for key in ("replicas", "origin")
        )
        corpus = content.get("corpus")
        if type(corpus) not in (int, type(None)):
            raise ValueError(f"corpus {corpus!r}, expected a number")
        if unknown := stored.keys() - flatten(config).keys():
            raise UserError(
                f"{path}: config.{min(unknown)}: this version has no such key; use the version "
                "that the run was trained with"
            )
        config.update_from_flattened_dict(stored)
        return StoredRun(config, replicas, origin, corpus)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{workdir}: no run here (there is no {path.name}); train with --workdir={workdir} "
            "first, or check the path"
        ) from None
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: cannot be read as a run's configuration ({reason}); use another --workdir"
        ) from error


def _reconcile(path: Path, stored: StoredRun, given: StoredRun) -> StoredRun:
    """Returns what is stored when a run is reopened; raises if it may not differ as it does.

    Each difference that has an effect is reported on standard error.
    """
    old, new = flatten(stored.config), flatten(given.config)
    objections, messages = [], []
    for key in old | new:
        one, other = old.get(key), new.get(key)
        if key in RESUMABLE or (type(one) is type(other) and one == other):
            continue
        if key == "train.epochs" and old["train.steps"] > 0 and new["train.steps"] > 0:
            continue  # The steps are given, and the epochs are not read.
        difference = f"config.{key}: {one!r} in {path}, {other!r}"
        messages.append(f"{difference} from now on")
        objection = _objection(key, old, new, sweep=given.replicas is not None)
        if objection is not None:
            objections.append(f"{difference} given{objection}")
        elif key in MAY_GROW:
            messages += [
                f"{schedule}: every step to come is that of a training of the new length"
                for schedule in _schedules_of_all_steps(given)
            ]
    # With other settings of its data the same text has another fingerprint, too.
    same_settings = not any(text.startswith("config.data.") for text in objections)
    known = None not in (stored.corpus, given.corpus)
    if known and stored.corpus != given.corpus and same_settings:
        objections.append(_other_corpus(path, stored.config.data, given.config.data))
    if objections:
        raise UserError("; ".join([*objections, "use another --workdir"]))
    # The order of the replicas is that of the arrays in the checkpoints.
    listed = [
        "a single run" if one is None else f"replicas {' '.join(one)}"
        for one in (stored.replicas, given.replicas)
    ]
    if listed[0] != listed[1]:
        raise UserError(f"--sweep: {listed[0]} in {path}, {listed[1]} given; use another --workdir")
    began = "none" if stored.origin is None else stored.origin["workdir"]
    if given.origin is not None and given.origin["workdir"] != began:
        raise UserError(
            f"--init_from: {began} in {path}, {given.origin['workdir']} given; use another "
            "--workdir"
        )
    for message in dict.fromkeys(messages):
        tell(message)
    return given._replace(
        origin=stored.origin, corpus=stored.corpus if given.corpus is None else given.corpus
    )


def _other_corpus(path: Path, old: ConfigDict, new: ConfigDict) -> str:
    """Returns the objection to another corpus, or another version of it."""
    one, other = (
        ", ".join(f"{key}={data[key]!r}" for key in ("name", "path", "manual_dir") if data[key])
        for data in (old, new)
    )
    if one == other:
        return f"config.data: the text of {one} is another than {path} was begun with; restore it"
    return f"config.data: {one} in {path}, {other} given, which is another text"


def _schedules_of_all_steps(given: StoredRun) -> list[str]:
    """Returns the schedules, of the run or any replica, that depend on the length of training."""
    config, replicas = flatten(given.config), (given.replicas or {"": {}}).values()
    return [
        f"config.{key}={name}"
        for key, name in (("optimizer.schedule", "cosine"), ("kl_weight.schedule", "cyclical"))
        if any(replica.get(key, config[key]) == name for replica in replicas)
    ]


def _objection(key: str, old: dict[str, Any], new: dict[str, Any], sweep: bool) -> str | None:
    """Returns None if a key may change as it does, else what is allowed, if anything is."""
    # Replicas that have stopped are behind the others, and cannot continue beside them.
    if key == "train.early_stopping" and sweep:
        return ""
    if key in MAY_CHANGE or key.startswith("evaluation."):
        return None
    if key not in MAY_GROW:
        return ""
    if (old["train.steps"] == 0) != (new["train.steps"] == 0):
        return "" if key == "train.steps" else None
    return None if new[key] > old[key] else f", allowed: at least {old[key]}"


def _mark_tuples(value: Any) -> Any:
    # JSON has one type of sequence; a marked tuple is read back as a tuple.
    if isinstance(value, dict):
        return {key: _mark_tuples(item) for key, item in value.items()}
    return {"tuple": value} if isinstance(value, tuple) else value


def _unmark_tuple(value: dict[str, Any]) -> Any:
    marked = value.keys() == {"tuple"} and isinstance(value["tuple"], list)
    return tuple(value["tuple"]) if marked else value
