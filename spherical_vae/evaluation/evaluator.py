"""The compiled measures of a model: bounds of each example of a split, and its posteriors."""

import time
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.data.batches import corpus_boundaries, evaluation_batches
from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.evaluation.example_file import SAVE_SECONDS, ExampleFile, empty_columns
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.models.latents import latent
from spherical_vae.models.latents.latent import LatentHyperparameters, LatentPair
from spherical_vae.models.vae import VAE, call
from spherical_vae.objectives.bounds import PROTOCOLS, elbo_terms, importance_weighted_nats
from spherical_vae.parallel import hosts
from spherical_vae.parallel.sharding import place, replicated, require_divisible
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.system.standard_error import tell

# Between two lines on how far a measurement is.
_TELL_SECONDS = 30.0
# Sentences in a batch of the authors' code, from which its padded slots follow.
PAPER_BATCH = 20


class Evaluator:
    """The compiled measures of one model, for any parameters, latent hyperparameters and split.

    Args:
      model: the VAE.
      config: whole and validated; its latent settings are only the default of the methods'.
      corpus: gives padded lengths and splits.
      mesh: over which the parameters lie, and the rows of each batch are split; None for one
        device.

    Attributes:
      config: as given.
      importance_samples: samples of the importance-weighted bound.
      token_samples_per_second: tokens times samples a second of the last importance-weighted bound,
        compilation included, without what an earlier call has measured; None before it.

    Raises:
      UserError: the batch does not divide over the mesh.
    """

    def __init__(
        self, model: VAE, config: ConfigDict, corpus: Corpus, mesh: Mesh | None = None
    ) -> None:
        settings = config.evaluation
        if mesh is not None:
            require_divisible("config.evaluation.batch_size", settings.batch_size, mesh)
        self._mesh, self._corpus, self.config = mesh, corpus, config
        self._boundaries = corpus_boundaries(corpus, config.data.buckets)
        self._hyper = latent.latent_hyperparameters(config.latent)
        # All samples of a latent without coordinates are equal.
        self.importance_samples = settings.importance_samples if model.latent_size else 1
        self.token_samples_per_second: float | None = None

        # The latent's hyperparameters are an argument, so that replicas share an executable.
        jit = jax.jit if mesh is None else partial(jax.jit, out_shardings=replicated(mesh))
        self._elbo = {name: jit(partial(elbo_terms, model, protocol=name)) for name in PROTOCOLS}
        self._bound = jit(
            partial(
                importance_weighted_nats,
                model,
                samples=self.importance_samples,
                chunk=settings.chunk,
            )
        )
        self._summarise = jit(lambda params, batch: call(model, params, VAE.summarise, batch))
        self._latent_pair = jit(
            lambda params, hidden, hyper: call(model, params, VAE.latent_pair, hidden, hyper)
        )

    @settings_of_models()
    def nats(
        self,
        params: dict,
        split: str,
        key: Key[Array, ""],
        *,
        hyper: LatentHyperparameters | None = None,
        protocol: str = "honest",
        importance_weighted: bool = False,
        kept: ExampleFile | None = None,
    ) -> ExampleNats:
        """Measures every example of a split.

        Args:
          params: of the model.
          split: name of the split.
          key: for z; batch i uses `fold_in(key, i)`.
          hyper: of the latent; None for the configured ones.
          protocol: "honest", "paper" or "averaged".
          importance_weighted: whether to add the importance-weighted bound; honest only.
          kept: what has been measured already, and where the rest is stored.

        Returns:
          Nats of each example in the order of the split.

        Raises:
          UserError: the protocol is not defined for this latent, prior or decoder.
        """
        examples = self._corpus.splits[split]
        hyper = self._hyper if hyper is None else hyper
        columns = empty_columns(len(examples)) if kept is None else kept.columns
        seconds, measured, told = 0.0, 0, time.monotonic()
        for i, (batch, real, rows) in enumerate(self._batches(examples)):
            if np.isfinite(columns["tokens"][rows]).all():
                continue
            placed, batch_key = self._placed(batch), jax.random.fold_in(key, i)
            terms = self._elbo[protocol](params, placed, batch_key, hyper=hyper)
            columns["reconstruction_nats"][rows] = np.asarray(terms.reconstruction_nats)[real]
            columns["kl_nats"][rows] = np.asarray(terms.kl_nats)[real]
            if importance_weighted:
                begin = time.perf_counter()
                # A key of its own: `split` gives the ELBO those of 0 and 1.
                bound_key = jax.random.fold_in(batch_key, 2)
                bound = self._bound(params, placed, bound_key, hyper=hyper)
                columns["iw_nll_nats"][rows] = np.asarray(bound)[real]
                seconds += time.perf_counter() - begin
                measured += batch.counts.sum()
            columns["tokens"][rows] = batch.counts.sum(axis=1)[real]
            if kept is not None:
                kept.save(after_seconds=SAVE_SECONDS)
            if time.monotonic() - told >= _TELL_SECONDS and hosts.is_first():
                told, done = time.monotonic(), int(np.isfinite(columns["tokens"]).sum())
                # Above the bar of a training, if there is one.
                tell(f"measuring {split}: {done} of {len(examples)}")
        if kept is not None:
            kept.save()
        if importance_weighted:
            rate = measured * self.importance_samples / seconds if seconds else None
            self.token_samples_per_second = rate
        tokens = columns["tokens"].astype(np.int64)
        paper_units = protocol == "paper" and self._corpus.kind == "sequences"
        return ExampleNats(
            columns["reconstruction_nats"],
            columns["kl_nats"],
            columns["iw_nll_nats"] if importance_weighted else None,
            tokens,
            padded_slots(tokens, PAPER_BATCH) if paper_units else columns["tokens"],
            self._corpus.mean_words if paper_units else None,
        )

    @settings_of_models()
    def latent_pair(
        self, params: dict, split: str, *, hyper: LatentHyperparameters | None = None
    ) -> LatentPair:
        """Returns q(z|x) of all examples of a split, in the order of the split, and the prior."""
        parts, order = [], []
        for batch, real, rows in self._batches(self._corpus.splits[split]):
            parts.append(np.asarray(self._summarise(params, self._placed(batch)))[real])
            order.append(rows)
        hidden = np.concatenate(parts)[np.argsort(np.concatenate(order))]
        return self._latent_pair(params, hidden, self._hyper if hyper is None else hyper)

    def _placed(self, batch: Batch) -> Batch:
        """Returns a batch that every process has whole on the devices, its rows split over them."""
        if self._mesh is None:
            return batch
        return place(batch, NamedSharding(self._mesh, PartitionSpec("data")))

    def _batches(self, examples: Split) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Yields batches, which of their rows are examples, and the positions of those."""
        size = self.config.evaluation.batch_size
        for batch in evaluation_batches(examples, size, self._boundaries):
            real = batch.index >= 0
            yield batch, real, batch.index[real]


def padded_slots(lengths: np.ndarray, batch_size: int) -> Float[np.ndarray, " N"]:
    """Returns the slots of each sentence when batches are cut from the list sorted by length.

    Args:
      lengths: `[N]` tokens with the end mark.
      batch_size: sentences a batch; each is padded to the longest of its batch.
    """
    order = np.argsort(lengths, kind="stable")
    slots = np.zeros(len(lengths))
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        slots[rows] = lengths[rows].max()
    return slots
