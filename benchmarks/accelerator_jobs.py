"""What `accelerator.py` measures: a function for each job, which returns what its record holds.

Times are medians of calls that wait for their result, in turns, compilation apart. Programs of a
job are compiled side by side. All batches of one size have one padded length, so that few shapes
are compiled.
"""

import copy
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import sampler as sampler_benchmark
import special as special_benchmark
import timing
import train_step as step_benchmark
from compiled import peak_bytes, product_flops
from job_queue import Settings
from pack_accelerator import lacking, requirements
from packaging.utils import canonicalize_name
from train_step import Work, load_config

from spherical_vae.chunks import chunks, make_call, stack_hyperparameters
from spherical_vae.compute import Compute
from spherical_vae.data.batches import epoch_batches
from spherical_vae.data.corpus import END_ID, Batch, Corpus, Split, Vocabulary
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.evaluation import Evaluator
from spherical_vae.keys import Purpose, root_key
from spherical_vae.objectives import elbo_terms
from spherical_vae.optim import build_optimizer
from spherical_vae.recurrence import Kernels, recurrence
from spherical_vae.replicas import side_by_side, stack
from spherical_vae.special import bessel_ratio
from spherical_vae.train_step import Hyperparameters, init_state, make_train_step
from spherical_vae.vae import build_vae, init_params

# Nothing waits busily for a card, and its time is scarce.
timing.PAUSE = 0.01
REPEATS = 5
# Programs that are compiled at a time.
COMPILERS = 8
# Slots of a padded sentence: near the mean of the Penn Treebank, 22 with the end mark.
SLOTS = 24
STEPS = 32  # between two looks at the clock
BATCHES = (20, 64, 256, 1024)

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


def where_possible(makers: dict[Any, Callable[[], Any]]) -> tuple[dict[Any, Any], dict[str, str]]:
    """Calls functions side by side; returns what they made, and of those that failed the errors."""
    made, refused = {}, {}
    with ThreadPoolExecutor(COMPILERS) as pool:
        futures = {key: pool.submit(make) for key, make in makers.items()}
        for key, future in futures.items():
            try:
                made[key] = future.result()
            except Exception as error:
                name = key if isinstance(key, str) else ", ".join(key)
                refused[name] = f"{type(error).__name__}: {error}"[:500]
    return made, refused


def timed(calls: dict[Any, Call]) -> dict[Any, timing.Timing]:
    """Times calls that wait for their results, in turns."""
    return timing.interleaved(calls, REPEATS)


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
            "copy": partial(sampler_benchmark.waited_for, jax.jit(jnp.negative), x),
            "float32": partial(sampler_benchmark.waited_for, exact, square, square),
            "bfloat16": partial(sampler_benchmark.waited_for, jax.jit(jnp.matmul), half, half),
        }
    )
    return {
        "copy_bytes_per_second": 2 * x.nbytes / timings["copy"].median,
        "float32_product_flops_per_second": 2 * side**3 / timings["float32"].median,
        "bfloat16_product_flops_per_second": 2 * side**3 / timings["bfloat16"].median,
    }


# Agreement.


class Check(NamedTuple):
    """One comparison.

    Attributes:
      name: what is compared, and how the error is counted.
      tolerance: the largest error that is taken for rounding.
      error: computes it.
    """

    name: str
    tolerance: float
    error: Callable[[], float]


def agreement(settings: Settings) -> dict[str, Any]:
    """Compares the first device with the CPU, and one precision with another."""
    size = 256 if settings.smoke else 65_536
    checks = [
        *_sampler_checks(size),
        *_special_checks(),
        Check("float32 product against float64, relative norm", 1e-6, _product_error),
        *_model_checks(),
    ]
    # Most of the time goes into compiling.
    with ThreadPoolExecutor(COMPILERS) as pool:
        records = list(pool.map(_compared, checks))
    return {
        "seen": [str(device) for device in jax.devices()],
        "unmet_requirements": unmet_requirements(),
        "is_accelerator": jax.devices()[0].platform != "cpu",
        "all_hold": all(record["holds"] for record in records),
        "failed": [record["check"] for record in records if not record["holds"]],
        "checks": records,
    }


def unmet_requirements() -> list[str]:
    """Returns those of the package's requirements that are missing here or too old."""
    needed = requirements()
    found = timing.versions(*(requirement.name for requirement in needed))
    here: dict[str, str | None] = {canonicalize_name(k): found[k] for k in found}
    return [f"{text}: {why}" for text, why in lacking(here, needed).items()]


def _compared(check: Check) -> dict[str, Any]:
    error, told = float("nan"), {}
    try:
        error = float(check.error())
    except Exception:  # one that cannot be compared must not hide the others
        told = {"traceback": traceback.format_exc()}
    known = {"check": check.name, "tolerance": check.tolerance}
    return {**known, "holds": error <= check.tolerance, "error": error, **told}


def on_both(function: Callable, *arguments: Any) -> tuple[Any, Any]:
    """Returns what a function gives on the first device and on the CPU, as NumPy arrays."""
    found = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        placed = jax.device_put(arguments, device)
        found.append(jax.tree.map(np.asarray, jax.jit(function)(*placed)))
    return found[0], found[1]


def relative_norm(one: Any, other: Any) -> float:
    """Returns |one - other| / |other| of the leaves of two trees, the largest."""
    errors = [
        np.linalg.norm(np.ravel(x).astype(np.float64) - np.ravel(y).astype(np.float64))
        / max(float(np.linalg.norm(np.ravel(y).astype(np.float64))), 1e-30)
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        if np.any(y)
    ]
    return float(max(errors))


def _sampler_checks(size: int) -> list[Check]:
    d, kappa = 50, 80.0
    direction = sampler_benchmark.unit_rows(1, d)[0]
    rows = sampler_benchmark.unit_rows(size, d)
    concentration = np.geomspace(0.1, 1e4, size).astype(np.float32)
    key = jax.random.key(0)

    def draws(method: str) -> tuple[np.ndarray, np.ndarray]:
        return on_both(
            lambda k, m, c: von_mises_fisher.sample(k, m, c, (), method), key, rows, concentration
        )

    def transport() -> float:
        one, other = draws("transport")
        return float(np.abs(one - other).max())

    def wood() -> float:
        one, other = draws("wood")
        return float((np.abs(one - other).max(axis=1) > 1e-3).mean())

    def gradient() -> float:
        def total(m: jax.Array, c: jax.Array, k: jax.Array, bar: jax.Array) -> jax.Array:
            return (von_mises_fisher.sample(k, m, c, (), "transport") * bar).sum()

        few = rows[:256], concentration[:: max(1, size // 256)][:256]
        return relative_norm(*on_both(jax.grad(total, (0, 1)), *few, key, rows[:256][::-1].copy()))

    def log_prob() -> float:
        one, other = on_both(von_mises_fisher.log_prob, rows[::-1].copy(), rows, concentration)
        return float((np.abs(one - other) / np.maximum(1, np.abs(other))).max())

    def moment(method: str) -> float:
        cosine = jax.jit(
            lambda k, m: von_mises_fisher.sample(k, m, kappa, (16 * size,), method) @ m
        )
        values = np.asarray(cosine(key, direction), np.float64)
        spread = values.std() / np.sqrt(values.size)
        return float(abs(values.mean() - float(bessel_ratio(d, kappa))) / spread)

    return [
        Check("transport samples, largest difference", 1e-4, transport),
        Check("wood samples, share of rows that differ by 1e-3", 1e-3, wood),
        Check("transport gradients, relative norm", 1e-4, gradient),
        Check("log_prob, largest difference over max(1, |value|)", 1e-5, log_prob),
        # Six standard deviations: missed by chance less than once in a hundred million runs.
        *(
            Check(f"mean cosine of {method}, in standard deviations", 6.0, partial(moment, method))
            for method in von_mises_fisher.METHODS
        ),
    ]


def _special_checks() -> list[Check]:
    points = special_benchmark.GRID.astype(np.float32)

    def error(function: Callable) -> float:
        pairs = zip(*map(jax.tree.leaves, on_both(function, points)), strict=True)
        return max(float((np.abs(x - y) / np.maximum(1e-30, np.abs(y))).max()) for x, y in pairs)

    return [
        Check(f"{name} at d={d}, relative", 1e-5, partial(error, function))
        for d in (3, 50)
        for name, function in special_benchmark.our_functions(d).items()
        if name != "log_iv"  # it passes through zero; the others are made of it
    ]


def _product_error() -> float:
    generator = np.random.default_rng(0)
    left, right = (generator.normal(size=(512, 512)).astype(np.float32) for _ in range(2))
    found = np.asarray(jax.jit(Compute().product)(left, right))
    return relative_norm(found, left.astype(np.float64) @ right.astype(np.float64))


def _model_checks() -> list[Check]:
    sentences = _small_work(load_config("ptb", "standard"), step_benchmark.seeded_sentences)
    documents = _small_work(load_config("news20", "fixed"), step_benchmark.seeded_documents)

    def gradients(work: Work, dtype: str = "float32") -> tuple[Any, Any]:
        model = build_vae(_with(work.config, {"compute.dtype": dtype}), work.vocabulary)

        def loss(params: dict, batch: Batch, key: jax.Array) -> jax.Array:
            kappa, rate = jnp.float32(work.config.latent.concentration), jnp.float32(0.2)
            terms = elbo_terms(model, params, batch, key, concentration=kappa, dropout_rate=rate)
            return (terms.reconstruction_nats + terms.kl_nats).mean()

        params = init_params(model, 0)
        return on_both(jax.value_and_grad(loss), params, work.batches[0], jax.random.key(1))

    def rounding() -> float:
        (_, half), (_, exact) = gradients(sentences, "bfloat16")[0], gradients(sentences)[0]
        both = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(g)]) for g in (half, exact)]
        return relative_norm(*both)

    def change(work: Work) -> float:
        # Plain gradient descent: what Adam makes of a tiny gradient is its sign.
        optimizer = build_optimizer(_with(work.config, {"optimizer.name": "sgd"}).optimizer)
        model = build_vae(work.config, work.vocabulary)
        step = make_train_step(model, optimizer, work.config.train)
        state, hyper = init_state(init_params(model, 0), optimizer), _hyperparameters(work.config)
        hyper = hyper._replace(learning_rate=np.float32(1.0))
        ones = on_both(step, state, work.batches[0], hyper)
        return relative_norm(*(jax.tree.map(np.subtract, x.params, state.params) for x in ones))

    def evaluation(work: Work, kind: str) -> float:
        split = work.split
        assert split is not None
        counts = np.ones(work.vocabulary, np.int64)
        words = Vocabulary(tuple(map(str, range(work.vocabulary))), counts)
        splits = dict.fromkeys(("train", "valid", "test"), split)
        corpus = Corpus("seeded", kind, words, splits, 0, ())  # type: ignore[arg-type]
        model = build_vae(work.config, work.vocabulary)
        params, found = init_params(model, 0), []
        for device in (jax.devices()[0], jax.devices("cpu")[0]):
            with jax.default_device(device):
                nats = Evaluator(model, work.config, corpus).nats(
                    jax.device_put(params, device),
                    "valid",
                    jax.device_put(root_key(0, Purpose.SELECT), device),
                    importance_weighted=True,
                )
            found.append([nats.nll_nats, nats.iw_nll_nats])
        return relative_norm(*found)

    return [
        check
        for name, kind, work in (("NVRNN", "sequences", sentences), ("NVDM", "bags", documents))
        for check in (
            Check(
                f"{name}: loss and gradients, relative norm of the worst array",
                1e-4,
                lambda work=work: relative_norm(*gradients(work)),
            ),
            Check(f"{name}: change by a step, likewise", 1e-4, partial(change, work)),
            Check(f"{name}: bounds of an evaluation", 1e-5, partial(evaluation, work, kind)),
        )
    ] + [Check("NVRNN: gradients in bfloat16 against float32, relative norm", 3e-2, rounding)]


class SmallWork(NamedTuple):
    """As `Work`, with the split that the batches are of."""

    model: str
    config: Any
    vocabulary: int
    batches: list[Batch]
    split: Split


def _small_work(config: Any, seeded: Callable[[int, int], Split]) -> Any:
    config.latent.sampler = "transport"
    config.encoder.hidden_size = config.decoder.hidden_size = 64
    config.train.batch_size, config.data.buckets = 16, 1
    config.evaluation.batch_size, config.evaluation.importance_samples = 16, 10
    config.evaluation.chunk = 5
    split = seeded(48, 300)
    longest = (int(split.lengths.max()),)
    batches = list(epoch_batches(split, 16, longest, seed=0, epoch=0))
    return SmallWork("small", config, 300, batches, split)


def _with(config: Any, overrides: dict[str, Any]) -> Any:
    changed = copy.deepcopy(config)
    changed.update_from_flattened_dict(overrides)
    return changed


def _hyperparameters(config: Any, seed: int = 0) -> Hyperparameters:
    values = (config.optimizer.learning_rate, config.latent.concentration, 1.0, config.dropout_rate)
    return Hyperparameters(np.uint32(seed), *(np.float32(value) for value in values))


# The training step.


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
        config = _with(work.config, {"compute.dtype": dtype})
        model, optimizer = build_vae(config, work.vocabulary), build_optimizer(config.optimizer)
        self._state: Any = init_state(init_params(model, 0), optimizer)
        call: Callable = make_call(make_train_step(model, optimizer, config.train))

        def hypers(steps: int) -> tuple:
            def one(seed: int) -> Hyperparameters:
                return stack_hyperparameters([_hyperparameters(config, seed)] * steps)

            if not replicas:
                return (one(0),)
            return stack([one(seed) for seed in range(replicas)]), np.ones(replicas, bool)

        if replicas:
            call = side_by_side(call)
            widened = partial(jax.tree.map, lambda x: jnp.repeat(x[None], replicas, axis=0))
            self._state = jax.jit(widened)(self._state)
        self._calls = [
            (jax.device_put(chunk.batches), *hypers(chunk.steps))
            for chunk in chunks(work.batches, 0, steps_per_call, lambda _: False)
        ]
        traced = jax.jit(call, donate_argnums=0).trace(self._state, *self._calls[0])
        self.lowered = traced.lower()
        self.flops = product_flops(traced.jaxpr.jaxpr) / steps_per_call
        self.seconds: list[tuple[float, float]] = []
        self._compiled: Any = None

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


def train_step(settings: Settings) -> dict[str, Any]:
    """Times ours: NVRNN at every batch and precision, with several steps a call; NVDM at one."""
    sizes = (4,) if settings.smoke else BATCHES
    steps = 4 if settings.smoke else STEPS
    works = {size: sentence_work(settings.smoke, size, steps) for size in sizes}
    variants = [(size, dtype, 1) for size in sizes for dtype in ("float32", "bfloat16")]
    variants += [(size, "float32", several) for size in sizes[:2] for several in (8, 32)]
    variants += [(sizes[min(1, len(sizes) - 1)], "bfloat16", 32)]
    variants = [(size, dtype, min(several, steps)) for size, dtype, several in variants]
    documents = document_work(settings.smoke, 5 if settings.smoke else 100, steps)
    programs: dict[Any, tuple[Work, Steps]] = {
        ("nvrnn", *variant): (works[variant[0]], Steps(works[variant[0]], *variant[1:]))
        for variant in dict.fromkeys(variants)
    }
    for several in dict.fromkeys((1, steps)):
        key = "nvdm", documents.config.train.batch_size, "float32", several
        programs[key] = documents, Steps(documents, steps_per_call=several)
    records, seconds = _time_steps(programs)
    return {"ceilings": ceilings(settings.smoke), "compile_seconds": seconds, "steps": records}


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


def train_step_torch(settings: Settings) -> dict[str, Any]:
    """Times PyTorch on the same batches, eager, its LSTM by cuDNN on a card.

    Exact float32 (no TF32 anywhere), and bfloat16 by autocast.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = 4 if settings.smoke else STEPS
    works = [sentence_work(settings.smoke, n, steps) for n in ((4,) if settings.smoke else BATCHES)]
    works.append(document_work(settings.smoke, 5 if settings.smoke else 100, steps))
    calls = {
        (i, half): step_benchmark.torch_peer(work, device, half)
        for i, work in enumerate(works)
        for half in (False, True)
    }
    records = []
    for (i, half), measured in timed(calls).items():
        work = works[i]
        records.append(
            {
                "implementation": "torch",
                "model": work.model,
                "batch": work.config.train.batch_size,
                "dtype": "bfloat16 autocast" if half else "float32",
                "step_seconds_median": measured.median / len(work.batches),
                "step_seconds_spread": measured.spread / len(work.batches),
                "tokens_per_second": work.tokens / measured.median,
            }
        )
    return {
        "torch": torch.__version__,
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "cudnn": torch.backends.cudnn.version(),
        "how": "eager, fused optimisers, no TF32; the softmax sees no pads",
        "steps": records,
    }


def host(settings: Settings) -> dict[str, Any]:
    """Holds the host's time against the step's, and tells which kernels a profile has seen."""
    steps = 4 if settings.smoke else STEPS
    sizes = (4,) if settings.smoke else BATCHES[:2]
    programs: dict[Any, tuple[Work, Steps]] = {}
    for size in sizes:
        work = sentence_work(settings.smoke, size, steps)
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


def sweep(settings: Settings) -> dict[str, Any]:
    """Times the step of all replicas of a sweep, batch 64 and eight steps a call."""
    replicas = (1, 2) if settings.smoke else (1, 4, 16)
    work = sentence_work(settings.smoke, *((4, 4) if settings.smoke else (64, STEPS)))
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


def compiler_options(settings: Settings) -> dict[str, Any]:
    """Times the step, batch 64, under options of the compiler; one that it refuses is told."""
    work = sentence_work(settings.smoke, *((4, 4) if settings.smoke else (64, STEPS)))
    steps = {name: Steps(work) for name in COMPILER_OPTIONS}
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


# One LSTM layer.


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


def recurrence_job(settings: Settings) -> dict[str, Any]:
    """Times one LSTM layer, hidden 400 and T = 24, ours and cuDNN's, and compares them."""
    sizes = (4,) if settings.smoke else BATCHES[:3]
    shape = (6, 5, 8) if settings.smoke else (SLOTS, 100, 400)
    records: list[dict] = []
    missing: dict[str, str] = {}
    for rows in sizes:
        arguments = recurrence_inputs(shape[0], rows, *shape[1:])
        calls = {
            key: partial(sampler_benchmark.waited_for, program, *arguments)
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


# Samplers and special functions.


def sampler(settings: Settings) -> dict[str, Any]:
    """Times both samplers beside a normal sample and `mu + sigma normal`, up to ten million."""
    sizes, d, kappa = ((500,), 8, 80.0) if settings.smoke else ((100_000, 10_000_000), 50, 80.0)
    bandwidth = ceilings(settings.smoke)["copy_bytes_per_second"]
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
            # The samples; with parameters a row also directions; backward also both cotangents.
            least = array * ((4 if grad else 2) if parameters == "per_row" else 1)
            for record in sampler_benchmark.records_of(calls, REPEATS, common):
                taken = record["seconds_median"]
                # Programs were compiled before, together.
                del record["compile_seconds"]
                record["samples_per_second"] = n / taken
                record["least_bytes"] = least if record["method"] != "normal" else array
                record["bytes_per_second"] = record["least_bytes"] / taken
                record["over_copy"] = taken * bandwidth / record["least_bytes"]
                records.append(record)
    return {"copy_bytes_per_second": bandwidth, "samplers": records}


def special(settings: Settings) -> dict[str, Any]:
    """Times the special functions of ten million concentrations at d = 50."""
    elements, d = (1000, 5) if settings.smoke else (10_000_000, 50)
    bandwidth = ceilings(settings.smoke)["copy_bytes_per_second"]
    points = 10.0 ** jax.random.uniform(jax.random.key(0), (elements,), minval=-3.0, maxval=6.0)
    functions = special_benchmark.our_functions(d)
    compiled, seconds = compile_together({k: f.lower(points) for k, f in functions.items()})
    timings = timed(
        {k: partial(sampler_benchmark.waited_for, f, points) for k, f in compiled.items()}
    )
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
