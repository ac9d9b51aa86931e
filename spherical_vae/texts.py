"""Text from a trained model: from the prior, through a code and back, between two examples."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from spherical_vae.data.batches import gather_batch
from spherical_vae.data.corpus import Batch, Corpus
from spherical_vae.errors import UserError
from spherical_vae.generation import (
    decode_sentences,
    great_circle,
    label_batch,
    likely_words,
    sentence_text,
    straight_line,
)
from spherical_vae.jax_settings import settings_of_models
from spherical_vae.latents import is_spherical, sample_prior
from spherical_vae.trained import TrainedModel
from spherical_vae.vae import VAE, call


@settings_of_models()
def prior_texts(
    trained: TrainedModel,
    key: Key[Array, ""],
    count: int,
    temperature: Float[Array, ""],
    label: int,
) -> list[str]:
    """Writes texts from codes of the prior.

    Args:
      trained: the model.
      key: for codes and words.
      count: texts.
      temperature: 0 for the likeliest words.
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
    z = sample_prior(trained.config.latent, key_code, count)
    conditions = _conditions(trained, label_batch(label, count))
    return _write(trained, z, conditions, key_words, temperature)


@settings_of_models()
def reconstruction_texts(
    trained: TrainedModel,
    key: Key[Array, ""],
    count: int,
    temperature: Float[Array, ""],
    split: str = "test",
) -> list[tuple[str, str]]:
    """Encodes examples of a split, drawn by the key, and writes from their mean codes.

    Returns:
      Pairs of original and reconstruction.
    """
    key_choice, key_words = jax.random.split(key)
    batch = _draw_examples(trained.corpus, split, key_choice, count, f"--count={count}")
    z, conditions = _mean_codes(trained, batch)
    written = _write(trained, z, conditions, key_words, temperature)
    return list(zip(_originals(trained.corpus, batch), written, strict=True))


@settings_of_models()
def interpolation_texts(
    trained: TrainedModel,
    key: Key[Array, ""],
    count: int,
    temperature: Float[Array, ""],
    split: str = "test",
) -> list[str]:
    """Walks between the mean codes of two examples, along a great circle where z is a direction.

    All texts are written with the same random choices: they differ by their codes alone.

    Returns:
      The first example, `count` texts from the codes on the way, the second example.
    """
    key_choice, key_words = jax.random.split(key)
    batch = _draw_examples(trained.corpus, split, key_choice, 2, "a walk between two examples")
    z, conditions = _mean_codes(trained, batch)
    walk = great_circle if is_spherical(trained.config.latent) else straight_line
    path = walk(z[0], z[1], count)
    told = straight_line(conditions[0], conditions[1], count)
    written = _write(trained, path, told, key_words, temperature, shared_noise=True)
    first, last = _originals(trained.corpus, batch)
    return [f"[{first}]", *written, f"[{last}]"]


def _conditions(trained: TrainedModel, batch: Batch) -> Float[Array, "N C"]:
    return call(trained.model, trained.params, VAE.conditions, jax.tree.map(jnp.asarray, batch))


def _mean_codes(
    trained: TrainedModel, batch: Batch
) -> tuple[Float[Array, "N D"], Float[Array, "N C"]]:
    given = jax.tree.map(jnp.asarray, batch)
    concentration = jnp.float32(trained.config.latent.concentration)
    posterior = call(trained.model, trained.params, VAE.encode, given, concentration)
    return posterior.mean, _conditions(trained, batch)


def _draw_examples(
    corpus: Corpus, split: str, key: Key[Array, ""], count: int, wanted: str
) -> Batch:
    examples = corpus.splits[split]
    if count > len(examples):
        raise UserError(f"{wanted}: the {split} split has {len(examples)} examples")
    rows = jax.random.choice(key, len(examples), (count,), replace=False)
    return gather_batch(examples, np.asarray(rows), [int(examples.lengths.max())])


def _originals(corpus: Corpus, batch: Batch) -> list[str]:
    if corpus.kind == "sequences":
        return [sentence_text(row, corpus.vocabulary) for row in batch.ids]
    words = np.zeros(len(corpus.vocabulary))
    texts = []
    for ids, counts in zip(batch.ids, batch.counts, strict=True):
        words[:] = -np.inf
        words[ids[counts > 0]] = counts[counts > 0]
        texts.append(likely_words(words, corpus.vocabulary, min(15, int((counts > 0).sum()))))
    return texts


def _write(
    trained: TrainedModel,
    z: Float[Array, "N D"],
    conditions: Float[Array, "N C"],
    key: Key[Array, ""],
    temperature: Float[Array, ""],
    shared_noise: bool = False,
) -> list[str]:
    model, words = trained.model, trained.corpus.vocabulary
    if trained.config.decoder.kind == "bag_of_words":
        log_probs = call(model, trained.params, VAE.word_log_probs, z, conditions)
        return [likely_words(row, words) for row in np.asarray(log_probs)]
    limit = trained.config.data.max_length
    ids = decode_sentences(
        model, trained.params, z, conditions, key, temperature, limit, shared_noise
    )
    return [sentence_text(row, words) for row in np.asarray(ids)]
