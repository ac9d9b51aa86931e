"""q(z|x) of one example through training."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from paper.store import decode, to_json
from spherical_vae.data.batches import gather_batch
from spherical_vae.data.corpus import Corpus
from spherical_vae.distributions import VonMisesFisher
from spherical_vae.models.latents.latent import LatentPair, kl_nats, latent_hyperparameters
from spherical_vae.models.vae import VAE, build_vae, call, init_params
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError

# The first example of validation: nobody has selected it.
SPLIT, EXAMPLE = "valid", 0
_FILE = "trace.json"
_DIGITS = 5


class Tracer:
    """Observer of a training: writes q of one example before it and at every evaluation.

    It is called before the checkpoint of its step, and what a resumed run repeats replaces what was
    written of it. To make one writes nothing yet into `directory`, the run's working directory.
    """

    def __init__(self, config: ConfigDict, corpus: Corpus, directory: Path) -> None:
        self._path = directory / _FILE
        split = corpus.splits[SPLIT]
        batch = gather_batch(split, np.array([EXAMPLE]))
        self._tokens = int(batch.counts.sum())
        model = build_vae(config, len(corpus.vocabulary))
        hyper, given = latent_hyperparameters(config.latent), jax.tree.map(jnp.asarray, batch)
        self._encode = jax.jit(lambda params: call(model, params, VAE.encode, given, hyper))
        counts = corpus.vocabulary.train_counts
        self._initial = lambda: init_params(model, config.seed, counts)

    def __call__(self, step: int, params: dict) -> None:
        """Adds the posterior after `step` steps."""
        if self._path.exists():
            points = [point for point in _read(self._path).points if point.step < step]
        else:
            points = [describe(0, self._encode(self._initial()))]
        points.append(describe(step, self._encode(params)))
        trace = SimpleNamespace(split=SPLIT, example=EXAMPLE, tokens=self._tokens, points=points)
        write_atomically(self._path, to_json(trace))


def describe(step: int, pair: LatentPair) -> SimpleNamespace:
    """Returns the first posterior of a batch, under a standard prior.

    `step`, `mean` (the mean direction of a vMF) and `kl_nats`; of a Gaussian `deviation`, of a vMF
    `concentration`.
    """
    posterior = pair.posterior
    kl = float(_rounded(kl_nats(pair, posterior.mean[None])[0]))
    if isinstance(posterior, VonMisesFisher):
        mean, spread = posterior.mean_direction, {"concentration": posterior.concentration}
    else:
        mean, spread = posterior.mean, {"deviation": jnp.sqrt(posterior.variance)}
    found = {name: _rounded(value[0]).tolist() for name, value in spread.items()}
    return SimpleNamespace(step=step, mean=_rounded(mean[0]).tolist(), kl_nats=kl, **found)


def read_trace(directory: Path) -> Any:
    """Returns what a `Tracer` wrote into a run's working directory.

    A namespace of `split`, `example` (its position), `tokens` and `points`: of `describe`.

    Raises:
      UserError: the run was trained without one.
    """
    path = directory / _FILE
    if not path.exists():
        raise UserError(
            f"{directory}: was trained without a trace (there is no {_FILE}); use another --workdir"
        )
    return _read(path)


def _read(path: Path) -> Any:
    return decode(Any, json.loads(path.read_text(encoding="utf-8")))


def _rounded(values: Array) -> np.ndarray:
    return np.asarray(values, np.float64).round(_DIGITS)
