"""Text from a trained model: from the prior, through a code and back, between two examples."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from spherical_vae.data.batch import END_ID, UNKNOWN_ID, Batch
from spherical_vae.data.batches import gather_batch
from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.generation.decoding import (
    WordChoice,
    decode_sentences,
    great_circle,
    label_batch,
    likely_words,
    sentence_text,
    straight_line,
)
from spherical_vae.models.latents.latent import (
    LatentPair,
    is_spherical,
    latent_hyperparameters,
    mean_codes,
    promoting_ranks,
)
from spherical_vae.models.vae import VAE, call
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.errors import UserError
from spherical_vae.system.jax_settings import settings_of_models


@settings_of_models()
def prior_texts(
    trained: TrainedModel, key: Key[Array, ""], count: int, choice: WordChoice, label: int
) -> list[str]:
    """Writes texts from codes of the prior.

    Args:
      trained: the model.
      key: for codes and words.
      count: texts.
      choice: of words.
      label: from 0; not looked at by models without labels.

    Returns:
      One line each.

    Raises:
      UserError: the decoder needs the bag of words of a given sentence.
    """
    if trained.config.condition_on_bag:
        raise UserError(
            "--mode=prior: this model was trained with config.condition_on_bag, its decoder needs "
            "the words of a given sentence; use --mode=reconstruct or --mode=interpolate"
        )
    key_code, key_words = jax.random.split(key)
    z = _sample_prior(trained, key_code, count)
    conditions = _conditions(trained, label_batch(label, count))
    return _write(trained, z, conditions, key_words, choice)


@settings_of_models()
def reconstruction_texts(
    trained: TrainedModel, key: Key[Array, ""], examples: Batch, choice: WordChoice
) -> list[tuple[str, str]]:
    """Encodes examples and writes from their mean codes.

    Args:
      trained: the model.
      key: for words.
      examples: `all_examples` or `sample_examples` of a split.
      choice: of words.

    Returns:
      Pairs of original and reconstruction.

    Raises:
      UserError: the model has no codes.
    """
    z, conditions = _mean_codes(trained, examples)
    written = _write(trained, z, conditions, key, choice)
    return list(zip(_originals(trained.corpus, examples), written, strict=True))


@settings_of_models()
def interpolation_texts(
    trained: TrainedModel, key: Key[Array, ""], ends: Batch, count: int, choice: WordChoice
) -> list[str]:
    """Walks between the mean codes of two examples, along a great circle where z is a direction.

    All texts are written with the same random choices: they differ by their codes alone.

    Args:
      trained: the model.
      key: for words.
      ends: two examples.
      count: texts, those at the ends included.
      choice: of words.

    Returns:
      The first example, `count` texts from the codes on the way, the second example.

    Raises:
      UserError: the model has no codes.
    """
    z, conditions = _mean_codes(trained, ends)
    spherical = is_spherical(trained.model.latent.standard_prior())
    walk = great_circle if spherical else straight_line
    path = walk(z[0], z[1], count)
    between = straight_line(conditions[0], conditions[1], count)
    written = _write(trained, path, between, key, choice, shared_noise=True)
    first, last = _originals(trained.corpus, ends)
    return [f"[{first}]", *written, f"[{last}]"]


def sample_examples(corpus: Corpus, split: str, key: Key[Array, ""], count: int) -> Batch:
    """Returns different examples of a split, chosen by the key.

    Raises:
      UserError: the split has not so many.
    """
    examples = corpus.splits[split]
    if count > len(examples):
        raise UserError(f"--split={split}: it has {len(examples)} examples, {count} are needed")
    rows = jax.random.choice(key, len(examples), (count,), replace=False)
    return gather_batch(examples, np.asarray(rows), int(examples.lengths.max()))


def all_examples(split: Split) -> Batch:
    """Returns all examples of a small split, in their order."""
    return gather_batch(split, np.arange(len(split)), int(split.lengths.max()))


def has_codes(trained: TrainedModel) -> bool:
    """Returns whether what the model writes can depend on a given example."""
    return trained.model.latent_size > 0 or trained.config.condition_on_bag


def _conditions(trained: TrainedModel, batch: Batch) -> Float[Array, "N C"]:
    return call(trained.model, trained.params, VAE.conditions, jax.tree.map(jnp.asarray, batch))


def _encode(trained: TrainedModel, batch: Batch) -> LatentPair:
    given = jax.tree.map(jnp.asarray, batch)
    hyper = latent_hyperparameters(trained.config.latent)
    pair: LatentPair = call(trained.model, trained.params, VAE.encode, given, hyper)
    return pair


@promoting_ranks
def _sample_prior(
    trained: TrainedModel, key: Key[Array, ""], count: int
) -> Float[Array, " N *event"]:
    # The prior does not depend on the batch, so any will do.
    prior = _encode(trained, label_batch(0, 1)).prior
    return prior.sample(key, (count,))


def _mean_codes(
    trained: TrainedModel, batch: Batch
) -> tuple[Float[Array, " N *event"], Float[Array, "N C"]]:
    if not has_codes(trained):
        raise UserError(
            f"config.latent.kind is {trained.config.latent.kind!r}: this model has no codes, to "
            "reconstruct texts from or to walk between; allowed: --mode=prior without --text"
        )
    return mean_codes(_encode(trained, batch).posterior), _conditions(trained, batch)


def _originals(corpus: Corpus, batch: Batch) -> list[str]:
    if corpus.kind == "sequences":
        return [sentence_text(row, corpus.vocabulary) for row in batch.ids]
    words = np.zeros(len(corpus.vocabulary))
    texts = []
    for ids, counts in zip(batch.ids, batch.counts, strict=True):
        words[:] = -np.inf
        words[ids[counts > 0]] = counts[counts > 0]
        texts.append(likely_words(words, corpus.vocabulary))
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
        return [likely_words(row, words) for row in log_probs]
    limit = trained.config.data.max_length
    ids = decode_sentences(model, trained.params, z, conditions, key, choice, limit, shared_noise)
    return [sentence_text(row, words) for row in np.asarray(ids)]
