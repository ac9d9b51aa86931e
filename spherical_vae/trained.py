"""A model with its weights, and all that goes with it; how to open one from a working directory."""

from dataclasses import dataclass
from functools import partial

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from spherical_vae.checkpoint import CheckpointStore
from spherical_vae.data import load_corpus
from spherical_vae.data.corpus import Corpus
from spherical_vae.errors import UserError
from spherical_vae.host_state import HostState
from spherical_vae.optim import build_optimizer
from spherical_vae.run_directory import RunDirectory, load_config
from spherical_vae.sharding import evaluation_mesh, replicated
from spherical_vae.train_step import abstract_state
from spherical_vae.vae import VAE, build_vae


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


def load_trained(workdir: str) -> TrainedModel:
    """Opens the run in a working directory; writes nothing there.

    Raises:
      UserError: there is no run or no checkpoint, or the corpus is missing or has changed.
    """
    config = load_config(workdir)
    store = CheckpointStore(RunDirectory(workdir).checkpoints_path, read_only=True)
    latest = store.latest_step()
    if latest is None:
        raise UserError(f"{workdir}: the run has no checkpoint yet; train it first")
    host = HostState.from_json(store.restore_host(latest))
    corpus = load_corpus(config.data)
    host.refuse_other_corpus(corpus, workdir)
    model = build_vae(config, len(corpus.vocabulary))
    optimizer = build_optimizer(config.optimizer)
    mesh = evaluation_mesh(config.evaluation.batch_size)
    everywhere = partial(jax.ShapeDtypeStruct, sharding=replicated(mesh))
    abstract = jax.tree.map(
        lambda leaf: everywhere(leaf.shape, leaf.dtype), abstract_state(model, optimizer)
    )
    step = host.plateau.best_step if host.plateau.best_step >= 0 else latest
    params = store.restore(step, abstract).params
    store.close()
    return TrainedModel(config, corpus, model, params, step, latest, host.tokens_seen, mesh)
