"""Measures of a trained model on a split: bounds, and how much of x the latent carries."""

import math
import time
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.data.batch import Batch
from spherical_vae.data.batches import corpus_boundaries, evaluation_batches
from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.evaluation import metrics
from spherical_vae.evaluation.example_file import ExampleFile
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.models.latents import latent
from spherical_vae.models.latents.latent import LatentHyperparameters, LatentPair
from spherical_vae.models.vae import VAE, call
from spherical_vae.objectives.bounds import PROTOCOLS, elbo_terms, importance_weighted_nats
from spherical_vae.parallel.sharding import replicated, require_divisible, shard_rows
from spherical_vae.system.jax_settings import settings_of_models

# Sentences in a batch of the authors' code, from which its padded slots follow.
PAPER_BATCH = 20
# Rows of the matrix log q(z_i|x_j) that are formed at once.
PAIR_ROWS = 64

PAPER_NOTE = (
    "protocol 'paper', for comparison with printed tables only: the latent is the mean of three "
    "samples (sentences) or the log-likelihood is (documents), the KL is Guu et al.'s, and "
    f"sentences are charged per padded slot of length-sorted batches of {PAPER_BATCH}, in units of "
    "the mean length of train without the end mark. For sentences this is not a bound on log p(x)."
)
AVERAGED_NOTE = (
    "protocol 'averaged': the latent is the mean of three samples and is charged with what that "
    "mean carries; a bound on log p(x) under the prior that such means have."
)
BAG_NOTE = (
    "the decoder reads the bag of words of the text that it scores: these figures are of "
    "p(x | bag of x) and not a bound on log p(x)."
)


class Evaluator:
    """The compiled measures of one model, for any parameters, latent hyperparameters and split.

    Args:
      model: the VAE.
      config: whole and validated; its latent settings are only the default of the methods'.
      corpus: gives padded lengths and splits.
      mesh: over which the parameters lie, and the rows of each batch are split; None for one
        device.

    Raises:
      UserError: the batch does not divide over the mesh.
    """

    def __init__(
        self, model: VAE, config: ConfigDict, corpus: Corpus, mesh: Mesh | None = None
    ) -> None:
        settings = config.evaluation
        if mesh is not None:
            require_divisible("config.evaluation.batch_size", settings.batch_size, mesh)
        self._mesh, self._corpus, self._settings = mesh, corpus, settings
        self._conditioned_on_bag = config.condition_on_bag
        self._boundaries = corpus_boundaries(corpus, config.data.buckets)
        self._hyper = latent.latent_hyperparameters(config.latent)
        # All samples of a latent without coordinates are equal.
        self._samples = settings.importance_samples if model.latent_size else 1
        self._rate: float | None = None

        # The latent's hyperparameters are an argument, so that replicas share an executable.
        bound = partial(
            importance_weighted_nats, model, samples=self._samples, chunk=settings.chunk
        )
        jit = jax.jit if mesh is None else partial(jax.jit, out_shardings=replicated(mesh))

        def elbo(
            protocol: str, params: dict, batch: Batch, key: Array, hyper: LatentHyperparameters
        ) -> tuple:
            return elbo_terms(model, params, batch, key, hyper=hyper, protocol=protocol)

        self._elbo = {name: jit(partial(elbo, name)) for name in PROTOCOLS}
        self._bound = jit(lambda params, batch, key, hyper: bound(params, batch, key, hyper=hyper))
        self._summarise = jit(lambda params, batch: call(model, params, VAE.summarise, batch))
        self._latent_pair = jit(
            lambda params, hidden, hyper: call(model, params, VAE.latent_pair, hidden, hyper)
        )

    @property
    def importance_samples(self) -> int:
        """Samples of the importance-weighted bound."""
        return self._samples

    @property
    def token_samples_per_second(self) -> float | None:
        """Tokens times samples a second of the last importance-weighted bound; None before it.

        Compilation is included, and what was measured by an earlier call is not.
        """
        return self._rate

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
        reconstruction, kl, iw, slots = np.zeros((4, len(examples)))
        seconds, measured = 0.0, 0.0
        for i, (rows, batch) in enumerate(self._batches(examples)):
            real = batch.index >= 0
            slots[rows] = batch.counts.sum(axis=1)[real]
            if kept is not None and kept.has(rows):
                reconstruction[rows] = kept.columns["reconstruction_nats"][rows]
                kl[rows] = kept.columns["kl_nats"][rows]
                iw[rows] = kept.columns["iw_nll_nats"][rows]
                continue
            batch_key = jax.random.fold_in(key, i)
            terms = self._elbo[protocol](params, self._placed(batch), batch_key, hyper)
            reconstruction[rows] = np.asarray(terms.reconstruction_nats)[real]
            kl[rows] = np.asarray(terms.kl_nats)[real]
            if importance_weighted:
                begin = time.perf_counter()
                # A key of its own: `split` gives the ELBO those of 0 and 1.
                bound_key = jax.random.fold_in(batch_key, 2)
                bound = self._bound(params, self._placed(batch), bound_key, hyper)
                iw[rows] = np.asarray(bound)[real]
                seconds += time.perf_counter() - begin
                measured += slots[rows].sum()
            if kept is not None:
                kept.keep(
                    rows,
                    reconstruction_nats=reconstruction[rows],
                    kl_nats=kl[rows],
                    iw_nll_nats=iw[rows] if importance_weighted else np.full(len(rows), np.nan),
                    tokens=slots[rows],
                )
        if kept is not None:
            kept.save()
        tokens = slots.astype(np.int64)
        if importance_weighted:
            self._rate = measured * self._samples / seconds if seconds else None
        if protocol == "paper" and self._corpus.kind == "sequences":
            slots = padded_slots(tokens, PAPER_BATCH)
        return ExampleNats(reconstruction, kl, iw if importance_weighted else None, tokens, slots)

    @settings_of_models()
    def latent_pair(
        self, params: dict, split: str, *, hyper: LatentHyperparameters | None = None
    ) -> LatentPair:
        """Returns q(z|x) of all examples of a split, in the order of the split, and the prior."""
        parts, order = [], []
        for rows, batch in self._batches(self._corpus.splits[split]):
            hidden = np.asarray(self._summarise(params, self._placed(batch)))
            parts.append(hidden[batch.index >= 0])
            order.append(rows)
        hidden = np.concatenate(parts)[np.argsort(np.concatenate(order))]
        return self._latent_pair(params, hidden, self._hyper if hyper is None else hyper)

    @settings_of_models()
    def report(
        self,
        params: dict,
        split: str,
        key: Key[Array, ""],
        *,
        hyper: LatentHyperparameters | None = None,
        protocol: str = "honest",
        kept: ExampleFile | None = None,
    ) -> tuple[dict[str, object], ExampleNats]:
        """Computes all measures of a split; the arguments are those of `nats`.

        Returns:
          The object that `evaluate --json` prints, and the nats of each example.
        """
        honest = protocol == "honest"
        key_nats, key_information = jax.random.split(key)
        nats = self.nats(
            params,
            split,
            key_nats,
            hyper=hyper,
            protocol=protocol,
            importance_weighted=honest,
            kept=kept,
        )
        posterior, prior = self.latent_pair(params, split, hyper=hyper)
        active, ratio = metrics.latent_use(
            latent.posterior_means(posterior), latent.prior_deviations(prior)
        )
        information = mutual_information_nats(posterior, key_information)
        ceiling = math.log(len(nats.tokens))
        sentences = self._corpus.kind == "sequences"
        paper_units = protocol == "paper" and sentences
        result: dict[str, object] = {
            "protocol": protocol,
            "corpus": self._corpus.name,
            "split": split,
            **metrics.summarise(nats, self._corpus.mean_words if paper_units else None),
            "importance_samples": self._settings.importance_samples if honest else None,
            "active_units": active,
            "participation_ratio": ratio,
            "mutual_information_nats": information,
            "mutual_information_ceiling_nats": ceiling,
            "mutual_information_at_ceiling": information > ceiling - metrics.CEILING_MARGIN_NATS,
        }
        if not sentences:
            result |= metrics.summarise_documents(nats)
        notes = {"honest": [], "paper": [PAPER_NOTE], "averaged": [AVERAGED_NOTE]}[protocol]
        if self._conditioned_on_bag:
            notes.append(BAG_NOTE)
        if notes:
            result["note"] = " ".join(notes)
        return result, nats

    def _placed(self, batch: Batch) -> Batch:
        return batch if self._mesh is None else shard_rows(batch, self._mesh)

    def _batches(self, examples: Split) -> Iterator[tuple[np.ndarray, Batch]]:
        for batch in evaluation_batches(examples, self._settings.batch_size, self._boundaries):
            yield batch.index[batch.index >= 0], batch


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


def mutual_information_nats(posterior: Distribution, key: Key[Array, ""]) -> float:
    """Estimates I(x; z) = E KL(q(z|x) || p(z)) - KL(aggregate posterior || p(z)), in nats.

    The aggregate is the mixture of all N posteriors. With one sample z_i of each q(z|x_i) both
    terms are means over i, and log p(z_i) cancels: the result is the mean of log q(z_i|x_i) - log
    aggregate(z_i), with much less variance than the difference. It is at most ln N.

    Args:
      posterior: of all examples of a split, batch shape `[N]`.
      key: for the samples.

    Source: Hoffman and Johnson (2016).
    """
    z = latent.sample(posterior, key, 1)[0]  # [N, *event]
    blocks = [z[first : first + PAIR_ROWS] for first in range(0, z.shape[0], PAIR_ROWS)]
    aggregate = np.concatenate([np.asarray(_log_aggregate(posterior, rows)) for rows in blocks])
    own = np.asarray(latent.log_prob(posterior, z))
    return float((own.astype(np.float64) - aggregate).mean())


@jax.jit
def _log_aggregate(posterior: Distribution, rows: Float[Array, " N *event"]) -> Float[Array, " N"]:
    """Returns the log density of the mixture of all posteriors at some rows of z."""
    pairs = latent.log_prob(posterior, rows[:, None])  # [N, all examples]
    return jax.nn.logsumexp(pairs, axis=1) - math.log(pairs.shape[1])
