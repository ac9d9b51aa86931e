"""A probe: how well a small perceptron turns one vector of an example into another, by cosine.

It knows neither models nor corpora. What it says is only worth as much as it is above the best
constant answer: where all targets share a direction, their cosine to it is large already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from spherical_vae.evaluation.metrics import standard_error
from spherical_vae.models.layers import fan_in_uniform

HIDDEN = 200
BATCH = 128
LEARNING_RATE = 1e-3
PATIENCE = 5  # epochs in a row without improvement on dev
# Of a squared length; small enough, and its power -3/2, a slope at the origin, is finite.
_TINY = 1e-24

# What the probe reads, and what it is to answer, for each split.
Pairs = Mapping[str, tuple[Float[np.ndarray, "N I"], Float[np.ndarray, "N O"]]]


@dataclass(frozen=True)
class ProbeResult:
    """What a probe gives.

    Attributes:
      cosine: mean over test of the cosine between answer and target.
      constant_cosine: the same for the best constant answer, the mean direction of train.
      gain: the difference of the two.
      gain_standard_error: of the gain, paired over test.
      epochs: after which dev was best; 0 where nothing was learned, and the answer is the constant.
    """

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

    It begins as the best constant answer, which is what it stays if dev never gets better: what it
    gains is what the input tells.

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
