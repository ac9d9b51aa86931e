"""Texts of a trained model: from the prior, reconstructions, and interpolations."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from spherical_vae.data.batch import END_ID, UNKNOWN_ID, Batch
from spherical_vae.data.batches import gather_batch
from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.generation import decoding
from spherical_vae.generation.decoding import WordChoice
from spherical_vae.models.latents import latent
from spherical_vae.models.vae import VAE, call
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.errors import UserError
from spherical_vae.system.jax_settings import settings_of_models

# Of sentences: 100 MB of scores of 10,000 words, for each of a few arrays.
_TEXTS_AT_ONCE = 256


@settings_of_models()
def prior_texts(
    trained: TrainedModel, key: Key[Array, ""], count: int, choice: WordChoice, label: int
) -> list[str]:
    """Writes `count` texts from latents of the prior.

    Models with labels write texts of `label`, from 0.

    Raises:
      UserError: the decoder needs the bag of words of a given sentence.
    """
    if trained.config.condition_on_bag:
        raise UserError(
            "--mode=prior: this model was trained with config.condition_on_bag, its decoder needs "
            "the words of a given sentence; use --mode=reconstruct or --mode=interpolate"
        )
    key_code, key_words = jax.random.split(key)
    empty, labels = np.zeros((1, 1), np.int32), np.array([label], np.int32)
    # The prior does not depend on the batch.
    (_, prior), conditions = _encode(trained, Batch(empty, empty, labels, np.zeros(1, np.int32)))
    z = latent.sample(prior, key_code, count)
    return _write(trained, z, jnp.repeat(conditions, count, axis=0), key_words, choice)


@settings_of_models()
def reconstruction_texts(
    trained: TrainedModel, key: Key[Array, ""], examples: Batch, choice: WordChoice
) -> list[tuple[str, str]]:
    """Returns pairs of an original and its reconstruction from the mean of its posterior.

    Raises:
      UserError: the model has no latent codes.
    """
    z, conditions = _mean_codes(trained, examples)
    written = _write(trained, z, conditions, key, choice)
    return list(zip(_originals(trained.corpus, examples), written, strict=True))


@settings_of_models()
def interpolation_texts(
    trained: TrainedModel, key: Key[Array, ""], ends: Batch, count: int, choice: WordChoice
) -> list[str]:
    """Interpolates between the mean codes of two examples, along a great circle on a sphere.

    All texts share their random choices, so that they differ only by their codes.

    Returns:
      The first example, `count` texts, those of both ends included, and the second example.

    Raises:
      UserError: the model has no latent codes.
    """
    z, conditions = _mean_codes(trained, ends)
    spherical = latent.is_spherical(trained.model.latent.standard_prior())
    walk = decoding.great_circle if spherical else decoding.straight_line
    path = walk(z[0], z[1], count)
    between = decoding.straight_line(conditions[0], conditions[1], count)
    written = _write(trained, path, between, key, choice, shared_noise=True)
    first, last = _originals(trained.corpus, ends)
    return [f"[{first}]", *written, f"[{last}]"]


def sample_examples(corpus: Corpus, split: str, key: Key[Array, ""], count: int) -> Batch:
    """Returns `count` different random examples of a split.

    Raises:
      UserError: the split has fewer examples.
    """
    examples = corpus.splits[split]
    if count > len(examples):
        raise UserError(f"--split={split}: it has {len(examples)} examples, {count} are needed")
    rows = jax.random.choice(key, len(examples), (count,), replace=False)
    return gather_batch(examples, np.asarray(rows), int(examples.lengths.max()))


def all_examples(split: Split) -> Batch:
    """Returns all examples of a small split, in their order."""
    return gather_batch(split, np.arange(len(split)))


def has_codes(trained: TrainedModel) -> bool:
    """Returns whether the texts of a model can depend on a given example."""
    return trained.model.latent_size > 0 or trained.config.condition_on_bag


def _encode(trained: TrainedModel, batch: Batch) -> tuple[latent.LatentPair, Float[Array, "N C"]]:
    """Returns posteriors and prior, and the decoder's inputs beside z."""
    given = jax.tree.map(jnp.asarray, batch)
    hyper = latent.latent_hyperparameters(trained.config.latent)
    pair = call(trained.model, trained.params, VAE.encode, given, hyper)
    return pair, call(trained.model, trained.params, VAE.conditions, given)


def _mean_codes(
    trained: TrainedModel, batch: Batch
) -> tuple[Float[Array, " N *event"], Float[Array, "N C"]]:
    if not has_codes(trained):
        raise UserError(
            f"config.latent.kind is {trained.config.latent.kind!r}: this model has no codes, to "
            "reconstruct texts from or to walk between; allowed: --mode=prior without --text"
        )
    pair, conditions = _encode(trained, batch)
    return latent.mean_codes(pair.posterior), conditions


def _originals(corpus: Corpus, batch: Batch) -> list[str]:
    if corpus.kind == "sequences":
        return [decoding.sentence_text(row, corpus.vocabulary) for row in batch.ids]
    texts = []
    for ids, counts in zip(batch.ids, batch.counts, strict=True):
        words = np.full(len(corpus.vocabulary), -np.inf)
        words[ids[counts > 0]] = counts[counts > 0]
        texts.append(decoding.likely_words(words, corpus.vocabulary))
    return texts


def _write(
    trained: TrainedModel,
    z: Float[Array, " N *event"],
    conditions: Float[Array, "N C"],
    key: Key[Array, ""],
    choice: WordChoice,
    shared_noise: bool = False,
) -> list[str]:
    model, words = trained.model, trained.corpus.vocabulary
    if not model.decoder.scores_sequences:
        log_probs = np.array(call(model, trained.params, VAE.word_log_probs, z, conditions))
        if trained.corpus.kind == "sequences":
            log_probs[:, [END_ID] if choice.unknown else [END_ID, UNKNOWN_ID]] = -np.inf
        return [decoding.likely_words(row, words) for row in log_probs]
    limit, texts = trained.config.data.max_length, list[str]()
    for i, first in enumerate(range(0, len(z), _TEXTS_AT_ONCE)):
        rows = slice(first, first + _TEXTS_AT_ONCE)
        # The first texts do not depend on how many follow.
        block_key = key if shared_noise or i == 0 else jax.random.fold_in(key, i)
        ids = decoding.decode_sentences(
            model, trained.params, z[rows], conditions[rows], block_key, choice, limit, shared_noise
        )
        texts += [decoding.sentence_text(row, words) for row in np.asarray(ids)]
    return texts
