"""The job `agreement`: what the first device computes, held against the CPU."""

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import sampler as sampler_benchmark
import special as special_benchmark
import timing
import train_step as step_benchmark
from accelerator_timing import COMPILERS, changed, relative_norm
from pack_accelerator import lacking, requirements
from packaging.utils import canonicalize_name
from train_step import Work, hypers, load_config

from spherical_vae.data.batch import Batch
from spherical_vae.data.batches import epoch_batches
from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.compute import Compute
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.objectives.bounds import elbo_terms
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.special import bessel_ratio
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import init_state, make_train_step

# Of the small models: enough for three batches, the last of them of padding in part.
EXAMPLES, WORDS = 44, 300


class Check(NamedTuple):
    """One comparison.

    Attributes:
      name: what is compared, and how the error is counted.
      tolerance: the largest error that is taken for rounding; several where there are several.
      error: computes it.
    """

    name: str
    tolerance: float | tuple[float, ...]
    error: Callable[[], float | tuple[float, ...]]


# Tolerances are five times what one unit in the last place of every input changes, or more, and far
# below what products in TF32 would.


def agreement(smoke: bool) -> dict[str, Any]:
    """Compares the first device with the CPU, and one precision with another."""
    size = 256 if smoke else 65_536
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
    known = {"check": check.name, "tolerance": check.tolerance}
    try:
        error = check.error()
    except Exception:  # one that cannot be compared must not hide the others
        return known | {"holds": False, "traceback": traceback.format_exc()}
    return known | {"holds": bool(np.all(np.less_equal(error, check.tolerance))), "error": error}


def on_both(function: Callable, *arguments: Any) -> tuple[Any, Any]:
    """Returns what a function gives on the first device and on the CPU, as NumPy arrays."""
    found = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        placed = jax.device_put(arguments, device)
        found.append(jax.tree.map(np.asarray, jax.jit(function)(*placed)))
    return found[0], found[1]


def flat(tree: Any) -> np.ndarray:
    """Returns all numbers of a tree in one array."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


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
        return float((np.abs(one - other) / np.maximum(1, concentration)).max())

    def moment(method: str) -> float:
        cosine = jax.jit(
            lambda k, m: von_mises_fisher.sample(k, m, kappa, (16 * size,), method) @ m
        )
        values = np.asarray(cosine(key, direction), np.float64)
        spread = values.std() / np.sqrt(values.size)
        return float(abs(values.mean() - float(bessel_ratio(d, kappa))) / spread)

    return [
        Check("transport samples, largest difference", 1e-5, transport),
        Check("wood samples, share of rows that differ by 1e-3", 1e-3, wood),
        Check("transport gradients, relative norm", 1e-5, gradient),
        Check("log_prob, largest difference over max(1, kappa)", 1e-5, log_prob),
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
        model = build_vae(changed(work.config, {"compute.dtype": dtype}), work.vocabulary)

        def loss(params: dict, batch: Batch, key: jax.Array) -> jax.Array:
            given = hypers(work.config)
            terms = elbo_terms(model, params, batch, key, hyper=given.latent, dropout=given.dropout)
            return (terms.reconstruction_nats + terms.kl_nats).mean()

        params = init_params(model, 0)
        return on_both(jax.value_and_grad(loss), params, work.batches[0], jax.random.key(1))

    def gradient_errors(work: Work) -> tuple[float, float]:
        pair = gradients(work)
        return relative_norm(*map(flat, pair)), relative_norm(*pair)

    def rounding() -> float:
        (_, half), (_, exact) = gradients(sentences, "bfloat16")[0], gradients(sentences)[0]
        return relative_norm(flat(half), flat(exact))

    def change(work: Work) -> float:
        # Plain gradient descent: what Adam makes of a tiny gradient is its sign.
        optimizer = build_optimizer(changed(work.config, {"optimizer.name": "sgd"}).optimizer)
        model = build_vae(work.config, work.vocabulary)
        step = make_train_step(model, optimizer, work.config)
        state = init_state(init_params(model, 0), optimizer, work.config)
        hyper = hypers(work.config)
        hyper = hyper._replace(learning_rate=np.float32(1.0))
        pair = on_both(step, state, work.batches[0], hyper)
        return relative_norm(
            *(flat(jax.tree.map(np.subtract, x.params, state.params)) for x in pair)
        )

    def evaluation(work: Work, kind: str) -> float:
        seeded = {"ptb": step_benchmark.seeded_sentences, "news20": step_benchmark.seeded_documents}
        split = seeded[work.model](EXAMPLES, WORDS)
        counts = np.ones(work.vocabulary, np.int64)
        words = Vocabulary(tuple(map(str, range(work.vocabulary))), counts)
        splits = dict.fromkeys(("train", "valid", "test"), split)
        corpus = Corpus("seeded", kind, words, splits, 0, ())
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
                f"{name}: loss and gradients, relative norm of all and of the worst array",
                (3e-5, 3e-4),
                partial(gradient_errors, work),
            ),
            Check(f"{name}: change by a step, relative norm", 1e-4, partial(change, work)),
            Check(f"{name}: bounds of an evaluation", 1e-5, partial(evaluation, work, kind)),
        )
    ] + [Check("NVRNN: gradients in bfloat16 against float32, relative norm", 3e-2, rounding)]


def _small_work(config: Any, seeded: Callable[[int, int], Split]) -> Work:
    config.latent.sampler = "transport"
    config.encoder.hidden_size = config.decoder.hidden_size = 64
    config.train.batch_size, config.data.buckets = 16, 1
    config.evaluation.batch_size, config.evaluation.importance_samples = 16, 10
    config.evaluation.chunk = 5
    split = seeded(EXAMPLES, WORDS)
    longest = (int(split.lengths.max()),)
    batches = list(epoch_batches(split, 16, longest, seed=0, epoch=0))
    return Work(config.data.name, config, WORDS, batches)
