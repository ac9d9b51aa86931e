"""From codes to text: sampling and greedy search for sentences, likely words for documents.

Written once for all sentence decoders, through `VAE.start` and `VAE.step`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from spherical_vae.data.corpus import END_ID, Batch, Vocabulary
from spherical_vae.vae import VAE, call


@partial(jax.jit, static_argnames=("model", "max_length", "shared_noise"))
def decode_sentences(
    model: VAE,
    params: dict,
    z: Float[Array, " N *event"],
    conditions: Float[Array, "N C"],
    key: Key[Array, ""],
    temperature: Float[Array, ""],
    max_length: int,
    shared_noise: bool = False,
) -> Int[Array, "N L"]:
    """Writes one sentence for each code, word by word.

    Args:
      model: a VAE with a sentence decoder.
      params: its parameters.
      z: codes.
      conditions: what the decoder is told beside them.
      key: for the words.
      temperature: divides the logits; 0 takes the likeliest word each time (greedy search).
      max_length: L, words at most.
      shared_noise: whether all sentences are written with the same luck, so that they differ only
        by what their codes say; for walks from code to code.

    Returns:
      Word ids; end marks from the end of each sentence on.
    """
    greedy = temperature == 0

    def write(carry: tuple, step: Array) -> tuple[tuple, Array]:
        states, previous, ended = carry
        states, logits = call(model, params, VAE.step, states, z, conditions, previous)
        luck = (1, logits.shape[1]) if shared_noise else logits.shape
        noise = jax.random.gumbel(jax.random.fold_in(key, step), luck)
        scores = logits / jnp.where(greedy, 1.0, temperature) + jnp.where(greedy, 0.0, noise)
        words = jnp.where(ended, END_ID, jnp.argmax(scores, axis=1))
        return (states, words, ended | (words == END_ID)), words

    states = call(model, params, VAE.start, z)
    first = jnp.full(z.shape[0], END_ID)
    carry = (states, first, jnp.zeros(z.shape[0], bool))
    _, words = jax.lax.scan(write, carry, jnp.arange(max_length))
    return words.T


def sentence_text(ids: Int[np.ndarray, " L"], vocabulary: Vocabulary) -> str:
    """Returns the words before the first end mark, with spaces between them."""
    ends = np.flatnonzero(ids == END_ID)
    shown = ids[: ends[0]] if len(ends) else ids
    return " ".join(vocabulary.words[i] for i in shown)


def likely_words(
    log_probs: Float[np.ndarray, " V"], vocabulary: Vocabulary, count: int = 15
) -> str:
    """Returns the likeliest words of a document, most likely first."""
    return " ".join(vocabulary.words[i] for i in np.argsort(-log_probs, kind="stable")[:count])


def great_circle(
    start: Float[Array, "*spheres D"], end: Float[Array, "*spheres D"], points: int
) -> Float[Array, "P *spheres D"]:
    """Walks from one unit vector to another along the sphere at constant speed, on each sphere.

    Args:
      start: unit vectors.
      end: unit vectors; not opposite to `start`, where every great circle would do.
      points: P, both ends included.

    Returns:
      Unit vectors. Source: Shoemake (1985), spherical linear interpolation.
    """
    cosine = (end * start).sum(axis=-1, keepdims=True)
    tangent = end - cosine * start
    length = jnp.linalg.norm(tangent, axis=-1, keepdims=True)
    angle = jnp.arctan2(length, cosine)
    tangent = jnp.where(length > 0, tangent / jnp.where(length > 0, length, 1.0), 0.0)
    places = jnp.linspace(0.0, 1.0, points).reshape(-1, *(1,) * start.ndim)
    angles = angle[None] * places
    return jnp.cos(angles) * start[None] + jnp.sin(angles) * tangent[None]


def straight_line(
    start: Float[Array, "*shape"], end: Float[Array, "*shape"], points: int
) -> Float[Array, " P *shape"]:
    """Walks from one vector to another in equal steps, both ends included."""
    places = jnp.linspace(0.0, 1.0, points).reshape(-1, *(1,) * start.ndim)
    return start[None] + places * (end - start)[None]


def label_batch(label: int, rows: int) -> Batch:
    """Returns a batch without words that carries a label, to have its conditions."""
    empty = np.zeros((rows, 1), np.int32)
    return Batch(empty, empty, np.full(rows, label, np.int32), np.arange(rows, dtype=np.int32))
