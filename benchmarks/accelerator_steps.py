"""The jobs of `accelerator.py` about the training step: its speed, its peer's, and where it goes.

All batches of one size have one padded length, so that few shapes are compiled.
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import train_step as step_benchmark
from accelerator_timing import (
    REPEATS,
    Call,
    ceilings,
    changed,
    compile_together,
    timed,
    where_possible,
)
from compiled import peak_bytes, product_flops
from train_step import Work, hypers, load_config

from spherical_vae.data.batch import END_ID
from spherical_vae.data.batches import epoch_batches
from spherical_vae.data.corpus import Split
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.training.calls import (
    group_into_calls,
    join,
    multi_step,
    side_by_side,
    stack,
    steps_of,
)
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import Hyperparameters, init_state, make_train_step

# Slots of a padded sentence: near the mean of the Penn Treebank, 22 with the end mark.
SLOTS = 24
STEPS = 32  # between two looks at the clock
BATCHES = (20, 64, 256, 1024)


def sentence_work(smoke: bool, batch_size: int, steps: int) -> Work:
    """Returns NVRNN of configs/ptb.py:standard at d = 50 on sentences of one padded length."""
    config = load_config("ptb", "standard")
    config.latent.dimension, config.latent.concentration = 50, 80.0
    config.train.batch_size = batch_size
    vocabulary, slots = config.data.vocabulary_size, SLOTS
    if smoke:
        vocabulary, slots = 50, 6
        config.encoder.hidden_size = config.decoder.hidden_size = 8
    generator, examples = np.random.default_rng(0), batch_size * steps
    lengths = generator.integers(slots - 4, slots, examples, endpoint=True)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = step_benchmark.zipf(generator, int(offsets[-1]), vocabulary)
    ids[offsets[1:] - 1] = END_ID
    split = Split(ids, None, offsets, None)
    batches = list(epoch_batches(split, batch_size, (slots,), seed=0, epoch=0))
    return Work("nvrnn", config, vocabulary, batches)


def document_work(smoke: bool, batch_size: int, steps: int) -> Work:
    """Returns NVDM of configs/news20.py at d = 50 on documents of one padded length."""
    config = load_config("news20", "fixed")
    config.latent.dimension, config.train.batch_size = 50, batch_size
    vocabulary = 50 if smoke else config.data.vocabulary_size
    if smoke:
        config.encoder.hidden_size = config.decoder.hidden_size = 8
    split = step_benchmark.seeded_documents(batch_size * steps, vocabulary)
    longest = (int(split.lengths.max()),)
    batches = list(epoch_batches(split, batch_size, longest, seed=0, epoch=0))
    return Work("nvdm", config, vocabulary, batches)


_params: dict[tuple[str, int, int], dict] = {}


def _fresh_params(work: Work) -> dict:
    """Returns a copy of the parameters of a model, which a step may take over; made once."""
    key = work.model, work.vocabulary, work.config.encoder.hidden_size
    if key not in _params:
        _params[key] = init_params(build_vae(work.config, work.vocabulary), 0)
    return jax.tree.map(jnp.copy, _params[key])


class Steps:
    """All steps of some work, several a call: lowered at once, compiled and run later.

    Attributes:
      lowered: the program of a call.
      flops: of the products of a step.
      seconds: of each run, (until everything was asked for, until it was done).
    """

    def __init__(
        self, work: Work, dtype: str = "float32", steps_per_call: int = 1, replicas: int = 0
    ) -> None:
        """Lowers the call.

        Args:
          work: what is trained on.
          dtype: `config.compute.dtype`.
          steps_per_call: likewise of `config.train`.
          replicas: trained side by side, 0 for a single run.
        """
        config = changed(work.config, {"compute.dtype": dtype})
        model, optimizer = build_vae(config, work.vocabulary), build_optimizer(config.optimizer)
        self._state: Any = init_state(_fresh_params(work), optimizer, config)
        call: Callable = multi_step(make_train_step(model, optimizer, config))

        def several(steps: int) -> tuple:
            def one(seed: int) -> Hyperparameters:
                joined: Hyperparameters = join([hypers(config, seed)] * steps)
                return joined

            if not replicas:
                return (one(0),)
            return stack([one(seed) for seed in range(replicas)]), np.ones(replicas, bool)

        if replicas:
            call = side_by_side(call)
            widened = partial(jax.tree.map, lambda x: jnp.repeat(x[None], replicas, axis=0))
            self._state = jax.jit(widened)(self._state)
        self._calls = [
            (jax.device_put(one), *several(steps_of(one)))
            for one in group_into_calls(work.batches, 0, steps_per_call, lambda _: False)
        ]
        traced = jax.jit(call, donate_argnums=0).trace(self._state, *self._calls[0])
        self.lowered = traced.lower()
        self.flops = product_flops(traced.jaxpr.jaxpr) / steps_per_call
        self.seconds: list[tuple[float, float]] = []

    def again(self) -> "Steps":
        """Returns the same work with a state of its own, not lowered anew."""
        other = copy.copy(self)
        other._state, other.seconds = jax.tree.map(jnp.copy, self._state), []
        return other

    def runner(self, compiled: Any) -> Call:
        """Returns what takes all steps, of the compiled `lowered`."""
        return partial(self._run, compiled)

    def _run(self, compiled: Any) -> None:
        begin, state = time.perf_counter(), self._state
        for arguments in self._calls:
            state = compiled(state, *arguments)
        asked = time.perf_counter() - begin
        self._state = jax.block_until_ready(state)
        self.seconds.append((asked, time.perf_counter() - begin))


def train_step(smoke: bool) -> dict[str, Any]:
    """Times ours: NVRNN at every batch and precision, with several steps a call; NVDM at one."""
    sizes = (4,) if smoke else BATCHES
    steps = 4 if smoke else STEPS
    works = {size: sentence_work(smoke, size, steps) for size in sizes}
    variants = [(size, dtype, 1) for size in sizes for dtype in ("float32", "bfloat16")]
    variants += [(size, "float32", several) for size in sizes[:2] for several in (8, 32)]
    variants += [(sizes[min(1, len(sizes) - 1)], "bfloat16", 32)]
    variants = [(size, dtype, min(several, steps)) for size, dtype, several in variants]
    documents = document_work(smoke, 5 if smoke else 100, steps)
    programs: dict[Any, tuple[Work, Steps]] = {
        ("nvrnn", *variant): (works[variant[0]], Steps(works[variant[0]], *variant[1:]))
        for variant in dict.fromkeys(variants)
    }
    for several in dict.fromkeys((1, steps)):
        key = "nvdm", documents.config.train.batch_size, "float32", several
        programs[key] = documents, Steps(documents, steps_per_call=several)
    records, seconds = _time_steps(programs)
    return {"ceilings": ceilings(smoke), "compile_seconds": seconds, "steps": records}


def _time_steps(programs: dict[Any, tuple[Work, Steps]]) -> tuple[list[dict], float]:
    compiled, seconds = compile_together({key: s.lowered for key, (_, s) in programs.items()})
    calls = {key: steps.runner(compiled[key]) for key, (_, steps) in programs.items()}
    timings = timed(calls)
    records = []
    for key, (work, steps) in programs.items():
        model, batch, dtype, several = key
        a_step = timings[key].median / len(work.batches)
        asked = statistics.median(asked for asked, _ in steps.seconds[2:])
        records.append(
            {
                "implementation": "spherical_vae",
                "model": model,
                "batch": batch,
                "dtype": dtype,
                "steps_per_call": several,
                "step_seconds_median": a_step,
                "step_seconds_spread": timings[key].spread / len(work.batches),
                "host_seconds_a_step": asked / len(work.batches),
                "tokens_per_second": work.tokens / timings[key].median,
                "product_flops_per_second": steps.flops / a_step,
                "peak_bytes": peak_bytes(compiled[key]),
            }
        )
    return records, seconds


def train_step_torch(smoke: bool) -> dict[str, Any]:
    """Times PyTorch on the same batches, eager, its LSTM by cuDNN on a card.

    Exact float32 (no TF32 anywhere), and bfloat16 by autocast.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = 4 if smoke else STEPS
    works = [sentence_work(smoke, n, steps) for n in ((4,) if smoke else BATCHES)]
    works.append(document_work(smoke, 5 if smoke else 100, steps))
    calls = {
        (i, dtype): step_benchmark.torch_peer(work, device, dtype != "float32")
        for i, work in enumerate(works)
        for dtype in ("float32", "bfloat16 autocast")
    }
    # What one precision cannot do must not hide the other.
    made, refused = where_possible(calls)
    records = []
    for (i, dtype), measured in timed({key: calls[key] for key in made}).items():
        work = works[i]
        records.append(
            {
                "implementation": "torch",
                "model": work.model,
                "batch": work.config.train.batch_size,
                "dtype": dtype,
                "step_seconds_median": measured.median / len(work.batches),
                "step_seconds_spread": measured.spread / len(work.batches),
                "tokens_per_second": work.tokens / measured.median,
            }
        )
    return {
        "torch": torch.__version__,
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "cudnn": torch.backends.cudnn.version(),
        "refused": refused,
        "how": "eager, fused optimisers, no TF32; the softmax sees no pads",
        "steps": records,
    }


def host(smoke: bool) -> dict[str, Any]:
    """Holds the host's time against the step's, and tells which kernels a profile has seen."""
    steps = 4 if smoke else STEPS
    sizes = (4,) if smoke else BATCHES[:2]
    programs: dict[Any, tuple[Work, Steps]] = {}
    for size in sizes:
        work = sentence_work(smoke, size, steps)
        for several in (1, steps):
            programs["nvrnn", size, "float32", several] = (
                work,
                Steps(work, steps_per_call=several),
            )
    compiled, _ = compile_together({key: s.lowered for key, (_, s) in programs.items()})
    records = []
    for key, (work, measured) in programs.items():
        run = measured.runner(compiled[key])
        for _ in range(REPEATS + 1):
            run()
        asked, done = (statistics.median(x) for x in zip(*measured.seconds[1:], strict=True))
        count = len(work.batches)
        records.append(
            {
                "model": key[0],
                "batch": key[1],
                "steps_per_call": key[3],
                "host_seconds_a_step": asked / count,
                "seconds_a_step": done / count,
                # Near 1: the next step is asked for only when the one before is nearly done.
                "host_share": asked / done,
                "profile": _profile_or_reason(run, count),
            }
        )
    return {"steps": records}


def _profile_or_reason(run: Call, steps: int) -> dict[str, Any]:
    try:
        return _profile(run, steps)
    except Exception as error:  # the profiler needs rights that not every machine gives
        return {"missing": f"{type(error).__name__}: {error}"[:500]}


def _profile(run: Call, steps: int) -> dict[str, Any]:
    """Returns what the kernels of a run take; says why where there is no profile of a card."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    options.host_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            run()
        files = list(Path(folder).rglob("*.xplane.pb"))
        if not files:
            return {"missing": "the profiler wrote no file"}
        planes = list(jax.profiler.ProfileData.from_file(str(files[0])).planes)
        kernels = [
            (event.start_ns, event.start_ns + event.duration_ns, event.name)
            for plane in planes
            if plane.name.startswith("/device:GPU")
            for line in plane.lines
            if line.name.startswith("Stream")
            for event in line.events
        ]
        if not kernels:
            return {"missing": "no stream of a card", "planes": [plane.name for plane in planes]}
    span = max(end for _, end, _ in kernels) - min(begin for begin, _, _ in kernels)
    by_name: dict[str, list[float]] = {}
    for begin, end, name in kernels:
        by_name.setdefault(name, []).append(end - begin)
    longest = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:15]
    return {
        "kernels_a_step": len(kernels) / steps,
        "busy_seconds_a_step": 1e-9 * _covered((b, e) for b, e, _ in kernels) / steps,
        "span_seconds_a_step": 1e-9 * span / steps,
        "longest": [
            {
                "kernel": name[:120],
                "times_a_step": len(spent) / steps,
                "seconds_a_step": 1e-9 * sum(spent) / steps,
            }
            for name, spent in longest
        ],
    }


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Returns the length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def sweep(smoke: bool) -> dict[str, Any]:
    """Times the step of all replicas of a sweep, batch 64 and eight steps a call."""
    replicas = (1, 2) if smoke else (1, 4, 16)
    work = sentence_work(smoke, *((4, 4) if smoke else (64, STEPS)))
    several = min(8, len(work.batches))
    programs = {n: Steps(work, steps_per_call=several, replicas=n) for n in replicas}
    compiled, seconds = compile_together({n: steps.lowered for n, steps in programs.items()})
    timings = timed({n: steps.runner(compiled[n]) for n, steps in programs.items()})
    rates = {n: len(work.batches) / t.median for n, t in timings.items()}
    return {
        "compile_seconds": seconds,
        "sweeps": [
            {
                "replicas": n,
                "batch": work.config.train.batch_size,
                "steps_per_second_of_each": rates[n],
                "steps_per_second_together": n * rates[n],
                "step_seconds_spread": timings[n].spread / len(work.batches),
                "peak_bytes": peak_bytes(compiled[n]),
            }
            for n in replicas
        ],
    }


# Options by which XLA might run loops of small products faster.
COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    "as configured": {},
    "loops in command buffers": {
        "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,WHILE"
    },
    "no command buffers": {"xla_gpu_enable_command_buffer": ""},
    "loops doubled": {"xla_gpu_enable_while_loop_double_buffering": True},
    "loops unrolled": {"xla_gpu_enable_while_loop_unrolling": "WHILE_LOOP_UNROLLING_FULL_UNROLL"},
    "no Triton products": {"xla_gpu_enable_triton_gemm": False},
}


def compiler_options(smoke: bool) -> dict[str, Any]:
    """Times the step, batch 64, under options of the compiler; one that it refuses is told."""
    work = sentence_work(smoke, *((4, 4) if smoke else (64, STEPS)))
    one = Steps(work)
    steps = {name: one.again() for name in COMPILER_OPTIONS}
    compiled, refused = where_possible(
        {
            name: partial(steps[name].lowered.compile, compiler_options=options)
            for name, options in COMPILER_OPTIONS.items()
        }
    )
    timings = timed({name: steps[name].runner(compiled[name]) for name in compiled})
    return {
        "batch": work.config.train.batch_size,
        "refused": refused,
        "steps": [
            {
                "options": name,
                "set": COMPILER_OPTIONS[name],
                "step_seconds_median": t.median / len(work.batches),
                "step_seconds_spread": t.spread / len(work.batches),
            }
            for name, t in timings.items()
        ],
    }
