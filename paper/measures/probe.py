"""A probe: a small perceptron from mean code to bag of words and back, measured by cosine.

Its cosine is worth as much as it is above that of the best constant answer: if all targets share a
direction, their cosine to it is large already.
"""

from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from scipy import sparse

from spherical_vae.data.batch import END_ID
from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.metrics import standard_error
from spherical_vae.models.latents.latent import mean_codes
from spherical_vae.models.layers import fan_in_uniform
from spherical_vae.runs.trained_model import TrainedModel

# The words whose counts are a vector; the unknown word is one of them.
COUNTED_WORDS = 1000
DIRECTIONS = ("code_to_bag", "bag_to_code")
_EPOCHS = {"smoke": 3, "cpu": 50, "full": 50}
_SPLITS = ("train", "valid", "test")
HIDDEN = 200
BATCH = 128
LEARNING_RATE = 1e-3
PATIENCE = 5  # epochs in a row without improvement on validation
# Of a squared length; small enough, and its power -3/2, a slope at the origin, is finite.
_TINY = 1e-24

Vectors = Float[np.ndarray, "N D"]
# What the probe reads, and what it is to answer, for each split.
Pairs = Mapping[str, tuple[Vectors, Vectors]]


def probe_results(model: TrainedModel, seed: int, scale: str) -> list[SimpleNamespace]:
    """Returns the probes of a sentence model: both kinds of bag, both directions.

    `seed` is that of the probes; `scale` (smoke, cpu or full) decides the number of epochs.

    Returns:
      What `fit_probe` returns, with `bag` (embeddings or counts) and `direction` before it.
    """
    evaluator = Evaluator(model.model, model.config, model.corpus)
    embeddings = np.asarray(model.params["word_embeddings"], np.float32)
    codes, bags = {}, {"embeddings": dict[str, np.ndarray](), "counts": dict[str, np.ndarray]()}
    for split in _SPLITS:
        posterior = evaluator.latent_pair(model.params, split).posterior
        codes[split] = np.asarray(mean_codes(posterior))
        counts = _count_matrix(model.corpus, split)
        # The mean embedding of the words is the condition of NVRNN-BoW.
        total = np.maximum(counts.sum(axis=1), 1)
        bags["embeddings"][split] = ((counts @ embeddings) / total[:, None]).astype(np.float32)
        # The ids of the most frequent words are the lowest.
        bags["counts"][split] = counts[:, :COUNTED_WORDS].toarray()
    found = []
    for bag, vectors in bags.items():
        for direction in DIRECTIONS:
            one, other = (codes, vectors) if direction == "code_to_bag" else (vectors, codes)
            pairs = {split: (one[split], other[split]) for split in _SPLITS}
            result = fit_probe(pairs, seed, _EPOCHS[scale])
            found.append(SimpleNamespace(bag=bag, direction=direction, **vars(result)))
    return found


def _count_matrix(corpus: Corpus, name: str) -> sparse.csr_array:
    """Returns how often each word occurs in each sentence, `[N, V]`; end marks are not words."""
    split = corpus.splits[name]
    ids, shape = np.asarray(split.ids), (len(split), len(corpus.vocabulary))
    once = (ids != END_ID).astype(np.float32)
    return sparse.csr_array((once, ids, np.asarray(split.offsets)), shape=shape)


def unit(vectors: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
    """Returns the directions of vectors; the origin stays where it is."""
    square = (vectors**2).sum(axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(square, _TINY))


def cosines(one: Float[Array, "*N D"], other: Float[Array, "*N D"]) -> Float[Array, "*N"]:
    """Returns the cosine of each pair; 0 where one of the two is the origin."""
    return (unit(one) * unit(other)).sum(axis=-1)


def fit_probe(pairs: Pairs, seed: int, epochs: int) -> SimpleNamespace:
    """Trains a perceptron with one hidden layer by Adam, and measures it once on test.

    It begins as the best constant answer, and stays it if validation never improves: its gain is
    due to the input.

    Args:
      pairs: of train, valid and test, at least two each.
      seed: of initialisation and order.
      epochs: at most.

    Returns:
      `cosine`, the mean over test of the cosine between answer and target; `constant_cosine`, that
      of the best constant answer, the mean direction of train; `gain`, the difference, and
      `gain_standard_error`, paired over test; `epochs` after which validation was best, 0 if the
      answer is the constant.
    """
    train, valid, test = (tuple(map(jnp.asarray, pairs[name])) for name in _SPLITS)
    centre = train[0].mean(axis=0, keepdims=True)
    # One factor for all coordinates: those that hardly vary stay small.
    spread = jnp.maximum(jnp.sqrt(((train[0] - centre) ** 2).mean()), _TINY)
    train, valid, test = (
        ((inputs - centre) / spread, targets) for inputs, targets in (train, valid, test)
    )
    constant = unit(unit(train[1]).mean(axis=0))
    key_start, key_order = jax.random.split(jax.random.key(seed))
    params = {
        "hidden": fan_in_uniform(key_start, (train[0].shape[1], HIDDEN)),
        "hidden_bias": jnp.zeros(HIDDEN),
        "answer": jnp.zeros((HIDDEN, constant.shape[0])),
        "answer_bias": constant,
    }
    state = optax.adam(LEARNING_RATE).init(params)
    best, best_params, best_epoch = float(_score(params, *valid).mean()), params, 0
    for epoch in range(1, epochs + 1):
        key = jax.random.fold_in(key_order, epoch)
        params, state = _epoch(params, state, *train, key)
        value = float(_score(params, *valid).mean())
        if value > best:
            best, best_params, best_epoch = value, params, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    found = np.asarray(_score(best_params, *test), np.float64)
    plain = np.asarray(cosines(jnp.broadcast_to(constant, test[1].shape), test[1]))
    gain = found - plain.astype(np.float64)
    return SimpleNamespace(
        cosine=float(found.mean()),
        constant_cosine=float(plain.mean(dtype=np.float64)),
        gain=float(gain.mean()),
        gain_standard_error=standard_error(gain),
        epochs=best_epoch,
    )


@jax.jit
def _score(
    params: dict, inputs: Float[Array, "N I"], targets: Float[Array, "N O"]
) -> Float[Array, " N"]:
    hidden = jnp.tanh(inputs @ params["hidden"] + params["hidden_bias"][None])
    answer = hidden @ params["answer"] + params["answer_bias"][None]
    return cosines(answer, targets)


@partial(jax.jit, donate_argnums=1)
def _epoch(
    params: dict,
    state: optax.OptState,
    inputs: Float[Array, "N I"],
    targets: Float[Array, "N O"],
    key: Key[Array, ""],
) -> tuple[dict, optax.OptState]:
    """Takes a step on each full batch of a new order."""
    examples = inputs.shape[0]
    batch = min(BATCH, examples)
    order = jax.random.permutation(key, examples)[: examples // batch * batch]

    def loss(params: dict, rows: Int[Array, " B"]) -> Float[Array, ""]:
        return -_score(params, inputs[rows], targets[rows]).mean()

    def step(carry: tuple, rows: Int[Array, " B"]) -> tuple[tuple, None]:
        params, state = carry
        updates, state = optax.adam(LEARNING_RATE).update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), order.reshape(-1, batch))[0]
