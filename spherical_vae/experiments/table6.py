"""Table 6: what a perceptron tells of the bag of words from the mean code, and the other way."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from spherical_vae.data.batch import END_ID
from spherical_vae.data.corpus import Split
from spherical_vae.experiments import language_models as models
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory, evaluator
from spherical_vae.experiments.laboratory.settings import HONEST, Setting, rows, values
from spherical_vae.experiments.measures.probe import fit_probe
from spherical_vae.experiments.rendering.row_tables import (
    NOT_RUN,
    Row,
    printed_cell,
    runs_table,
    seeds,
)
from spherical_vae.experiments.rendering.tables import NOTHING, Table, mean_and_range, number
from spherical_vae.models.latents.latent import mean_codes

# Cosine of code to bag, and of bag to code; None where the paper prints none.
PAPER: dict[tuple[bool, str], tuple[float | None, float | None]] = {
    (False, "Gaussian"): (0.74, 0.74),
    (False, "vMF"): (0.77, 0.57),
    (True, "Gaussian"): (0.32, None),
    (True, "vMF"): (0.23, None),
}
DIRECTIONS = {"code_to_bag": "code to bag", "bag_to_code": "bag to code"}
# The words whose counts are a vector; the unknown word is one of them.
COUNTED_WORDS = 1000
EPOCHS = {"smoke": 3, "cpu": 50, "full": 50}
_SPLITS = ("train", "valid", "test")


def settings(scale: str) -> list[Setting]:
    """Returns the inputless models with a code of tables 3 and 5: the same runs."""
    return models.with_a_code(scale, (models.INPUTLESS,))


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Trains what is missing, and fits the probes of every run."""

    def more(setting: Setting, run: Run) -> dict[str, Any]:
        del setting
        return {"probes": laboratory.kept(run, "test-probes", partial(_probes, laboratory, run))}

    return {"rows": rows(laboratory, settings(laboratory.scale), more)}


def count_matrix(split: Split, words: int) -> sparse.csr_array:
    """Returns how often each word occurs in each sentence, `[N, V]`; end marks are no words.

    Args:
      split: of sentences.
      words: V, of the vocabulary.
    """
    ids = np.asarray(split.ids)
    once = (ids != END_ID).astype(np.float32)
    return sparse.csr_array((once, ids, np.asarray(split.offsets)), shape=(len(split), words))


def mean_embeddings(
    counts: sparse.csr_array, embeddings: Float[np.ndarray, "V E"]
) -> Float[np.ndarray, "N E"]:
    """Returns the mean embedding of the words of each sentence, which NVRNN-BoW is told."""
    total = np.maximum(counts.sum(axis=1), 1)
    mean: np.ndarray = (counts @ embeddings) / total[:, None]
    return mean.astype(np.float32)


def frequent_counts(counts: sparse.csr_array) -> Float[np.ndarray, "N W"]:
    """Returns the counts of the most frequent words, whose ids are the lowest."""
    dense: np.ndarray = counts[:, :COUNTED_WORDS].toarray()
    return dense


def _probes(laboratory: Laboratory, run: Run) -> dict[str, Any]:
    model = laboratory.model(run)
    measures, corpus = evaluator(model), model.corpus
    codes = {
        name: np.asarray(mean_codes(measures.latent_pair(model.params, name).posterior))
        for name in _SPLITS
    }
    counts = {name: count_matrix(corpus.splits[name], len(corpus.vocabulary)) for name in _SPLITS}
    embeddings = np.asarray(model.params["word_embeddings"], np.float32)
    kinds: dict[str, Callable[[sparse.csr_array], np.ndarray]] = {
        "embeddings": lambda matrix: mean_embeddings(matrix, embeddings),
        "counts": frequent_counts,
    }
    results: dict[str, Any] = {}
    for kind, as_vectors in kinds.items():
        bags = {name: as_vectors(counts[name]) for name in _SPLITS}
        pairs = {
            "code_to_bag": {name: (codes[name], bags[name]) for name in _SPLITS},
            "bag_to_code": {name: (bags[name], codes[name]) for name in _SPLITS},
        }
        results[kind] = {
            direction: dataclasses.asdict(fit_probe(both, run.seed, EPOCHS[laboratory.scale]))
            for direction, both in pairs.items()
        }
    return results


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns both kinds of bag, the paper's values beside the first at full scale."""
    found = record["rows"]
    first = (
        "Mean cosine over test between a probe's answer and its target; the bag is the mean "
        "embedding of the sentence's words in the run's own embeddings, end mark left out. "
        "*Constant*: the same for the best answer that does not look at its input, the mean "
        "direction of train. *Gain*: cosine less constant, ± one standard error, paired over the "
        "sentences of test. Means over seeds (lowest to highest)."
    )
    second = (
        f"The same where the bag is the counts of the {COUNTED_WORDS} most frequent words, which "
        "no run has a part in."
    )
    return [
        cosine_table(found, "embeddings", first, printed=record["scale"] == "full"),
        cosine_table(found, "counts", second),
        runs_table(found),
    ]


def cosine_table(found: list[Row], kind: str, caption: str, printed: bool = False) -> Table:
    """Returns the cosines of both directions for one kind of bag.

    Args:
      found: rows.
      kind: embeddings or counts.
      caption: of the table.
      printed: whether the paper's values stand beside them.
    """
    head = ["row"]
    for title in DIRECTIONS.values():
        head += [*([f"paper: {title}"] if printed else []), title, "constant", "gain"]
    body = []
    for row in found:
        cells = [row["name"]]
        for i, direction in enumerate(DIRECTIONS):
            cells += [printed_cell(_printed(row)[i])] if printed else []
            cells += _cells(row, kind, direction)
        body.append([*cells, _kl(row), seeds(row)])
    return Table([*head, "KL", "seeds"], body, caption)


def _cells(row: Row, kind: str, direction: str) -> list[str]:
    probes = [run["probes"][kind][direction] for run in row["runs"]]
    if not probes:
        return [NOT_RUN] * 3
    gain, error = (
        number(statistics.fmean(p[key] for p in probes), 3)
        for key in ("gain", "gain_standard_error")
    )
    return [
        mean_and_range([p["cosine"] for p in probes], 3),
        mean_and_range([p["constant_cosine"] for p in probes], 3),
        f"{gain} ± {error}",
    ]


def _printed(row: Row) -> tuple[float | None, float | None]:
    facts = row["facts"]
    return PAPER[facts["label"] == models.BAG_LABEL, facts["model"]]


def _kl(row: Row) -> str:
    return mean_and_range(values(row, HONEST, "kl_nats"), 2) if row["runs"] else NOTHING


EXPERIMENT = Experiment(
    "What code and bag of words tell of each other: cosine of a probe's answers (PTB, inputless)",
    collect,
    tables,
    settings=settings,
    notes=(
        "A probe is a perceptron with one hidden layer of 200 tanh units, trained by Adam to raise "
        "the cosine on train, stopped on dev, measured once on test. It starts as the constant "
        "answer. The code is the mean of q(z|x) of the checkpoint that was best on dev.",
        "The runs are the inputless ones of tables 3 and 5. The paper says neither what vector its "
        "bag of words is, nor what a constant answer gives; where a code has collapsed (KL near "
        "0), what a bag tells of it is of no interest, however large the cosine.",
        models.BUDGET_NOTE,
    ),
)
