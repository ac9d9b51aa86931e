"""How q(z|x) of one example moves through training: a trace that training writes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from spherical_vae.data.batches import gather_batch
from spherical_vae.data.corpus import Corpus
from spherical_vae.distributions import VonMisesFisher
from spherical_vae.models.latents.latent import LatentPair, kl_nats, latent_hyperparameters
from spherical_vae.models.vae import VAE, build_vae, call, init_params
from spherical_vae.runs.run_directory import RunDirectory
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.training.trainer import train_model

# The first example of dev: nobody has picked it.
SPLIT, EXAMPLE = "valid", 0
_FILE = "trace.json"
_DIGITS = 5


class Trace:
    """Writes q of one example, before training and whenever validation is measured.

    To be called by `Trainer` after an evaluation, which is before the checkpoint of its step: what
    a resumed run does over again replaces what was written of it.
    """

    def __init__(self, config: ConfigDict, corpus: Corpus, run: RunDirectory) -> None:
        """Prepares the example.

        Args:
          config: of the run.
          corpus: it is trained on.
          run: where the trace is written.
        """
        split = corpus.splits[SPLIT]
        batch = gather_batch(split, np.array([EXAMPLE]), [int(split.lengths[EXAMPLE])])
        hyper = latent_hyperparameters(config.latent)
        model = build_vae(config, len(corpus.vocabulary))
        self._path = _path(run.path)
        self._tokens = int(batch.counts.sum())
        self._initial = partial(init_params, model, config.seed, corpus.vocabulary.train_counts)
        given = jax.tree.map(jnp.asarray, batch)
        self._encode = jax.jit(lambda params: call(model, params, VAE.encode, given, hyper))

    def __call__(self, step: int, params: dict) -> None:
        """Writes the example's posterior after `step` steps."""
        if self._path.exists():
            points = json.loads(self._path.read_text(encoding="utf-8"))["points"]
        else:
            points = [self._point(0, self._initial())]
        points = [point for point in points if point["step"] < step]
        points.append(self._point(step, params))
        trace = {"split": SPLIT, "example": EXAMPLE, "tokens": self._tokens, "points": points}
        write_atomically(self._path, json.dumps(trace, allow_nan=False) + "\n")

    def _point(self, step: int, params: dict) -> dict[str, Any]:
        return {"step": step, **describe(self._encode(params))}


def train_traced(config: ConfigDict, corpus: Corpus, run: RunDirectory) -> TrainedModel:
    """Trains as `train_model` does, bit for bit, and writes a trace."""
    return train_model(config, corpus, run, after_evaluation=Trace(config, corpus, run))


def describe(pair: LatentPair) -> dict[str, Any]:
    """Returns the first posterior of a batch as JSON has it, under a standard prior.

    Returns:
      `mean` (of a direction, the direction) and `kl_nats`; `deviation` of each coordinate of a
      Gaussian, else `concentration`.
    """
    posterior = pair.posterior
    if isinstance(posterior, VonMisesFisher):
        mean, shape = posterior.mean_direction, {"concentration": posterior.concentration}
    else:
        mean, shape = posterior.mean, {"deviation": jnp.sqrt(posterior.variance)}
    kl = _rounded(kl_nats(pair, posterior.mean[None])[0])
    return {
        "mean": _rounded(mean[0]),
        **{k: _rounded(v[0]) for k, v in shape.items()},
        "kl_nats": kl,
    }


def read_trace(workdir: Path) -> dict[str, Any]:
    """Returns what `Trace` wrote into a run's working directory.

    Raises:
      UserError: the run was trained without it.
    """
    path = _path(workdir)
    if not path.exists():
        raise UserError(
            f"{workdir}: was trained without a trace (there is no {_FILE}); use another --workdir"
        )
    trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return trace


def _path(workdir: Path) -> Path:
    return RunDirectory(workdir).path / _FILE


def _rounded(values: Array) -> Any:
    return np.asarray(values, np.float64).round(_DIGITS).tolist()
