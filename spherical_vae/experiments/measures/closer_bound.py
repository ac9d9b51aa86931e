"""A bound closer to log p(x) than all of test can be given: many draws, few texts."""

from functools import partial
from typing import Any

import jax
import numpy as np

from spherical_vae.data.batches import evaluation_batches
from spherical_vae.data.corpus import Split
from spherical_vae.evaluation.evaluator import corpus_boundaries
from spherical_vae.evaluation.metrics import perplexity, standard_error
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory, evaluation_key
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.objectives.bounds import importance_log_weights
from spherical_vae.runs.trained_model import TrainedModel

EXAMPLES = 200
# Of which examples are taken: the same ones for all models of a corpus.
EXAMPLES_SEED = 0
# Few examples of eight lengths would not fill larger batches.
_BATCH_SIZE = 20


def take(split: Split, rows: np.ndarray) -> Split:
    """Returns some examples of a split, in the order of `rows`, `[N]` positions."""
    starts, stops = split.offsets[rows], split.offsets[rows + 1]
    positions = np.concatenate(
        [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    )
    return Split(
        split.ids[positions],
        None if split.counts is None else split.counts[positions],
        np.concatenate([[0], np.cumsum(stops - starts)]),
        None if split.labels is None else split.labels[rows],
    )


def closer_bound(model: TrainedModel, draws: int, examples: int = EXAMPLES) -> dict[str, Any]:
    """Returns the importance-weighted bound of some examples of test by many draws, and by few.

    Args:
      model: trained.
      draws: of the closer bound. The other one has as many as the model's configuration says, and
        is a mean over all whole blocks of so many: the same draws serve both.
      examples: of test, drawn without replacement; all where there are no more.

    Returns:
      Nats an example and perplexity, each with its standard error over examples, how much the
      closer bound is below the other one on the same examples, and the nats of each.
    """
    test = model.corpus.splits["test"]
    size = min(examples, len(test))
    rows = np.sort(np.random.default_rng(EXAMPLES_SEED).permutation(len(test))[:size])
    # One draw of a latent without coordinates is all of them.
    taken = draws if model.model.latent_size else 1
    few = min(model.config.evaluation.importance_samples, taken)
    chunk = model.config.evaluation.chunk
    weigh = jax.jit(partial(importance_log_weights, model.model, samples=taken, chunk=chunk))
    hyper = latent_hyperparameters(model.config.latent)
    boundaries = corpus_boundaries(model.corpus, model.config.data.buckets)
    closer, other, tokens = np.zeros(size), np.zeros(size), np.zeros(size)
    for i, batch in enumerate(evaluation_batches(take(test, rows), _BATCH_SIZE, boundaries)):
        key = jax.random.fold_in(evaluation_key(), i)
        weights = np.asarray(weigh(model.params, batch, key, hyper=hyper), np.float64)
        real = batch.index >= 0
        whole = weights[: taken // few * few].reshape(-1, few, len(real))
        closer[batch.index[real]] = -_log_mean(weights, 0)[real]
        other[batch.index[real]] = -_log_mean(whole, 1).mean(axis=0)[real]
        tokens[batch.index[real]] = batch.counts.sum(axis=1)[real]
    gain = other - closer
    ppl = perplexity(closer, tokens)
    # Of a ratio of sums, by its linear part.
    residual = closer - tokens * (closer.sum() / tokens.sum())
    return {
        "examples": size,
        "tokens": int(tokens.sum()),
        "importance_samples": draws,
        "iw_nll_nats": float(closer.mean()),
        "iw_nll_nats_standard_error": standard_error(closer),
        "iw_perplexity": ppl,
        "iw_perplexity_standard_error": ppl * standard_error(residual) / float(tokens.mean()),
        "fewer_importance_samples": model.config.evaluation.importance_samples,
        "gain_nats": float(gain.mean()),
        "gain_nats_standard_error": standard_error(gain),
        "iw_nll_nats_by_example": [round(float(value), 3) for value in closer],
    }


def kept_closer_bound(laboratory: Laboratory, run: Run, draws: int) -> dict[str, Any]:
    """Returns the closer bound of a run, made once and kept."""
    return laboratory.kept(
        run, f"test-closer-{draws}", lambda: closer_bound(laboratory.model(run), draws)
    )


def _log_mean(log_weights: np.ndarray, axis: int) -> np.ndarray:
    mean: np.ndarray = np.logaddexp.reduce(log_weights, axis=axis)
    return mean - np.log(log_weights.shape[axis])
