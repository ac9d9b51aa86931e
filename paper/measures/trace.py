"""q(z|x) of one example through training."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from paper.store import Posterior, Trace, decode, to_json
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
    written of it.

    Args:
      config: of the run.
      corpus: that it is trained on.
      directory: its working directory, where nothing is written yet.
    """

    def __init__(self, config: ConfigDict, corpus: Corpus, directory: Path) -> None:
        self._path = directory / _FILE
        split = corpus.splits[SPLIT]
        batch = gather_batch(split, np.array([EXAMPLE]))
        self._tokens = int(batch.counts.sum())
        model, hyper = (
            build_vae(config, len(corpus.vocabulary)),
            latent_hyperparameters(config.latent),
        )
        given = jax.tree.map(jnp.asarray, batch)
        self._encode = jax.jit(lambda params: call(model, params, VAE.encode, given, hyper))
        counts = corpus.vocabulary.train_counts
        self._initial = lambda: init_params(model, config.seed, counts)

    def __call__(self, step: int, params: dict) -> None:
        """Adds the posterior after `step` steps."""
        if self._path.exists():
            points = [p for p in _read(self._path).points if p.step < step]
        else:
            points = [describe(0, self._encode(self._initial()))]
        points.append(describe(step, self._encode(params)))
        write_atomically(self._path, to_json(Trace(SPLIT, EXAMPLE, self._tokens, tuple(points))))


def describe(step: int, pair: LatentPair) -> Posterior:
    """Returns the first posterior of a batch, under a standard prior."""
    posterior = pair.posterior
    kl = float(_rounded(kl_nats(pair, posterior.mean[None])[0]))
    if isinstance(posterior, VonMisesFisher):
        mean = _rounded(posterior.mean_direction[0])
        concentration = float(_rounded(posterior.concentration[0]))
        return Posterior(step, tuple(mean.tolist()), kl, concentration=concentration)
    deviation = tuple(_rounded(jnp.sqrt(posterior.variance)[0]).tolist())
    return Posterior(step, tuple(_rounded(posterior.mean[0]).tolist()), kl, deviation)


def read_trace(directory: Path) -> Trace:
    """Returns what a `Tracer` wrote into a run's working directory.

    Raises:
      UserError: the run was trained without one.
    """
    path = directory / _FILE
    if not path.exists():
        raise UserError(
            f"{directory}: was trained without a trace (there is no {_FILE}); use another --workdir"
        )
    return _read(path)


def _read(path: Path) -> Trace:
    trace: Trace = decode(Trace, json.loads(path.read_text(encoding="utf-8")))
    return trace


def _rounded(values: Array) -> np.ndarray:
    return np.asarray(values, np.float64).round(_DIGITS)
