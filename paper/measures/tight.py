"""A tighter importance-weighted bound than all of test can be given: many samples, few texts."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np

from paper.store import Tight, tight_rows
from spherical_vae.data.batches import corpus_boundaries, evaluation_batches
from spherical_vae.data.corpus import Split
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.metrics import perplexity, standard_error
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.objectives.bounds import importance_log_weights
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.trained_model import TrainedModel

EXAMPLES = 200
# Few examples of eight lengths would not fill larger batches.
_BATCH_SIZE = 20


def take(split: Split, rows: np.ndarray) -> Split:
    """Returns some examples of a split, in the order of `rows`, `[N]` positions."""
    edges = split.offsets
    positions = np.concatenate([np.arange(edges[row], edges[row + 1]) for row in rows])
    return Split(
        split.ids[positions],
        None if split.counts is None else split.counts[positions],
        np.concatenate([[0], np.cumsum(split.lengths[rows])]),
        None if split.labels is None else split.labels[rows],
    )


def tight_bound(model: TrainedModel, samples: int, examples: int = EXAMPLES) -> Tight:
    """Returns the bound of some examples of test with many samples, and its gain over few.

    Args:
      model: trained.
      samples: of the tight bound. The other bound has as many as the model's configuration says,
        and is a mean over all whole blocks of so many: the same samples serve both.
      examples: of test, selected without replacement; all if there are no more.
    """
    test = model.corpus.splits["test"]
    size = min(examples, len(test))
    rows = tight_rows(len(test), size)
    # One sample of a latent without coordinates is all of them.
    taken = samples if model.model.latent_size else 1
    few = min(model.config.evaluation.importance_samples, taken)
    chunk = model.config.evaluation.chunk
    weigh = jax.jit(partial(importance_log_weights, model.model, samples=taken, chunk=chunk))
    hyper = latent_hyperparameters(model.config.latent)
    boundaries = corpus_boundaries(model.corpus, model.config.data.buckets)
    log_weights, tokens = np.zeros((taken, size)), np.zeros(size)
    for i, batch in enumerate(evaluation_batches(take(test, rows), _BATCH_SIZE, boundaries)):
        key = jax.random.fold_in(root_key(0, Purpose.EVALUATE), i)
        real = batch.index >= 0
        found = weigh(model.params, batch, key, hyper=hyper)
        log_weights[:, batch.index[real]] = np.asarray(found)[:, real]
        tokens[batch.index[real]] = batch.counts.sum(axis=1)[real]
    blocks = log_weights[: taken // few * few].reshape(-1, few, size)
    tight, other = -_log_mean(log_weights, 0), -_log_mean(blocks, 1).mean(axis=0)
    gain = other - tight
    ppl = perplexity(tight, tokens)
    # Of a ratio of sums, by its linear part.
    residual = tight - tokens * (tight.sum() / tokens.sum())
    return Tight(
        examples=size,
        tokens=int(tokens.sum()),
        importance_samples=samples,
        iw_nll_nats=float(tight.mean()),
        iw_nll_nats_standard_error=standard_error(tight),
        iw_perplexity=ppl,
        iw_perplexity_standard_error=ppl * standard_error(residual) / float(tokens.mean()),
        fewer_importance_samples=model.config.evaluation.importance_samples,
        gain_nats=float(gain.mean()),
        gain_nats_standard_error=standard_error(gain),
        nats=tuple(round(float(value), 3) for value in tight),
    )


def concentrations(model: TrainedModel) -> SimpleNamespace:
    """Returns mean, quantiles and shares at both ends of the concentrations of test."""
    evaluator = Evaluator(model.model, model.config, model.corpus)
    posterior = evaluator.latent_pair(model.params, "test").posterior
    kappa = np.asarray(posterior.concentration, np.float64)
    low, high = model.config.latent.min_concentration, model.config.latent.max_concentration
    return SimpleNamespace(
        mean=float(kappa.mean()),
        **{f"quantile_{q}": float(np.quantile(kappa, q / 100)) for q in (0, 5, 50, 95, 100)},
        # Within one percent of an end of the range.
        share_at_low_end=float((kappa <= 1.01 * low).mean()),
        share_at_high_end=float((kappa >= 0.99 * high).mean()),
    )


def _log_mean(log_weights: np.ndarray, axis: int) -> np.ndarray:
    mean: np.ndarray = np.logaddexp.reduce(log_weights, axis=axis)
    return mean - np.log(log_weights.shape[axis])
