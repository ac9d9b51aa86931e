"""A probe: a small perceptron from mean code to bag of words and back, measured by cosine.

Its cosine is worth as much as it is above that of the best constant answer: if all targets share a
direction, their cosine to it is large already.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from scipy import sparse

from paper.store import Probe
from spherical_vae.data.batch import END_ID
from spherical_vae.data.corpus import Split
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.metrics import standard_error
from spherical_vae.models.latents.latent import mean_codes
from spherical_vae.models.layers import fan_in_uniform
from spherical_vae.runs.trained_model import TrainedModel

# The words whose counts are a vector; the unknown word is one of them.
COUNTED_WORDS = 1000
BAGS = ("embeddings", "counts")
DIRECTIONS = ("code_to_bag", "bag_to_code")
_EPOCHS = {"smoke": 3, "cpu": 50, "full": 50}
_SPLITS = ("train", "valid", "test")
HIDDEN = 200
BATCH = 128
LEARNING_RATE = 1e-3
PATIENCE = 5  # epochs in a row without improvement on validation
# Of a squared length; small enough, and its power -3/2, a slope at the origin, is finite.
_TINY = 1e-24

# What the probe reads, and what it is to answer, for each split.
Pairs = Mapping[str, tuple[Float[np.ndarray, "N I"], Float[np.ndarray, "N O"]]]


def probe_results(model: TrainedModel, seed: int, scale: str) -> tuple[Probe, ...]:
    """Returns the probes of a sentence model: both kinds of bag, both directions.

    Args:
      model: trained.
      seed: of the probes.
      scale: smoke, cpu or full; decides the number of epochs.
    """
    evaluator, corpus = Evaluator(model.model, model.config, model.corpus), model.corpus
    codes = {
        name: np.asarray(mean_codes(evaluator.latent_pair(model.params, name).posterior))
        for name in _SPLITS
    }
    counts = {name: count_matrix(corpus.splits[name], len(corpus.vocabulary)) for name in _SPLITS}
    embeddings = np.asarray(model.params["word_embeddings"], np.float32)
    kinds: dict[str, Callable[[sparse.csr_array], np.ndarray]] = {
        "embeddings": lambda matrix: mean_embeddings(matrix, embeddings),
        "counts": frequent_counts,
    }
    found = []
    for bag in BAGS:
        bags = {name: kinds[bag](counts[name]) for name in _SPLITS}
        for direction in DIRECTIONS:
            one, other = (codes, bags) if direction == "code_to_bag" else (bags, codes)
            pairs = {name: (one[name], other[name]) for name in _SPLITS}
            result = fit_probe(pairs, seed, _EPOCHS[scale])
            found.append(Probe(bag, direction, *result))
    return tuple(found)


def count_matrix(split: Split, words: int) -> sparse.csr_array:
    """Returns how often each word occurs in each sentence, `[N, V]`; end marks are not words.

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
    """Returns the mean embedding of the words of each sentence, the condition of NVRNN-BoW."""
    total = np.maximum(counts.sum(axis=1), 1)
    mean: np.ndarray = (counts @ embeddings) / total[:, None]
    return mean.astype(np.float32)


def frequent_counts(counts: sparse.csr_array) -> Float[np.ndarray, "N W"]:
    """Returns the counts of the most frequent words, whose ids are the lowest."""
    dense: np.ndarray = counts[:, :COUNTED_WORDS].toarray()
    return dense


class ProbeResult(NamedTuple):
    """Test result of a probe; see `Probe` for the fields."""

    cosine: float
    constant_cosine: float
    gain: float
    gain_standard_error: float
    epochs: int


def unit(vectors: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
    """Returns the directions of vectors; the origin stays where it is."""
    square = (vectors**2).sum(axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(square, _TINY))


def cosines(one: Float[Array, "*N D"], other: Float[Array, "*N D"]) -> Float[Array, "*N"]:
    """Returns the cosine of each pair; 0 where one of the two is the origin."""
    return (unit(one) * unit(other)).sum(axis=-1)


def fit_probe(pairs: Pairs, seed: int, epochs: int) -> ProbeResult:
    """Trains a perceptron with one hidden layer by Adam, and measures it once on test.

    It begins as the best constant answer, and stays it if validation never improves: its gain is
    due to the input.

    Args:
      pairs: of train, valid and test, at least two each.
      seed: of initialisation and order.
      epochs: at most.
    """
    train, valid, test = (
        _Columns(*map(jnp.asarray, pairs[name])) for name in ("train", "valid", "test")
    )
    centre = train.inputs.mean(axis=0, keepdims=True)
    # One factor for all coordinates: those that hardly vary stay small.
    spread = jnp.maximum(jnp.sqrt(((train.inputs - centre) ** 2).mean()), _TINY)
    train, valid, test = (
        _Columns((part.inputs - centre) / spread, part.targets) for part in (train, valid, test)
    )
    constant = unit(unit(train.targets).mean(axis=0))
    key_start, key_order = jax.random.split(jax.random.key(seed))
    params = _initial(key_start, train.inputs.shape[1], constant)
    optimizer = optax.adam(LEARNING_RATE)
    state = optimizer.init(params)
    best, best_params, best_epoch = float(_score(params, valid).mean()), params, 0
    for epoch in range(1, epochs + 1):
        key = jax.random.fold_in(key_order, epoch)
        params, state = _epoch(params, state, train, key)
        value = float(_score(params, valid).mean())
        if value > best:
            best, best_params, best_epoch = value, params, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    found = np.asarray(_score(best_params, test), np.float64)
    plain = np.asarray(cosines(jnp.broadcast_to(constant, test.targets.shape), test.targets))
    gain = found - plain.astype(np.float64)
    return ProbeResult(
        float(found.mean()),
        float(plain.mean(dtype=np.float64)),
        float(gain.mean()),
        standard_error(gain),
        best_epoch,
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Columns:
    inputs: Float[Array, "N I"]
    targets: Float[Array, "N O"]


def _initial(key: Key[Array, ""], inputs: int, constant: Float[Array, " O"]) -> dict:
    return {
        "hidden": fan_in_uniform()(key, (inputs, HIDDEN)),
        "hidden_bias": jnp.zeros(HIDDEN),
        "answer": jnp.zeros((HIDDEN, constant.shape[0])),
        "answer_bias": constant,
    }


@jax.jit
def _score(params: dict, part: _Columns) -> Float[Array, " N"]:
    hidden = jnp.tanh(part.inputs @ params["hidden"] + params["hidden_bias"][None])
    answer = hidden @ params["answer"] + params["answer_bias"][None]
    return cosines(answer, part.targets)


@partial(jax.jit, donate_argnums=1)
def _epoch(
    params: dict, state: optax.OptState, train: _Columns, key: Key[Array, ""]
) -> tuple[dict, optax.OptState]:
    """Takes a step on each full batch of a new order."""
    examples = train.inputs.shape[0]
    batch = min(BATCH, examples)
    order = jax.random.permutation(key, examples)[: examples // batch * batch]

    def loss(params: dict, rows: Int[Array, " B"]) -> Float[Array, ""]:
        return -_score(params, _Columns(train.inputs[rows], train.targets[rows])).mean()

    def step(carry: tuple, rows: Int[Array, " B"]) -> tuple[tuple, None]:
        params, state = carry
        updates, state = optax.adam(LEARNING_RATE).update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), order.reshape(-1, batch))[0]
