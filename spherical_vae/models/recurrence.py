"""One LSTM layer as a pure function, with a backward pass written for the speed of its products."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spherical_vae.models.compute import Compute

State = tuple[Float[Array, "N H"], Float[Array, "N H"]]


class Kernels(NamedTuple):
    """Kernels of the gates, in the order input, forget, candidate, output.

    Attributes:
      input: of inputs that differ from step to step, or None if there are none.
      recurrent: from the hidden state.
    """

    input: Float[Array, "F H4"] | None
    recurrent: Float[Array, "H H4"]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recurrence(
    compute: Compute,
    steps: int,
    kernels: Kernels,
    inputs: Float[Array, "T M F"] | None,
    constant: Float[Array, "N H4"],
    initial: State,
    state_mask: Float[Array, "N H"] | None = None,
) -> tuple[State, Float[Array, "T N H"]]:
    """Runs an LSTM layer.

    Args:
      compute: how products are formed.
      steps: T.
      kernels: of the layer.
      inputs: inputs that differ from step to step, or None. M divides N: all N/M groups of M rows
        are fed the same, and its product is formed once.
      constant: added to the gates at every step, biases included.
      initial: (cell, hidden) before the first step.
      state_mask: multiplies the hidden state before the recurrent kernel, the same at every step;
        None for none. It has no gradient.

    Returns:
      The state after the last step, and the hidden states of all steps.

    Gradients: reverse mode. Those of the kernels are one product after the backward scan, where
    differentiating the scan would form one a step and add them up; with `compute.recompute_gates`,
    which saves memory, they are added up too.

    Source: Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000).
    """

    operands = kernels, inputs, constant, initial, state_mask
    return _scan(compute, steps, operands, lambda state, gates: state[1])


def _scan(
    compute: Compute, steps: int, operands: tuple, kept: Callable[[State, tuple], Any]
) -> tuple[State, Any]:
    """Returns the last state, and of every step what `kept(state, gates)` keeps of it."""
    kernels, inputs, constant, initial, state_mask = operands

    def advance(state: State, projected: Array | None) -> tuple[State, Any]:
        gates = _gates(compute, kernels, projected, constant, _masked(state[1], state_mask))
        state = _next_state(*gates, state[0])
        return state, kept(state, gates)

    return jax.lax.scan(advance, initial, _project(compute, kernels, inputs), length=steps)


def _masked(hidden: Array, mask: Array | None) -> Array:
    return hidden if mask is None else hidden * mask


def _project(compute: Compute, kernels: Kernels, inputs: Array | None) -> Array | None:
    if inputs is None:
        return None
    assert kernels.input is not None
    return compute.product(inputs, kernels.input)


def _repeated(values: Array, rows: int) -> Array:
    """Repeats `[..., M, F]` up to `rows` rows."""
    return jnp.tile(values, (rows // values.shape[-2], 1))


def _summed(values: Array, rows: int) -> Array:
    """Adds up the groups of `rows` rows of `[..., N, F]`: the transpose of `_repeated`."""
    *steps, _, features = values.shape
    return values.reshape(*steps, -1, rows, features).sum(axis=-3)


def _gates(
    compute: Compute, kernels: Kernels, projected: Array | None, constant: Array, hidden: Array
) -> tuple[Array, Array, Array, Array]:
    """Returns the gates of a step, each `[N, H]` and after its nonlinearity."""
    total = compute.product(hidden, kernels.recurrent) + constant
    if projected is not None:
        total = total + _repeated(projected, total.shape[0])
    into, forget, candidate, out = jnp.split(total, 4, axis=-1)
    sigmoid = jax.nn.sigmoid
    return sigmoid(into), sigmoid(forget), jnp.tanh(candidate), sigmoid(out)


def _next_state(into: Array, forget: Array, candidate: Array, out: Array, cell: Array) -> State:
    cell = forget * cell + into * candidate
    return cell, out * jnp.tanh(cell)


def _forward(compute: Compute, steps: int, *operands: Any) -> tuple[Any, Any]:
    def kept(state: State, gates: tuple) -> tuple:
        return state, None if compute.recompute_gates else gates

    final, (states, gates) = _scan(compute, steps, operands, kept)
    return (final, states[1]), (*operands, states, gates)


def _backward(compute: Compute, steps: int, saved: Any, cotangents: Any) -> tuple:
    kernels, inputs, constant, initial, state_mask, states, gates = saved
    final_bar, outputs_bar = cotangents
    before = jax.tree.map(
        lambda first, later: jnp.concatenate([first[None], later[:-1]]), initial, states
    )
    fed_back = before[1] if state_mask is None else before[1] * state_mask[None]
    before = before[0], fed_back
    if gates is None:
        return _backward_by_step(compute, saved, before, *cotangents)

    def retreat(carry: tuple, step: tuple) -> tuple[tuple, Array]:
        (cell_bar, hidden_bar), constant_bar = carry
        output_bar, step_gates, cell = step
        gates_bar, cell_bar = _step_back(step_gates, cell, cell_bar, hidden_bar + output_bar)
        hidden_bar = _masked(compute.product(gates_bar, kernels.recurrent.T), state_mask)
        return ((cell_bar, hidden_bar), constant_bar + gates_bar), gates_bar

    carry = final_bar, jnp.zeros_like(constant)
    (initial_bar, constant_bar), gates_bar = jax.lax.scan(
        retreat, carry, (outputs_bar, gates, before[0]), reverse=True
    )
    fed = before[1]
    if inputs is not None:
        fed = jnp.concatenate([_repeated(inputs, fed.shape[1]), fed], axis=2)
    flat = (x.reshape(-1, x.shape[-1]) for x in (fed, gates_bar))
    kernel_bar = compute.gram(*flat)
    if inputs is None:
        return Kernels(None, kernel_bar), None, constant_bar, initial_bar, None
    width = inputs.shape[-1]
    inputs_bar = compute.product(_summed(gates_bar, inputs.shape[1]), kernels.input.T)
    kernels_bar = Kernels(kernel_bar[:width], kernel_bar[width:])
    return kernels_bar, inputs_bar, constant_bar, initial_bar, None


def _backward_by_step(
    compute: Compute,
    saved: Any,
    before: tuple[Array, Array],
    final_bar: State,
    outputs_bar: Array,
) -> tuple:
    """The backward pass without the gates of all steps: forms those of each step again."""
    kernels, all_inputs, constant, _, state_mask, *_ = saved

    def retreat(carry: tuple, step: tuple) -> tuple[tuple, Array | None]:
        (cell_bar, hidden_bar), constant_bar, kernels_bar = carry
        output_bar, cell, hidden, inputs = step
        projected = _project(compute, kernels, inputs)
        step_gates = _gates(compute, kernels, projected, constant, hidden)
        gates_bar, cell_bar = _step_back(step_gates, cell, cell_bar, hidden_bar + output_bar)
        hidden_bar = _masked(compute.product(gates_bar, kernels.recurrent.T), state_mask)
        fed = Kernels(None if inputs is None else _repeated(inputs, hidden.shape[0]), hidden)
        kernels_bar = jax.tree.map(
            lambda total, factor: total + compute.gram(factor, gates_bar), kernels_bar, fed
        )
        inputs_bar = None
        if kernels.input is not None:
            inputs_bar = compute.product(_summed(gates_bar, inputs.shape[0]), kernels.input.T)
        return ((cell_bar, hidden_bar), constant_bar + gates_bar, kernels_bar), inputs_bar

    nothing = jax.tree.map(jnp.zeros_like, kernels)
    (initial_bar, constant_bar, kernels_bar), inputs_bar = jax.lax.scan(
        retreat,
        (final_bar, jnp.zeros_like(constant), nothing),
        (outputs_bar, *before, all_inputs),
        reverse=True,
    )
    return kernels_bar, inputs_bar, constant_bar, initial_bar, None


def _step_back(
    gates: tuple[Array, Array, Array, Array], cell: Array, next_cell_bar: Array, hidden_bar: Array
) -> tuple[Array, Array]:
    """Returns the cotangents of a step's gates before their nonlinearity, and of its first cell."""
    into, forget, candidate, out = gates
    squashed = jnp.tanh(forget * cell + into * candidate)
    cell_bar = next_cell_bar + hidden_bar * out * (1 - squashed**2)
    gates_bar = [
        cell_bar * candidate * into * (1 - into),
        cell_bar * cell * forget * (1 - forget),
        cell_bar * into * (1 - candidate**2),
        hidden_bar * squashed * out * (1 - out),
    ]
    return jnp.concatenate(gates_bar, axis=-1), cell_bar * forget


recurrence.defvjp(_forward, _backward)


def zero_state(rows: int, features: int) -> State:
    """Returns the all-zero LSTM state."""
    return jnp.zeros((rows, features)), jnp.zeros((rows, features))
