"""Trained models with all that goes with them, and how to open a working directory."""

import contextlib
import copy
import os
import sys
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
from spherical_vae.runs import host_state
from spherical_vae.runs.checkpoint import (
    CheckpointStore,
    DamagedCheckpointError,
    check_same_arrays,
)
from spherical_vae.runs.host_state import HostState
from spherical_vae.runs.run_directory import RunDirectory, load_config, load_replicas
from spherical_vae.system.errors import UserError
from spherical_vae.system.jax_settings import settings_of_models

Loaded = TypeVar("Loaded")

# The item of a checkpoint that evaluation reads: parameters of each replica at its best step, `[R,
# ...]`; moving averages if the run keeps them, and the latest ones before the first evaluation.
EVALUATED = "evaluated"


@dataclass(frozen=True)
class TrainedModel:
    """What evaluation and generation need.

    Attributes:
      config: of the run.
      corpus: it was trained on.
      model: the VAE.
      params: of the best step on validation; of the latest one before the first evaluation.
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
    """Opens the run in a working directory; writes nothing there.

    Args:
      workdir: of a run or a sweep.
      replica: name of one of the replicas of a sweep; None for a run.
      places: `path`, `manual_dir` or `cache_dir` of the corpus, if it has moved since.

    Raises:
      UserError: there is no run, no checkpoint or no such replica, or the corpus is missing or has
        changed.
    """
    names = load_replicas(workdir)
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
    """Opens all replicas of the sweep in a working directory, or its single run; writes nothing.

    Args:
      workdir: of a run or a sweep.
      places: as for `load_trained`.

    Raises:
      UserError: there is no run or no checkpoint, or the corpus is missing or has changed.
    """
    config, settings = load_config(workdir), load_replicas(workdir)
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
        states = host_state.from_json(store.restore_host(latest))
        states[0].check_corpus(corpus, workdir)
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (len(replicas), *leaf.shape), leaf.dtype, sharding=replicated(mesh)
            ),
            abstract_params(model),
        )
        params = store.restore(latest, EVALUATED, abstract)
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(len(replicas))]
        return trained_replicas(replicas, corpus, model, mesh, each, states)

    return read_latest(store, read)


def abstract_params(model: VAE) -> dict:
    """Returns shapes and types of a model's parameters, without making them."""
    params: dict = jax.eval_shape(lambda: init_params(model, 0))
    return params


def trained_replicas(
    replicas: Sequence[Replica],
    corpus: Corpus,
    model: VAE,
    mesh: Mesh,
    params: Sequence[dict],
    states: Sequence[HostState],
) -> list[TrainedReplica]:
    """Returns the trained replicas of a checkpoint.

    Args:
      replicas: in the order of the checkpoint.
      corpus: they were trained on.
      model: the VAE of all of them.
      mesh: over which the parameters lie.
      params: what `EVALUATED` holds of each replica.
      states: host state of each replica.
    """
    trained = []
    for replica, one, state in zip(replicas, params, states, strict=True):
        model_of: TrainedModel | None = None
        if state.best_step >= 0 or not state.finished:
            step = state.best_step if state.best_step >= 0 else state.step
            model_of = TrainedModel(
                replica.config, corpus, model, one, step, state.step, state.tokens_seen, mesh
            )
        trained.append(TrainedReplica(replica, model_of, state.diverged_step))
    return trained


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
    there = trained.params
    if trained.config.latent.kind == "none" and config.latent.kind != "none":
        # A language model has a decoder for this one, and an encoder that was never trained.
        config = copy.deepcopy(config)
        config.latent.kind, config.prior.kind = "none", "standard"
        there = {name: part for name, part in there.items() if name != "encoder"}
    here = abstract_params(build_vae(config, len(corpus.vocabulary)))
    check_same_arrays(
        f"{where}: another model",
        there,
        {name: part for name, part in here.items() if name in there or name != "encoder"},
        "use a configuration of the same sizes",
    )
    words = zip(trained.corpus.vocabulary.words, corpus.vocabulary.words, strict=True)
    for number, (theirs, ours) in enumerate(words):
        if theirs != ours:
            raise UserError(
                f"{where}: another vocabulary: word {number} is {theirs!r} there and {ours!r} here"
            )
    return {"workdir": str(RunDirectory(workdir).path.absolute()), "step": trained.step}


def load_origin_model(origin: Mapping[str, Any]) -> TrainedModel:
    """Opens the run that another one starts from.

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
    return trained


def starting_params(origin: TrainedModel, params: dict) -> dict:
    """Returns the parameters that a run starts from if it starts from another one.

    Those of the other run. If that is a language model and this one has a latent, then its decoder
    and embeddings: kernels that multiply z begin at zero, so that the decoder is the language model
    at first; encoder and latent begin as they would otherwise.

    Args:
      origin: the other run.
      params: that the run would start from otherwise.
    """
    if origin.model.latent_size or "latent" not in params:
        return origin.params
    shared = [name for name in params if name not in ("encoder", "latent")]
    return params | {
        name: jax.tree.map(_with_rows_of_zeros, origin.params[name], params[name])
        for name in shared
    }


def _with_rows_of_zeros(there: Array, here: Array) -> Array:
    """Puts zeros before the rows of an array, as many as another one has more."""
    missing = here.shape[0] - there.shape[0]
    return jnp.concatenate([jnp.zeros((missing, *there.shape[1:]), there.dtype), there])


def check_corpus(store: CheckpointStore, corpus: Corpus, workdir: object) -> None:
    """Raises `UserError` if the latest whole checkpoint is of another corpus.

    This comes before any array is read: the arrays of another vocabulary have other shapes.
    """
    for step in reversed(store.steps()):
        with contextlib.suppress(DamagedCheckpointError):
            states = host_state.from_json(store.restore_host(step))
            states[0].check_corpus(corpus, workdir)
            return


def read_latest(store: CheckpointStore, read: Callable[[int], Loaded]) -> Loaded:
    """Returns what is read of the latest checkpoint.

    Training may be going on, and removes old checkpoints: what fails because there is a newer one
    meanwhile is read once more, from that.

    Args:
      store: with a checkpoint; it is closed in the end.
      read: takes the latest step, and reads.
    """
    while True:
        latest = store.steps()[-1]
        try:
            loaded = read(latest)
        # Files that vanish while Orbax reads them are reported by it in its own ways.
        except (UserError, OSError, ValueError):
            if store.latest_step() == latest:
                raise
        else:
            store.close()
            return loaded
