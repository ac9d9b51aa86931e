"""How q(z|x) of one example moves through training: a trainer that writes it down."""

import json
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
from spherical_vae.models.vae import VAE, call, init_params
from spherical_vae.runs.run_directory import RunDirectory
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.training.loop import Trainer

# The first example of dev: nobody has picked it.
SPLIT, EXAMPLE = "valid", 0
_FILE = "trace.json"
_DIGITS = 5


class TracingTrainer(Trainer):
    """A `Trainer` that also writes q of one example, before training and whenever dev is measured.

    It trains as `Trainer` does, bit for bit. What is written comes before the checkpoint of its
    step, and what a resumed run does over again replaces what was written of it.
    """

    def __init__(self, config: ConfigDict, corpus: Corpus, run: RunDirectory) -> None:
        """Builds everything; see `Trainer`."""
        super().__init__(config, corpus, run)
        split = corpus.splits[SPLIT]
        batch = gather_batch(split, np.array([EXAMPLE]), [int(split.lengths[EXAMPLE])])
        hyper = latent_hyperparameters(config.latent)
        self._tokens = int(batch.counts.sum())
        given = jax.tree.map(jnp.asarray, batch)
        self._encode = jax.jit(lambda params: call(self._model, params, VAE.encode, given, hyper))

    def evaluate(self, step: int) -> None:
        """Measures dev, and writes the example's posterior."""
        super().evaluate(step)
        path = _path(self._run.path)
        if path.exists():
            points = json.loads(path.read_text(encoding="utf-8"))["points"]
        else:
            counts = self._corpus.vocabulary.train_counts
            points = [self._point(0, init_params(self._model, self._config.seed, counts))]
        points = [point for point in points if point["step"] < step]
        points.append(self._point(step, self._state.params))
        trace = {"split": SPLIT, "example": EXAMPLE, "tokens": self._tokens, "points": points}
        write_atomically(path, json.dumps(trace, allow_nan=False) + "\n")

    def _point(self, step: int, params: dict) -> dict[str, Any]:
        return {"step": step, **describe(self._encode(params))}


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
    """Returns what `TracingTrainer` wrote into a run's working directory.

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
