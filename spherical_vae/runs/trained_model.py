"""Trained models with everything that belongs to them, loaded from a working directory."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array
from ml_collections import ConfigDict

from spherical_vae.config.sweeps import Replica, build_replicas
from spherical_vae.data import load_corpus
from spherical_vae.data.corpus import Corpus
from spherical_vae.models.vae import VAE, build_vae, init_params
from spherical_vae.parallel.hosts import is_first
from spherical_vae.parallel.sharding import evaluation_mesh, replicated
from spherical_vae.runs.checkpoint import (
    CheckpointStore,
    check_same_arrays,
    describe_arrays,
)
from spherical_vae.runs.progress import Progress, from_json
from spherical_vae.runs.run_directory import RunDirectory, load_run
from spherical_vae.system.errors import UserError
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.system.paths import run_folder
from spherical_vae.system.standard_error import tell

Loaded = TypeVar("Loaded")

# The item of a checkpoint that evaluation reads: parameters of each replica at its best step, `[R,
# ...]`; moving averages if the run keeps them, and the latest ones before the first evaluation.
EVALUATED = "evaluated"


@dataclass(frozen=True)
class TrainedModel:
    """The input of evaluation and generation.

    Attributes:
      config: of the run.
      corpus: it was trained on.
      model: the VAE.
      params: of the best step on validation; of the latest one before the first evaluation.
      step: the step of `params`.
      last_step: steps done up to the latest checkpoint.
      tokens_seen: in training up to the last train record before the latest checkpoint.
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
    """One replica of a sweep, or a single run.

    Attributes:
      replica: its name and settings.
      model: None if its training is over and validation was never finite.
      diverged_step: the first step, from 1, whose loss or gradient was not finite, or None.
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
    """Loads the run in a working directory; writes nothing there.

    Args:
      workdir: of a run or a sweep.
      replica: name of a replica of a sweep; None for a run.
      places: `path`, `manual_dir` or `cache_dir` of the corpus, if it has moved since.

    Raises:
      UserError: there is no run, no checkpoint or no such replica, or the corpus is missing or has
        changed.
    """
    names = load_run(workdir).replicas
    if names is not None and replica not in names:
        mistake = "is missing" if replica is None else f"{replica!r} given"
        raise UserError(
            f"--replica: {mistake}, allowed for the sweep in {workdir}: {' '.join(names)}"
        )
    if names is None and replica is not None:
        raise UserError(f"--replica={replica}: {workdir} holds a single run, without replicas")
    (trained,) = (one for one in load_all(workdir, places) if one.replica.name == (replica or ""))
    if trained.model is None:
        where = workdir if replica is None else f"--replica={replica}"
        raise UserError(f"{where}: validation was never finite, so no step is best")
    return trained.model


@settings_of_models()
def load_all(
    workdir: str | os.PathLike[str], places: Mapping[str, str] | None = None
) -> list[TrainedReplica]:
    """Loads all replicas of the sweep in a working directory, or its single run.

    Nothing is written there. `places` is that of `load_trained`.

    Raises:
      UserError: there is no run or no checkpoint, or the corpus is missing or has changed.
    """
    stored = load_run(workdir)
    config, settings = stored.config, stored.replicas
    config.data.update(places or {})
    store = CheckpointStore(RunDirectory(workdir).checkpoints_path, read_only=True)
    if store.latest_step() is None:
        raise UserError(f"{workdir}: the run has no checkpoint yet; train it first")
    corpus = load_corpus(config.data)
    model = build_vae(config, len(corpus.vocabulary))
    mesh = evaluation_mesh(config.evaluation.batch_size)
    replicas = [Replica("", {}, config)]
    if settings is not None:
        replicas = build_replicas(config, list(settings.values()))

    def read(latest: int) -> list[TrainedReplica]:
        states = from_json(store.restore_host(latest))
        states[0].check_corpus(corpus, workdir)
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (len(replicas), *leaf.shape), leaf.dtype, sharding=replicated(mesh)
            ),
            _abstract_params(model),
        )
        params = store.restore(latest, EVALUATED, abstract)
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(len(replicas))]
        return trained_replicas(replicas, corpus, model, mesh, each, states)

    return read_latest(store, read)


def _abstract_params(model: VAE) -> dict:
    return jax.eval_shape(lambda: init_params(model, 0))


def trained_replicas(
    replicas: Sequence[Replica],
    corpus: Corpus,
    model: VAE,
    mesh: Mesh,
    params: Sequence[dict],
    states: Sequence[Progress],
) -> list[TrainedReplica]:
    """Returns the trained replicas of a checkpoint, from `EVALUATED` and the progress of each."""
    trained = []
    for replica, one, state in zip(replicas, params, states, strict=True):
        measured, loaded = state.best_step >= 0, None
        if measured or not state.finished:
            step, seen = state.best_step if measured else state.step, state.tokens_seen
            loaded = TrainedModel(replica.config, corpus, model, one, step, state.step, seen, mesh)
        trained.append(TrainedReplica(replica, loaded, state.diverged_step))
    return trained


@settings_of_models()
def origin_record(
    init_from: str | os.PathLike[str],
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    corpus: Corpus,
) -> dict[str, Any]:
    """Returns the record of the run `init_from`, from whose best parameters another starts.

    Args:
      init_from: working directory of a single run.
      workdir: of the run that starts.
      config: of the run that starts.
      corpus: of the run that starts; its words must be those of the other run.

    Returns:
      `workdir` of the other run, absolute, and its best `step`; without the step if the run in
      `workdir` has begun: it has a record, whatever has become of the other run.

    Raises:
      UserError: both are the same folder; there is no run or no checkpoint; the other run is a
        sweep, or of another model or vocabulary.
    """
    where = f"--init_from={init_from}"
    folder = run_folder(init_from).absolute()
    if folder == run_folder(workdir).absolute():
        raise UserError(f"{where}: is --workdir itself, allowed: another run")
    if RunDirectory(workdir).has_begun():
        return {"workdir": str(folder)}
    if load_run(init_from).replicas is not None:
        raise UserError(f"{where}: a sweep, allowed: a single run")
    trained = load_trained(init_from)
    there = trained.params
    if trained.config.latent.kind == "none" and config.latent.kind != "none":
        # A language model has a decoder for this run, and an encoder that was never trained.
        config = copy.deepcopy(config)
        config.latent.kind, config.prior.kind = "none", "standard"
        there = {name: part for name, part in there.items() if name != "encoder"}
    here = _abstract_params(build_vae(config, len(corpus.vocabulary)))
    check_same_arrays(
        f"{where}: another model",
        describe_arrays(there),
        describe_arrays({k: part for k, part in here.items() if k in there or k != "encoder"}),
        "use a configuration of the same sizes",
    )
    words = zip(trained.corpus.vocabulary.words, corpus.vocabulary.words, strict=True)
    for number, (theirs, ours) in enumerate(words):
        if theirs != ours:
            raise UserError(
                f"{where}: another vocabulary: word {number} is {theirs!r} there and {ours!r} here"
            )
    return {"workdir": str(folder), "step": trained.step}


def load_origin_model(origin: Mapping[str, Any]) -> TrainedModel:
    """Loads the run that a record of `origin_record` names.

    Raises:
      UserError: the run has been trained since.
    """
    workdir, step = origin["workdir"], origin["step"]
    trained = load_trained(workdir)
    if trained.step != step:
        raise UserError(
            f"--init_from={workdir}: its best step was {step} when this run was begun, and is "
            f"{trained.step} now; begin again in another --workdir"
        )
    if is_first():
        tell(f"starting from step {step} of {workdir}")
    return trained


def starting_params(origin: TrainedModel, params: dict) -> dict:
    """Returns the initial parameters of a run that starts from another one: those of the other.

    If the other run is a language model and this one has a latent, only decoder and embeddings are
    taken. Kernels that multiply z begin at zero, so that the decoder is the language model at
    first; encoder and latent keep `params`, the parameters of a run that starts from none.
    """
    if origin.model.latent_size or "latent" not in params:
        return origin.params

    def rows_of_zeros_first(there: Array, here: Array) -> Array:
        missing = here.shape[0] - there.shape[0]
        return jnp.concatenate([jnp.zeros((missing, *there.shape[1:]), there.dtype), there])

    return params | {
        name: jax.tree.map(rows_of_zeros_first, origin.params[name], params[name])
        for name in params
        if name not in ("encoder", "latent")
    }


def read_latest(store: CheckpointStore, read: Callable[[int], Loaded]) -> Loaded:
    """Returns what `read` returns for the latest step of a store, and closes the store.

    A run that is in training removes old checkpoints: if reading fails and there is a newer
    checkpoint, that one is read.
    """
    while True:
        latest = store.steps()[-1]
        try:
            loaded = read(latest)
        # Orbax reports files that are removed while it reads them by errors of several types.
        except (UserError, OSError, ValueError):
            if store.latest_step() == latest:
                raise
        else:
            store.close()
            return loaded
