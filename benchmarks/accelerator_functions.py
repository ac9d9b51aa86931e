"""The jobs of `accelerator.py` about single functions: LSTM layer, samplers, special functions."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import sampler as sampler_benchmark
import special as special_benchmark
import timing
from accelerator_timing import (
    ceilings,
    compile_together,
    relative_norm,
    timed,
    timed_in_queue,
    where_possible,
)

from spherical_vae.models.compute import Compute
from spherical_vae.models.recurrence import Kernels, recurrence

# Of a padded sentence, near the mean of the Penn Treebank.
SLOTS = 24
BATCHES = (20, 64, 256)


def recurrence_inputs(slots: int, rows: int, features: int, hidden: int) -> tuple:
    """Returns kernels, inputs, constant and initial state, and a cotangent of the outputs."""
    keys = jax.random.split(jax.random.key(0), 7)
    scale = hidden**-0.5
    kernels = Kernels(
        scale * jax.random.normal(keys[0], (features, 4 * hidden)),
        scale * jax.random.normal(keys[1], (hidden, 4 * hidden)),
    )
    bias = 0.1 * jax.random.normal(keys[2], (4 * hidden,))
    inputs = jax.random.normal(keys[3], (slots, rows, features))
    initial = tuple(0.5 * jax.random.normal(key, (rows, hidden)) for key in keys[4:6])
    return kernels, inputs, bias, initial, jax.random.normal(keys[6], (slots, rows, hidden))


def our_layer(compute: Compute, kernels: Kernels, inputs: Any, bias: Any, initial: Any) -> Any:
    """Returns the hidden states of all steps, `[T, N, H]`."""
    slots, rows = inputs.shape[:2]
    constant = jnp.broadcast_to(bias, (rows, bias.shape[0]))
    return recurrence(compute, slots, kernels, inputs, constant, initial)[1]


def cudnn_layer(precision: Any, kernels: Kernels, inputs: Any, bias: Any, initial: Any) -> Any:
    """Returns what `our_layer` does, by cuDNN's LSTM."""
    from jax.experimental import rnn

    slots, rows, features = inputs.shape
    hidden = bias.shape[0] // 4
    assert kernels.input is not None
    matrices = kernels.input.T, kernels.recurrent.T, bias, jnp.zeros_like(bias)
    weights = jnp.concatenate([jnp.ravel(x) for x in matrices])
    cell, state = initial
    lengths = jnp.full((rows,), slots, jnp.int32)
    outputs, _, _ = rnn.lstm(
        jnp.swapaxes(inputs, 0, 1),
        state[None],
        cell[None],
        weights,
        lengths,
        input_size=features,
        hidden_size=hidden,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
        precision=precision,
    )
    return jnp.swapaxes(outputs, 0, 1)


LAYERS: dict[str, Callable] = {
    "ours, float32": partial(our_layer, Compute()),
    "ours, bfloat16": partial(our_layer, Compute("bfloat16")),
    "cudnn, float32": partial(cudnn_layer, jax.lax.Precision.HIGHEST),
    "cudnn, TF32": partial(cudnn_layer, jax.lax.Precision.HIGH),
}


def recurrence_programs() -> dict[tuple[str, str], Any]:
    """Returns forward, and forward and backward, of every layer, jitted; by (layer, pass)."""

    def total(layer: Callable, kernels: Any, inputs: Any, bias: Any, initial: Any, bar: Any) -> Any:
        return (layer(kernels, inputs, bias, initial) * bar).sum()

    programs: dict[tuple[str, str], Any] = {}
    for name, layer in LAYERS.items():
        programs[name, "forward"] = jax.jit(lambda *a, layer=layer: layer(*a[:-1]))
        programs[name, "both"] = jax.jit(jax.grad(partial(total, layer), argnums=(0, 1, 2, 3)))
    return programs


def recurrence_job(smoke: bool) -> dict[str, Any]:
    """Times one LSTM layer, hidden 400 and T = 24, ours and cuDNN's, and compares them."""
    sizes = (4,) if smoke else BATCHES
    shape = (6, 5, 8) if smoke else (SLOTS, 100, 400)
    records: list[dict] = []
    missing: dict[str, str] = {}
    for rows in sizes:
        arguments = recurrence_inputs(shape[0], rows, *shape[1:])
        calls = {
            key: partial(timing.waited_for, program, *arguments)
            for key, program in recurrence_programs().items()
        }
        # cuDNN's is there on some cards only.
        outputs, refused = where_possible(calls)
        missing |= refused
        timings = timed({key: calls[key] for key in outputs})
        for (name, way), measured in timings.items():
            reference = outputs["ours, float32", way]
            records.append(
                {
                    "layer": name,
                    "pass": way,
                    "batch": rows,
                    "seconds_median": measured.median,
                    "seconds_spread": measured.spread,
                    "relative_norm_to_ours": relative_norm(outputs[name, way], reference),
                }
            )
    return {"slots": shape[0], "hidden": shape[2], "missing": missing, "layers": records}


def sampler(smoke: bool) -> dict[str, Any]:
    """Times both samplers beside a normal sample and `mu + sigma normal`, up to ten million."""
    sizes, d, kappa = ((500,), 8, 80.0) if smoke else ((100_000, 10_000_000), 50, 80.0)
    bandwidth = ceilings(smoke)["copy_bytes_per_second"]
    records = []
    for n in sizes:
        for grad, parameters in ((False, "shared"), (False, "per_row"), (True, "per_row")):
            if grad:
                calls = sampler_benchmark.our_gradients(n, d, kappa)
            else:
                calls = sampler_benchmark.our_candidates(n, d, kappa, parameters)
            # Into the cache of compiled programs, from which each call then has its own.
            compile_together({name: c.args[0].lower(*c.args[1:]) for name, c in calls.items()})
            common = {"n": n, "d": d, "kappa": kappa, "grad": grad, "parameters": parameters}
            array = 4 * n * d
            # The samples; with parameters a row also directions. With gradients the samples stay
            # inside: directions and cotangents are read, and gradients are written.
            least = array * ((3 if grad else 2) if parameters == "per_row" else 1)
            programs = {name: partial(*call.args) for name, call in calls.items()}
            for record in sampler_benchmark.records_of(timed_in_queue(programs), common):
                # Programs were compiled before, together.
                del record["compile_seconds"]
                taken = cast(float, record["seconds_median"])
                moved = array if record["method"] == "normal" else least
                record |= {
                    "samples_per_second": n / taken,
                    "least_bytes": moved,
                    "bytes_per_second": moved / taken,
                    "over_copy": taken * bandwidth / moved,
                }
                records.append(record)
    return {"copy_bytes_per_second": bandwidth, "samplers": records}


def special(smoke: bool) -> dict[str, Any]:
    """Times the special functions of ten million concentrations at d = 50."""
    elements, d = (1000, 5) if smoke else (10_000_000, 50)
    bandwidth = ceilings(smoke)["copy_bytes_per_second"]
    points = 10.0 ** jax.random.uniform(jax.random.key(0), (elements,), minval=-3.0, maxval=6.0)
    functions = special_benchmark.our_functions(d)
    compiled, seconds = compile_together({k: f.lower(points) for k, f in functions.items()})
    timings = timed_in_queue({name: partial(call, points) for name, call in compiled.items()})
    return {
        "copy_bytes_per_second": bandwidth,
        "compile_seconds": seconds,
        "functions": [
            {
                "function": name,
                "d": d,
                "elements": elements,
                "ns_per_element": 1e9 * t.median / elements,
                "seconds_spread": t.spread,
                # One number read and one written, or two where the derivative is there too.
                "over_copy": t.median
                * bandwidth
                / (points.nbytes * (3 if name == "kl_derivative" else 2)),
            }
            for name, t in timings.items()
        ],
    }
