"""Shared by the jobs of `accelerator.py`: compiling side by side, timing in turns, comparing."""

import copy
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing

REPEATS = 5
# Nothing waits busily for a card, and its time is scarce.
PAUSE = 0.01
QUEUED = 16
# Programs that are compiled at a time.
COMPILERS = 8

Call = Callable[[], object]


def compile_together(lowered: dict[Any, Any]) -> tuple[dict[Any, Any], float]:
    """Compiles programs side by side.

    Args:
      lowered: by any key.

    Returns:
      Compiled ones by key, and the seconds that all of them took.
    """
    begin = time.perf_counter()
    with ThreadPoolExecutor(COMPILERS) as pool:
        compiled = list(pool.map(lambda program: program.compile(), lowered.values()))
    return dict(zip(lowered, compiled, strict=True)), time.perf_counter() - begin


def where_possible(
    makers: Mapping[Any, Callable[[], Any]],
) -> tuple[dict[Any, Any], dict[str, str]]:
    """Calls functions side by side; returns what they made, and of those that failed the errors."""
    made, refused = {}, {}
    with ThreadPoolExecutor(COMPILERS) as pool:
        futures = {key: pool.submit(make) for key, make in makers.items()}
        for key, future in futures.items():
            try:
                made[key] = future.result()
            except Exception as error:
                name = key if isinstance(key, str) else ", ".join(map(str, key))
                refused[name] = f"{type(error).__name__}: {error}"[:500]
    return made, refused


def timed(calls: dict[Any, Call]) -> dict[Any, timing.Timing]:
    """Times calls that wait for their results, in turns."""
    return timing.interleaved(calls, REPEATS, PAUSE)


def timed_in_queue(programs: Mapping[Any, partial]) -> dict[Any, timing.Timing]:
    """Times programs in turns, each queued `QUEUED` times before the last result is waited for.

    A device works on what is queued one after the other: the time to begin a call, a tenth of a
    millisecond, is hidden behind the work of the one before.

    Args:
      programs: partial functions, called without arguments, that do not wait.
    """

    def queued(program: partial) -> None:
        for _ in range(QUEUED):
            result = program()
        jax.block_until_ready(result)

    timings = timed({key: partial(queued, program) for key, program in programs.items()})
    return {
        key: timing.Timing(*(seconds / QUEUED for seconds in values))
        for key, values in timings.items()
    }


def ceilings(smoke: bool) -> dict[str, float]:
    """Measures what the card can do at most: bytes copied a second, operations of products."""
    elements, side = (2**16, 128) if smoke else (2**29, 8192)
    x = jax.random.normal(jax.random.key(0), (elements,))
    square = jax.random.normal(jax.random.key(0), (side, side))
    half = square.astype(jnp.bfloat16)
    exact = jax.jit(partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST))
    timings = timed(
        {
            # Reads every number and writes another.
            "copy": partial(timing.waited_for, jax.jit(jnp.negative), x),
            "float32": partial(timing.waited_for, exact, square, square),
            "bfloat16": partial(timing.waited_for, jax.jit(jnp.matmul), half, half),
        }
    )
    return {
        "copy_bytes_per_second": 2 * x.nbytes / timings["copy"].median,
        "float32_product_flops_per_second": 2 * side**3 / timings["float32"].median,
        "bfloat16_product_flops_per_second": 2 * side**3 / timings["bfloat16"].median,
    }


def relative_norm(one: Any, other: Any) -> float:
    """Returns |one - other| / |other| of the leaves of two trees, the largest."""
    errors = [
        np.linalg.norm(np.ravel(x).astype(np.float64) - np.ravel(y).astype(np.float64))
        / max(float(np.linalg.norm(np.ravel(y).astype(np.float64))), 1e-30)
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        if np.any(y)
    ]
    return float(max(errors))


def changed(config: Any, overrides: dict[str, Any]) -> Any:
    """Returns a copy of a configuration with other values, by dotted key."""
    copied = copy.deepcopy(config)
    copied.update_from_flattened_dict(overrides)
    return copied
