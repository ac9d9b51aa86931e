"""A bound closer to log p(x) than all of test can be given: many draws, few texts."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from spherical_vae.data.batches import evaluation_batches
from spherical_vae.data.corpus import Split
from spherical_vae.evaluation import corpus_boundaries
from spherical_vae.experiments.row_tables import Row, seeds
from spherical_vae.experiments.runs import Laboratory, Run, evaluation_key
from spherical_vae.experiments.tables import NOTHING, Table, number
from spherical_vae.latents import latent_dimension
from spherical_vae.metrics import perplexity, standard_error
from spherical_vae.objectives import importance_log_weights
from spherical_vae.trained import TrainedModel

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
    taken = draws if latent_dimension(model.config.latent) else 1
    few = min(model.config.evaluation.importance_samples, taken)
    chunk = model.config.evaluation.chunk
    weigh = jax.jit(partial(importance_log_weights, model.model, samples=taken, chunk=chunk))
    kappa = np.float32(model.config.latent.concentration)
    boundaries = corpus_boundaries(model.corpus, model.config.data.buckets)
    closer, other, tokens = np.zeros(size), np.zeros(size), np.zeros(size)
    for i, batch in enumerate(evaluation_batches(take(test, rows), _BATCH_SIZE, boundaries)):
        key = jax.random.fold_in(evaluation_key(), i)
        weights = np.asarray(weigh(model.params, batch, key, concentration=kappa), np.float64)
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


def closer_tables(found: Sequence[Row], group: Callable[[Row], Any], reference: str) -> list[Table]:
    """Returns a table of the rows whose runs have `closer`, none where no row has.

    Args:
      found: rows.
      group: rows of one group are compared.
      reference: the model with which the others of its group are compared.
    """
    body = []
    for row in filter(_has_closer, found):
        rivals = [other for other in found if group(other) == group(row)]
        closer = [run["closer"] for run in row["runs"]]
        body.append(
            [
                row["name"],
                _with_error(closer, "iw_nll_nats", 2),
                _with_error(closer, "iw_perplexity", 1),
                _difference(row, rivals, reference),
                _with_error(closer, "gain_nats", 2),
                _all(closer, "importance_samples"),
                _all(closer, "examples"),
                seeds(row),
            ]
        )
    if not body:
        return []
    head = ["row", "IW nats", "IW PPL", f"IW nats less {reference}'s", "less by more draws"]
    caption = (
        "The importance-weighted bound by many draws on some examples of test, the same for all "
        "models of a corpus: ± one standard error over examples. Paired over the examples: how far "
        f"it lies above that of the {reference} of its group (below, where negative), and by how "
        "many nats more draws lower it, against as many as all of test was given. Without a code "
        "the likelihood is exact. With several seeds means over them."
    )
    return [Table([*head, "draws", "examples", "seeds"], body, caption)]


def closer_remarks(found: Sequence[Row], group: Callable[[Row], Any]) -> list[str]:
    """Returns a line for each group of which two rows have `closer`: who is ahead of whom."""
    lines = []
    for key in dict.fromkeys(map(group, found)):
        here = [row for row in found if group(row) == key and _has_closer(row)]
        if len(here) < 2:
            continue
        first, *others = sorted(here, key=lambda row: float(_by_example(row).mean()))
        ahead = f"{_name(first)} is ahead"
        if _model(first) == "Gaussian":
            ahead = f"**{ahead}**"
        margins = [
            f"of {_name(other)} by {_margin(_by_example(other) - _by_example(first))}"
            for other in others
        ]
        closer = first["runs"][0]["closer"]
        lines.append(
            f"{', '.join(key)}, by {closer['importance_samples']} draws on {closer['examples']} "
            f"examples of test: {ahead} {', '.join(margins)} nats (paired). Fewer draws leave the "
            "bound of a code with more KL further from log p(x)."
        )
    return lines


def _has_closer(row: Row) -> bool:
    return bool(row["runs"]) and all("closer" in run for run in row["runs"])


def _model(row: Row) -> str:
    model: str = row["facts"].get("model", row["name"])
    return model.removesuffix(" NVDM")


def _name(row: Row) -> str:
    model = _model(row)
    return f"the {model}" if model in {"Gaussian", "RNNLM"} else model


def _margin(difference: np.ndarray) -> str:
    doubt = " (less than two errors)" if difference.mean() < 2 * standard_error(difference) else ""
    return f"{_mean_and_error(difference)}{doubt}"


def _difference(row: Row, rivals: Sequence[Row], reference: str) -> str:
    """Returns how far a row is above the reference of its group, or a dash where there is none."""
    for other in rivals:
        if _model(other) == reference and other is not row and _has_closer(other):
            return _mean_and_error(_by_example(row) - _by_example(other))
    return NOTHING


def _by_example(row: Row) -> np.ndarray:
    """Returns the nats of each example, means over seeds."""
    nats = [run["closer"]["iw_nll_nats_by_example"] for run in row["runs"]]
    mean: np.ndarray = np.mean(nats, axis=0)
    return mean


def _mean_and_error(difference: np.ndarray) -> str:
    return f"{number(float(difference.mean()), 2)} ± {number(standard_error(difference), 2)}"


def _with_error(closer: Sequence[Mapping[str, Any]], key: str, digits: int) -> str:
    value, error = (
        statistics.fmean(one[name] for one in closer) for name in (key, f"{key}_standard_error")
    )
    return f"{number(value, digits)} ± {number(error, digits)}"


def _all(closer: Sequence[Mapping[str, Any]], key: str) -> str:
    return ", ".join(dict.fromkeys(str(one[key]) for one in closer))


def _log_mean(log_weights: np.ndarray, axis: int) -> np.ndarray:
    mean: np.ndarray = np.logaddexp.reduce(log_weights, axis=axis)
    return mean - np.log(log_weights.shape[axis])
