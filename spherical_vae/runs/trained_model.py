"""Models with their weights, and all that goes with them; how to open a working directory."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from spherical_vae.runs.checkpoint import CheckpointStore, refuse_other_arrays
from spherical_vae.data import load_corpus
from spherical_vae.data.corpus import Corpus
from spherical_vae.system.errors import UserError
from spherical_vae.training.host_state import HostState, host_states
from spherical_vae.parallel.hosts import is_first
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.replicas import SweepState, abstract_sweep_state, take
from spherical_vae.runs.run_directory import RunDirectory, load_config, load_replicas
from spherical_vae.parallel.sharding import evaluation_mesh, replicated
from spherical_vae.training.sweep_settings import Replica, build_replicas
from spherical_vae.training.step import TrainState, abstract_state
from spherical_vae.models.vae import VAE, build_vae

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class TrainedModel:
    """What evaluation and generation need.

    Attributes:
      config: of the run.
      corpus: it was trained on.
      model: the VAE.
      params: of the best step on dev; of the latest one if dev was not measured yet.
      step: that step.
      last_step: steps taken up to the latest checkpoint.
      tokens_seen: in training up to the latest checkpoint.
      mesh: over which the parameters lie.
    """

    config: ConfigDict
    corpus: Corpus
    model: VAE
    params: dict
    step: int
    last_step: int
    tokens_seen: int
    mesh: Mesh


@dataclass(frozen=True)
class TrainedReplica:
    """One replica of a sweep.

    Attributes:
      replica: its name and settings.
      model: None where its training is over and dev was never finite.
      diverged_step: where its loss or gradient was not finite for the first time, or None.
    """

    replica: Replica
    model: TrainedModel | None
    diverged_step: int | None


@settings_of_models()
def load_trained(
    workdir: str | os.PathLike[str],
    replica: str | None = None,
    places: Mapping[str, str] | None = None,
) -> TrainedModel:
    """Opens the run in a working directory; writes nothing there.

    Args:
      workdir: of a run or a sweep.
      replica: name of one of the replicas of a sweep; None for a run.
      places: `path`, `manual_dir` or `cache_dir` of the corpus, where it has moved since.

    Raises:
      UserError: there is no run, no checkpoint or no such replica, or the corpus is missing or has
        changed.
    """
    names = load_replicas(workdir)
    if names is not None:
        if replica not in names:
            given = "is missing" if replica is None else f"{replica!r} given"
            raise UserError(
                f"--replica: {given}, allowed for the sweep in {workdir}: {' '.join(names)}"
            )
        found = load_sweep(workdir, places)[list(names).index(replica)].model
        if found is None:
            raise UserError(f"--replica={replica}: never finite on dev, so no step is best")
        return found
    if replica is not None:
        raise UserError(f"--replica={replica}: {workdir} holds a single run, without replicas")
    opened = _open(workdir, places)

    def read(latest: int, hosts: list[HostState]) -> TrainedModel:
        (host,) = hosts
        step = host.plateau.best_step if host.plateau.best_step >= 0 else latest
        params = opened.store.restore(step, opened.abstract).evaluated
        return TrainedModel(
            opened.config,
            opened.corpus,
            opened.model,
            params,
            step,
            latest,
            host.tokens_seen,
            opened.mesh,
        )

    return read_latest(opened.store, opened.corpus, workdir, read)


@settings_of_models()
def load_sweep(
    workdir: str | os.PathLike[str], places: Mapping[str, str] | None = None
) -> list[TrainedReplica]:
    """Opens all replicas of the sweep in a working directory; writes nothing there.

    Args:
      workdir: of a sweep.
      places: as for `load_trained`.

    Raises:
      UserError: there is no sweep or no checkpoint, or the corpus is missing or has changed.
    """
    settings = load_replicas(workdir)
    if settings is None:
        raise UserError(f"{workdir}: holds a single run, no sweep")
    opened = _open(workdir, places)
    replicas = build_replicas(opened.config, list(settings.values()))

    def read(latest: int, hosts: list[HostState]) -> list[TrainedReplica]:
        abstract = abstract_sweep_state(opened.abstract, len(hosts))
        state = opened.store.restore(latest, abstract)
        return trained_replicas(replicas, opened.corpus, opened.model, opened.mesh, state, hosts)

    return read_latest(opened.store, opened.corpus, workdir, read)


@settings_of_models()
def best_of(workdir: str | os.PathLike[str], config: ConfigDict, corpus: Corpus) -> dict[str, Any]:
    """Returns what a run that starts from the best weights of another one keeps of it.

    Args:
      workdir: of the other run, a single one.
      config: of the run that starts.
      corpus: that it is trained on: its words must be those of the other run.

    Returns:
      `workdir`, absolute, and `step`.

    Raises:
      UserError: there is no run or no checkpoint, it is a sweep, or of another model or vocabulary.
    """
    where = f"--init_from={workdir}"
    if load_replicas(workdir) is not None:
        raise UserError(f"{where}: a sweep, allowed: a single run")
    trained = load_trained(workdir)
    model = build_vae(config, len(corpus.vocabulary))
    mine = abstract_state(model, build_optimizer(config.optimizer), config).params
    refuse_other_arrays(
        f"{where}: another model", trained.params, mine, "use a configuration of the same sizes"
    )
    words = zip(trained.corpus.vocabulary.words, corpus.vocabulary.words, strict=True)
    for number, (there, here) in enumerate(words):
        if there != here:
            raise UserError(
                f"{where}: another vocabulary: word {number} is {there!r} there and {here!r} here"
            )
    return {"workdir": str(RunDirectory(workdir).path.absolute()), "step": trained.step}


def load_params(origin: Mapping[str, Any]) -> dict:
    """Returns the parameters that a run starts from.

    Args:
      origin: of `best_of`.

    Raises:
      UserError: the other run has been trained on since.
    """
    workdir, step = origin["workdir"], origin["step"]
    trained = load_trained(workdir)
    if trained.step != step:
        raise UserError(
            f"--init_from={workdir}: its best step was {step} when this run was begun, and is "
            f"{trained.step} now; begin again in another --workdir"
        )
    if is_first():
        print(f"starting from step {step} of {workdir}", file=sys.stderr)
    return trained.params


def trained_replicas(
    replicas: Sequence[Replica],
    corpus: Corpus,
    model: VAE,
    mesh: Mesh,
    state: SweepState,
    hosts: Sequence[HostState],
) -> list[TrainedReplica]:
    """Returns the replicas of a sweep from its state on the device and that of the host."""
    found = []
    for number, (replica, host) in enumerate(zip(replicas, hosts, strict=True)):
        bad = int(state.replicas.sums.first_bad_step[number])
        last, best = int(state.replicas.step[number]), host.plateau.best_step
        trained = None
        if best >= 0 or not host.finished:
            params = take(state.best if best >= 0 else state.replicas.evaluated, number)
            step = best if best >= 0 else last
            trained = TrainedModel(
                replica.config, corpus, model, params, step, last, host.tokens_seen, mesh
            )
        found.append(TrainedReplica(replica, trained, bad + 1 if bad >= 0 else None))
    return found


class _Opened(NamedTuple):
    """What goes with the checkpoints of a run or sweep; `abstract` is one state, with its place."""

    config: ConfigDict
    corpus: Corpus
    model: VAE
    mesh: Mesh
    store: CheckpointStore
    abstract: TrainState


def _open(workdir: str | os.PathLike[str], places: Mapping[str, str] | None) -> _Opened:
    config = load_config(workdir)
    config.data.update(places or {})
    store = CheckpointStore(RunDirectory(workdir).checkpoints_path, read_only=True)
    if store.latest_step() is None:
        raise UserError(f"{workdir}: the run has no checkpoint yet; train it first")
    corpus = load_corpus(config.data)
    model = build_vae(config, len(corpus.vocabulary))
    mesh = evaluation_mesh(config.evaluation.batch_size)
    everywhere = partial(jax.ShapeDtypeStruct, sharding=replicated(mesh))
    abstract = jax.tree.map(
        lambda leaf: everywhere(leaf.shape, leaf.dtype),
        abstract_state(model, build_optimizer(config.optimizer), config),
    )
    return _Opened(config, corpus, model, mesh, store, abstract)


def read_latest(
    store: CheckpointStore,
    corpus: Corpus,
    workdir: str | os.PathLike[str],
    read: Callable[[int, list[HostState]], Loaded],
) -> Loaded:
    """Returns what is read of the latest checkpoint and of the best one that it names.

    Training may be going on, and removes old checkpoints: what fails because there is a newer one
    meanwhile is read once more, from that.

    Args:
      store: with a checkpoint; it is closed in the end.
      corpus: that the run must have been trained on.
      workdir: to be named in messages.
      read: takes the latest step and the host states of that step, and reads the arrays.
    """
    while True:
        latest = store.steps()[-1]
        try:
            hosts = host_states(store.restore_host(latest))
            # Before any array is read: those of another vocabulary are refused for their shapes.
            hosts[0].refuse_other_corpus(corpus, workdir)
            found = read(latest, hosts)
        # Files that vanish while Orbax reads them are reported by it in its own ways.
        except (UserError, OSError, ValueError):
            if store.latest_step() == latest:
                raise
        else:
            store.close()
            return found
