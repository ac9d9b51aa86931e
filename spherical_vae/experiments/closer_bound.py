"""A bound closer to log p(x) than all of test can be given on two cores: many draws, few texts."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spherical_vae.data.corpus import Split
from spherical_vae.evaluation import Evaluator
from spherical_vae.experiments.row_tables import NOT_RUN, Row, seeds
from spherical_vae.experiments.runs import evaluation_key
from spherical_vae.experiments.tables import NOTHING, Table, number
from spherical_vae.metrics import perplexity
from spherical_vae.trained import TrainedModel

DRAWS = {"smoke": 4, "cpu": 500}
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
      draws: of the closer bound; the other one has as many as the model's configuration says.
      examples: of test, drawn without replacement; all where there are no more.

    Returns:
      Nats an example and perplexity, each with its standard error over examples, how much the
      closer bound is below the other one on the same examples, and the nats of each.
    """
    test = model.corpus.splits["test"]
    size = min(examples, len(test))
    rows = np.sort(np.random.default_rng(EXAMPLES_SEED).permutation(len(test))[:size])
    # Not under the name of test: lengths are fitted to train and hold every split as they are.
    corpus = dataclasses.replace(
        model.corpus, splits={**model.corpus.splits, "some": take(test, rows)}
    )
    config = model.config.copy_and_resolve_references()
    config.evaluation.batch_size = _BATCH_SIZE
    nats = {}
    for count in (draws, model.config.evaluation.importance_samples):
        config.evaluation.importance_samples = count
        measures = Evaluator(model.model, config, corpus)
        found = measures.nats(model.params, "some", evaluation_key(), importance_weighted=True)
        assert found.iw_nll_nats is not None
        nats[count] = found.iw_nll_nats
    closer, tokens = nats[draws], found.tokens
    gain = nats[model.config.evaluation.importance_samples] - closer
    ppl = perplexity(closer, tokens)
    # Of a ratio of sums, by its linear part.
    residual = closer - tokens * (closer.sum() / tokens.sum())
    return {
        "examples": size,
        "tokens": int(tokens.sum()),
        "importance_samples": draws,
        "iw_nll_nats": float(closer.mean()),
        "iw_nll_nats_standard_error": _standard_error(closer),
        "iw_perplexity": ppl,
        "iw_perplexity_standard_error": ppl * _standard_error(residual) / float(tokens.mean()),
        "fewer_importance_samples": model.config.evaluation.importance_samples,
        "gain_nats": float(gain.mean()),
        "gain_nats_standard_error": _standard_error(gain),
        "iw_nll_nats_by_example": [round(float(value), 3) for value in closer],
    }


def closer_table(found: Sequence[Row], group: Callable[[Row], Any]) -> Table:
    """Returns the closer bounds of rows whose runs have `closer`.

    Args:
      found: rows.
      group: rows of one group are compared with its first one, which has no code.
    """
    body = []
    for row in found:
        cells = [NOT_RUN] * 6
        if row["runs"]:
            first = next(other for other in found if group(other) == group(row))
            closer = [run["closer"] for run in row["runs"]]
            cells = [
                _with_error(closer, "iw_nll_nats", 2),
                _with_error(closer, "iw_perplexity", 1),
                _difference(row, first),
                _with_error(closer, "gain_nats", 2),
                _all(closer, "importance_samples"),
                _all(closer, "examples"),
            ]
        body.append([row["name"], *cells, seeds(row)])
    head = ["row", "IW nats", "IW PPL", "IW nats less RNNLM's", "less by more draws", "draws"]
    return Table(
        [*head, "examples", "seeds"],
        body,
        "The importance-weighted bound by many draws on some examples of test, the same for all "
        "models of a corpus: ± one standard error over examples. Paired over the examples: how far "
        "it lies above the RNNLM's of the same setting (below, where negative), and by how many "
        "nats more draws lower it, against as many as all of test was given. Without a code the "
        "likelihood is exact. With several seeds means over them.",
    )


def closer_remarks(found: Sequence[Row], group: Callable[[Row], Any]) -> list[str]:
    """Returns a line for each group in which a Gaussian and a vMF have `closer`: who is ahead."""
    lines = []
    for key in dict.fromkeys(map(group, found)):
        here = {row["facts"]["model"]: row for row in found if group(row) == key and row["runs"]}
        if not {"Gaussian", "vMF"} <= here.keys():
            continue
        closer = here["vMF"]["runs"][0]["closer"]
        vmf, gaussian = (_by_example(here[model]) for model in ("vMF", "Gaussian"))
        if vmf.mean() < gaussian.mean():
            ahead, difference = "vMF is ahead of the Gaussian", gaussian - vmf
        else:
            ahead, difference = "**the Gaussian is ahead of vMF**", vmf - gaussian
        lines.append(
            f"{', '.join(key)}, by {closer['importance_samples']} draws on {closer['examples']} "
            f"examples of test: {ahead} by {_mean_and_error(difference)} nats (paired). Fewer "
            "draws leave the bound of a code with more KL further from log p(x)."
        )
    return lines


def _difference(row: Row, first: Row) -> str:
    if row is first or not first["runs"]:
        return NOTHING
    return _mean_and_error(_by_example(row) - _by_example(first))


def _by_example(row: Row) -> np.ndarray:
    """Returns the nats of each example, means over seeds."""
    nats = [run["closer"]["iw_nll_nats_by_example"] for run in row["runs"]]
    mean: np.ndarray = np.mean(nats, axis=0)
    return mean


def _mean_and_error(difference: np.ndarray) -> str:
    return f"{number(float(difference.mean()), 2)} ± {number(_standard_error(difference), 2)}"


def _with_error(closer: Sequence[Mapping[str, Any]], key: str, digits: int) -> str:
    value, error = (
        statistics.fmean(one[name] for one in closer) for name in (key, f"{key}_standard_error")
    )
    return f"{number(value, digits)} ± {number(error, digits)}"


def _all(closer: Sequence[Mapping[str, Any]], key: str) -> str:
    return ", ".join(dict.fromkeys(str(one[key]) for one in closer))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
