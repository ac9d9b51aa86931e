"""The change of the mean code of a sentence when neighbouring words are swapped."""

import dataclasses
from types import SimpleNamespace

import numpy as np

from paper.measures.probe import cosines
from spherical_vae.data.corpus import Split
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.metrics import standard_error
from spherical_vae.models.latents.latent import mean_codes
from spherical_vae.runs.trained_model import TrainedModel

PROBABILITIES = tuple(i / 10 for i in range(11))
# Selects the pairs; the same in every run, so that all models read the same sentences.
SWAP_SEED = 0


def swap_cosines(model: TrainedModel) -> list[SimpleNamespace]:
    """Returns the cosine of mean codes of test before and after swapping, for each probability.

    `probability`, `mean_cosine` and `standard_error` over the sentences.
    """
    test = model.corpus.splits["test"]
    swapped = {
        f"swapped {p:g}": swap_pairs(test, p, np.random.default_rng(SWAP_SEED))
        for p in PROBABILITIES
    }
    corpus = dataclasses.replace(model.corpus, splits={**model.corpus.splits, **swapped})
    # One evaluator for all of them: it compiles the encoder once.
    evaluator = Evaluator(model.model, model.config, corpus)
    before = mean_codes(evaluator.latent_pair(model.params, "test").posterior)
    found = []
    for probability, name in zip(PROBABILITIES, swapped, strict=True):
        after = mean_codes(evaluator.latent_pair(model.params, name).posterior)
        values = np.asarray(cosines(before, after), np.float64)
        found.append(
            SimpleNamespace(
                probability=probability,
                mean_cosine=float(values.mean()),
                standard_error=standard_error(values),
            )
        )
    return found


def swap_pairs(split: Split, probability: float, generator: np.random.Generator) -> Split:
    """Returns the same sentences with some pairs of neighbours swapped.

    The pairs of a sentence are its first and second word, its third and fourth, and so on: none
    shares a word with another. The end mark and a last word without a partner stay in place.

    Args:
      split: of sentences, each with its end mark.
      probability: that a pair is swapped, independently of the others.
      generator: asked for one number a pair, in order, whatever the probability: with generators
        of one seed, the pairs of one probability are also swapped with every larger one.

    Returns:
      A split with ids of its own; all else is shared.
    """
    pairs = (split.lengths - 1) // 2
    # The position of each pair within its sentence: 0, 1, .. as often as the sentence has pairs.
    place = np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    first = np.repeat(split.offsets[:-1], pairs) + 2 * place
    first = first[generator.random(len(first)) < probability]
    ids = np.array(split.ids)
    ids[first], ids[first + 1] = ids[first + 1], ids[first]
    return Split(ids, split.counts, split.offsets, split.labels)
