"""From latents to text: sampling and greedy search for sentences, likely words for documents."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from spherical_vae.data.batch import END_ID, UNKNOWN_ID
from spherical_vae.data.corpus import Vocabulary
from spherical_vae.models.vae import VAE, call


class WordChoice(NamedTuple):
    """Selection of the next word of a sentence; all values share a compiled program.

    Attributes:
      temperature: divides the logits, at least 0; 0 takes the likeliest word (greedy search).
      top_p: in (0, 1]; words are sampled from the smallest set of likeliest words with this
        probability at that temperature: nucleus sampling, Holtzman et al. (2020). 1: from all.
      unknown: whether the unknown word may be written; if not, each word is sampled given that it
        is another one.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    unknown: bool = False


def word_scores(logits: Float[Array, "N V"], choice: WordChoice) -> Float[Array, "N V"]:
    """Returns log probabilities of the next word up to a constant; -inf for excluded words."""
    allowed = choice.unknown | (jnp.arange(logits.shape[1]) != UNKNOWN_ID)
    logits = jnp.where(allowed[None], logits, -jnp.inf)
    # All are at most 0, so that a small temperature overflows to -inf only.
    logits = logits - logits.max(axis=1, keepdims=True)
    scores = logits / jnp.maximum(choice.temperature, jnp.finfo(logits.dtype).tiny)
    # Excluded words stay excluded at an infinite temperature, as a large one is in float32.
    scores = jnp.where(allowed[None], scores, -jnp.inf)
    order = jnp.argsort(-scores, axis=1)
    ordered = jnp.take_along_axis(scores, order, axis=1)
    probabilities = jax.nn.softmax(ordered, axis=1)
    likelier = jnp.cumsum(probabilities, axis=1) - probabilities
    # Sums are rounded to 1 before the unlikeliest words are added.
    kept = (likelier < choice.top_p) | (choice.top_p >= 1)
    # The first, also if top_p is rounded to 0.
    kept = kept.at[:, 0].set(True)
    # By rank, not by score: of words that are equally likely some may be outside.
    kept = jnp.take_along_axis(kept, jnp.argsort(order, axis=1), axis=1)
    return jnp.where(kept, scores, -jnp.inf)


@partial(jax.jit, static_argnames=("model", "max_length", "shared_noise"))
def decode_sentences(
    model: VAE,
    params: dict,
    z: Float[Array, " N *event"],
    conditions: Float[Array, "N C"],
    key: Key[Array, ""],
    choice: WordChoice,
    max_length: int,
    shared_noise: bool = False,
) -> Int[Array, "N L"]:
    """Writes one sentence of at most L words for each latent, word by word.

    Args:
      model: a VAE with a sentence decoder.
      params: its parameters.
      z: latents.
      conditions: of `VAE.conditions`.
      key: for the words.
      choice: of each word.
      max_length: L.
      shared_noise: whether all sentences share the noise of their words, so that they differ only
        by their latents.

    Returns:
      Word ids, and end marks after the end of a sentence.
    """

    def write(carry: tuple, step: Array) -> tuple[tuple, Array]:
        decoder_carry, previous, ended = carry
        decoder_carry, logits = call(
            model, params, VAE.step, decoder_carry, z, conditions, previous
        )
        shape = (1, logits.shape[1]) if shared_noise else logits.shape
        noise = jax.random.gumbel(jax.random.fold_in(key, step), shape)
        scores = word_scores(logits, choice) + jnp.where(choice.temperature == 0, 0.0, noise)
        words = jnp.where(ended, END_ID, jnp.argmax(scores, axis=1))
        return (decoder_carry, words, ended | (words == END_ID)), words

    start = call(model, params, VAE.start, z, max_length)
    carry = (start, jnp.full(z.shape[0], END_ID), jnp.zeros(z.shape[0], bool))
    _, words = jax.lax.scan(write, carry, jnp.arange(max_length))
    return words.T


def sentence_text(ids: Int[np.ndarray, " L"], vocabulary: Vocabulary) -> str:
    """Returns the words before the first end mark, with spaces between them."""
    ends = np.flatnonzero(ids == END_ID)
    shown = ids[: ends[0]] if len(ends) else ids
    return " ".join(vocabulary.words[i] for i in shown)


def likely_words(log_probs: Float[np.ndarray, " V"], vocabulary: Vocabulary) -> str:
    """Returns the 15 likeliest words of a document, in order; none of probability 0."""
    likeliest = np.argsort(-log_probs, kind="stable")[:15]
    return " ".join(vocabulary.words[i] for i in likeliest if log_probs[i] > -np.inf)


def great_circle(
    start: Float[Array, "*spheres D"], end: Float[Array, "*spheres D"], points: int
) -> Float[Array, "P *spheres D"]:
    """Interpolates between unit vectors along a great circle at constant speed, on each sphere.

    Args:
      start: unit vectors.
      end: unit vectors; of great circles to the opposite of `start` one is taken.
      points: P, at least 2: both ends are included.

    Returns:
      Unit vectors. Source: Shoemake (1985), spherical linear interpolation.
    """

    def beside_start(x: Array) -> Array:
        return x - (x * start).sum(axis=-1, keepdims=True) * start

    def norm(x: Array) -> Array:
        return jnp.linalg.norm(x, axis=-1, keepdims=True)

    tangent = beside_start(end)
    length = norm(tangent)
    angle = jnp.arctan2(length, (end * start).sum(axis=-1, keepdims=True))
    axis = jax.nn.one_hot(jnp.abs(start).argmin(axis=-1), start.shape[-1])
    # What is shorter is rounding, and may be parallel to the start.
    long = length > 8 * jnp.finfo(start.dtype).eps
    tangent = jnp.where(long, tangent / jnp.where(long, length, 1.0), axis)
    # Of nearly opposite ends the difference was mostly rounding.
    tangent = beside_start(tangent)
    tangent = tangent / norm(tangent)
    places = jnp.linspace(0.0, 1.0, points).reshape(-1, *(1,) * start.ndim)
    angles = angle[None] * places
    return jnp.cos(angles) * start[None] + jnp.sin(angles) * tangent[None]


def straight_line(
    start: Float[Array, "*shape"], end: Float[Array, "*shape"], points: int
) -> Float[Array, " P *shape"]:
    """Interpolates between two vectors in equal steps, both ends included."""
    places = jnp.linspace(0.0, 1.0, points).reshape(-1, *(1,) * start.ndim)
    return start[None] + places * (end - start)[None]
