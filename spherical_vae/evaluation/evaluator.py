"""Measures a trained model on a split: bounds, and how much of x the latent carries."""

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
from spherical_vae.data.batches import bucket_boundaries, evaluation_batches
from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.evaluation import metrics
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.models.latents.latent import (
    LatentHyperparameters,
    LatentPair,
    latent_hyperparameters,
    log_prob,
    posterior_means,
    prior_deviations,
    sample,
)
from spherical_vae.models.vae import VAE, call
from spherical_vae.objectives.bounds import (
    PROTOCOLS,
    ElboTerms,
    elbo_terms,
    importance_weighted_nats,
)
from spherical_vae.parallel.sharding import refuse_uneven, replicated, shard_rows
from spherical_vae.system.jax_settings import settings_of_models

# Sentences in a batch of the authors' code, which is what its padded slots come from.
PAPER_BATCH = 20
# Rows of the table of log q(z_i|x_j) that are formed at once.
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


def corpus_boundaries(corpus: Corpus, buckets: int) -> tuple[int, ...]:
    """Returns padded lengths fitted to train that hold every example of every split."""
    longest = max(int(split.lengths.max()) for split in corpus.splits.values())
    return bucket_boundaries(corpus.splits["train"].lengths, buckets, longest=longest)


class Evaluator:
    """The compiled measures of one model, for any parameters, concentration and split."""

    def __init__(
        self, model: VAE, config: ConfigDict, corpus: Corpus, mesh: Mesh | None = None
    ) -> None:
        """Prepares the measures.

        Args:
          model: the VAE.
          config: whole and validated; its latent settings are only the default of the methods'.
          corpus: gives padded lengths and splits.
          mesh: over which the parameters lie, and the rows of each batch are split; None for
            one device.

        Raises:
          UserError: the batch does not divide over the mesh.
        """
        if mesh is not None:
            refuse_uneven("config.evaluation.batch_size", config.evaluation.batch_size, mesh)
        self._mesh = mesh
        self._corpus = corpus
        self._settings = config.evaluation
        self._conditioned_on_bag = config.condition_on_bag
        self._boundaries = corpus_boundaries(corpus, config.data.buckets)
        self._hyper = latent_hyperparameters(config.latent)
        # One sample of a latent without coordinates is all of them.
        samples = config.evaluation.importance_samples if model.latent_size else 1
        self._samples = samples
        self._rate: float | None = None

        # What the latent reads is an argument, so that a sweep's replicas share an executable.
        def elbo(
            protocol: str, params: dict, batch: Batch, key: Array, hyper: LatentHyperparameters
        ) -> ElboTerms:
            return elbo_terms(model, params, batch, key, hyper=hyper, protocol=protocol)

        def bound(
            params: dict, batch: Batch, key: Array, hyper: LatentHyperparameters
        ) -> Float[Array, " B"]:
            return importance_weighted_nats(
                model,
                params,
                batch,
                key,
                hyper=hyper,
                samples=samples,
                chunk=config.evaluation.chunk,
            )

        def summarise(params: dict, batch: Batch) -> Float[Array, "B H"]:
            return call(model, params, VAE.summarise, batch)

        def latent_pair(params: dict, hidden: Array, hyper: LatentHyperparameters) -> LatentPair:
            return call(model, params, VAE.latent_pair, hidden, hyper)

        jit = jax.jit if mesh is None else partial(jax.jit, out_shardings=replicated(mesh))
        self._elbo = {name: jit(partial(elbo, name)) for name in PROTOCOLS}
        self._bound = jit(bound)
        self._summarise = jit(summarise)
        self._latent_pair = jit(latent_pair)

    @property
    def token_samples_per_second(self) -> float | None:
        """Tokens times samples a second of the last importance-weighted bound; None before it.

        Compilation is included.
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
    ) -> ExampleNats:
        """Measures every example of a split.

        Args:
          params: of the model.
          split: name of the split.
          key: for z; batch i uses `fold_in(key, i)`.
          hyper: of the latent; None for the configured one.
          protocol: "honest", "paper" or "averaged".
          importance_weighted: whether to add the importance-weighted bound; honest only.

        Returns:
          Nats of each example in the order of the split.

        Raises:
          UserError: protocol "averaged" with another latent or decoder than it is meant for.
        """
        examples = self._corpus.splits[split]
        size = len(examples)
        hyper = self._hyper if hyper is None else hyper
        columns = {name: np.zeros(size) for name in ("reconstruction", "kl", "iw", "tokens")}
        seconds = 0.0
        for i, (rows, batch) in enumerate(self._batches(examples)):
            real = batch.index >= 0
            batch_key = jax.random.fold_in(key, i)
            terms = self._elbo[protocol](params, self._placed(batch), batch_key, hyper)
            columns["reconstruction"][rows] = np.asarray(terms.reconstruction_nats)[real]
            columns["kl"][rows] = np.asarray(terms.kl_nats)[real]
            columns["tokens"][rows] = batch.counts.sum(axis=1)[real]
            if importance_weighted:
                begin = time.perf_counter()
                # A stream of its own: 0 and 1 are what `split` gives the ELBO.
                bound_key = jax.random.fold_in(batch_key, 2)
                bound = self._bound(params, self._placed(batch), bound_key, hyper)
                columns["iw"][rows] = np.asarray(bound)[real]
                seconds += time.perf_counter() - begin
        tokens = columns["tokens"].astype(np.int64)
        if importance_weighted:
            self._rate = int(tokens.sum()) * self._samples / seconds
        slots = columns["tokens"]
        if protocol == "paper" and self._corpus.kind == "sequences":
            slots = padded_slots(tokens, PAPER_BATCH)
        return ExampleNats(
            columns["reconstruction"],
            columns["kl"],
            columns["iw"] if importance_weighted else None,
            tokens,
            slots,
        )

    @settings_of_models()
    def latent_pair(
        self, params: dict, split: str, *, hyper: LatentHyperparameters | None = None
    ) -> LatentPair:
        """Returns q(z|x) of all examples of a split, in the order of the split, and the prior.

        Args:
          params: of the model.
          split: name of the split.
          hyper: as for `nats`.
        """
        examples = self._corpus.splits[split]
        parts, order = [], []
        for rows, batch in self._batches(examples):
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
    ) -> tuple[dict[str, object], ExampleNats]:
        """Measures everything that is reported about a split.

        Args:
          params: of the model.
          split: name of the split.
          key: for the samples.
          hyper: as for `nats`.
          protocol: "honest", "paper" or "averaged".

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
        )
        posterior, prior = self.latent_pair(params, split, hyper=hyper)
        active, ratio = metrics.latent_use(posterior_means(posterior), prior_deviations(prior))
        information = mutual_information_nats(posterior, key_information)
        ceiling = math.log(len(nats.tokens))
        sentences = self._corpus.kind == "sequences"
        result: dict[str, object] = {
            "protocol": protocol,
            "corpus": self._corpus.name,
            "split": split,
            **(
                metrics.summarise(nats)
                if protocol != "paper" or not sentences
                else metrics.summarise_paper(nats, self._corpus.mean_words)
            ),
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
    """Estimates I(x; z) = E KL(q(z|x) || p(z)) - KL(aggregate posterior || p(z)).

    The aggregate is the mixture of all N posteriors. With one sample z_i from each q(z|x_i) both
    terms are means over i, and log p(z_i) cancels: what is left is the mean of log q(z_i|x_i) - log
    aggregate(z_i), far less noisy than the difference. It cannot exceed ln N.

    Args:
      posterior: of all examples of a split, batch shape `[N]`.
      key: for the samples.

    Returns:
      Nats. Source: Hoffman and Johnson (2016).
    """
    z = sample(posterior, key, 1)[0]  # [N, *event]
    blocks = [z[first : first + PAIR_ROWS] for first in range(0, z.shape[0], PAIR_ROWS)]
    aggregate = np.concatenate([np.asarray(_log_aggregate(posterior, rows)) for rows in blocks])
    own = np.asarray(log_prob(posterior, z))
    return float((own.astype(np.float64) - aggregate).mean())


@jax.jit
def _log_aggregate(posterior: Distribution, rows: Float[Array, " N *event"]) -> Float[Array, " N"]:
    """Returns the log density of the mixture of all posteriors at some rows of z."""
    pairs = log_prob(posterior, rows[:, None])  # [N, all examples]
    return jax.nn.logsumexp(pairs, axis=1) - math.log(pairs.shape[1])
