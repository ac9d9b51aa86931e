"""Shared by the benchmarks that only compile: a training step, what it takes and what it computes.

Nothing is run and no array is made, so that the device need not have the memory, nor be there.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.models.vae import build_vae
from spherical_vae.parallel.sharding import replicated, state_shardings
from spherical_vae.training.calls import multi_step
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import (
    Hyperparameters,
    abstract_state,
    hyperparameters,
    make_train_step,
)


class CompiledStep(NamedTuple):
    """Needs of a compiled training step, known before it has run.

    Attributes:
      peak_bytes: of each device: arguments, results and temporary arrays, donated ones once.
      flops_per_step: additions and multiplications of all matrix products of the step, over all
        devices; a loop's as often as it runs.
      compiler_flops: of one device's program, as the compiler estimates it: more than the products,
        but the body of a loop may be in it only once.
      compile_seconds: of the compiler; tracing and lowering are apart.
    """

    peak_bytes: int
    flops_per_step: int
    compiler_flops: float
    compile_seconds: float


def compile_step(
    config: ConfigDict, vocabulary: int, slots: int, devices: Sequence[jax.Device]
) -> CompiledStep:
    """Compiles the step that training takes, its batch split over the devices.

    Args:
      config: whole; `train.batch_size` examples a step over all devices.
      vocabulary: V.
      slots: T of the padded batch.
      devices: to compile for; they need not be here.
    """
    mesh = Mesh(np.asarray(devices).reshape(-1, config.mesh.model), ("data", "model"))
    model, optimizer = build_vae(config, vocabulary), build_optimizer(config.optimizer)
    state = abstract_state(model, optimizer, config)
    shardings = state_shardings(state, mesh, model.vocabulary_axes)
    arguments = (
        jax.tree.map(laid_out, state, shardings),
        abstract_batch(config.train.batch_size, slots, NamedSharding(mesh, PartitionSpec("data"))),
        abstract_hyperparameters(config, replicated(mesh)),
    )
    call = multi_step(make_train_step(model, optimizer, config))
    traced = jax.jit(call, donate_argnums=0, out_shardings=shardings).trace(*arguments)
    lowered = traced.lower()
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    return CompiledStep(
        peak_bytes=peak_bytes(compiled),
        flops_per_step=product_flops(traced.jaxpr.jaxpr),
        compiler_flops=compiled.cost_analysis()["flops"],
        compile_seconds=seconds,
    )


def peak_bytes(compiled: jax.stages.Compiled) -> int:
    """Returns the bytes of a program: arguments, results, temporary arrays; donated ones once."""
    memory = compiled.memory_analysis()
    total: int = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return total


def laid_out(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    """Returns the shape and type of an array with where it lies."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def abstract_batch(rows: int, slots: int, sharding: NamedSharding) -> Batch:
    """Returns shapes and types of a padded batch."""

    def column(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding)

    return Batch(column(rows, slots), column(rows, slots), column(rows), column(rows))


def abstract_hyperparameters(config: ConfigDict, sharding: NamedSharding) -> Hyperparameters:
    """Returns shapes and types of what may change without compiling again."""
    values: Hyperparameters = jax.tree.map(
        lambda value: jax.ShapeDtypeStruct((), value.dtype, sharding=sharding),
        hyperparameters(config, config.optimizer.learning_rate),
    )
    return values


def product_flops(jaxpr: Any) -> int:
    """Counts the additions and multiplications of the matrix products of a traced function.

    The compiler's own estimate may have the body of a loop only once.

    Args:
      jaxpr: of `jax.make_jaxpr(function)(...).jaxpr`, gradients included where the function has
        them.

    Raises:
      ValueError: there is a product inside a loop whose length is decided as it runs.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            left = equation.invars[0].aval.shape
            sums = math.prod(left[axis] for axis in contracted)
            total += 2 * math.prod(equation.outvars[0].aval.shape) * sums
            continue
        inner = [product_flops(part) for part in _jaxprs_in(parameters.values())]
        if name == "cond":
            total += max(inner)
        elif name == "while" and any(inner):
            raise ValueError("a product inside a while loop: how often it runs is not known")
        else:
            total += parameters.get("length", 1) * sum(inner) if name == "scan" else sum(inner)
    return total


def _jaxprs_in(values: Any) -> list[Any]:
    found = []
    for value in values:
        if isinstance(value, tuple | list):
            found += _jaxprs_in(value)
        elif hasattr(value, "eqns"):
            found.append(getattr(value, "jaxpr", value))
    return found
