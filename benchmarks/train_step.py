"""Training steps a second, ours and PyTorch's, on the same padded batches in one process.

    python benchmarks/train_step.py --json train_step.json --plot train_step.png

NVRNN has the size and training of configs/ptb.py, standard or `--inputless`, NVDM those of
configs/news20.py, both with d = 50. Batches come from `--ptb` and `--news20`, or else from seeded
corpora with lengths like theirs. PyTorch (`pip install -e ".[bench]"`) runs with one and with two
threads; the better counts.
A ratio is only given where the machine is free: see `RATE_FLOORS`.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import timing
from compiled import peak_bytes, product_flops
from ml_collections import ConfigDict

from spherical_vae.data.batch import END_ID, Batch
from spherical_vae.data.batches import bucket_boundaries, epoch_batches
from spherical_vae.data.corpus import Split
from spherical_vae.data.loading import load_corpus
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.system.malloc import keep_freed_memory
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import (
    Hyperparameters,
    hyperparameters,
    init_state,
    make_train_step,
)

# GFLOP/s that PyTorch reaches at (m, k, n) on two free cores: below, something else was running.
RATE_FLOORS = {(500, 400, 10_000): 150.0, (20, 400, 1600): 120.0}
CONFIGS = Path(__file__).parents[1] / "configs"


class Work(NamedTuple):
    """Batches that every implementation is timed on."""

    model: str
    config: ConfigDict
    vocabulary: int
    batches: list[Batch]

    @property
    def tokens(self) -> int:
        """Scored tokens of all batches."""
        return sum(int(batch.counts.sum()) for batch in self.batches)


def load_config(name: str, variant: str) -> ConfigDict:
    """Returns a configuration of the folder `configs`."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def seeded_sentences(examples: int, vocabulary: int) -> Split:
    """Returns sentences whose lengths are like those of the Penn Treebank, words by Zipf's law."""
    generator = np.random.default_rng(0)
    # Mean 21.1 and standard deviation 10.1 words, as there.
    words = 1 + generator.negative_binomial(5, 5 / (5 + 20.1), examples)
    words = np.minimum(words, 82)
    offsets = np.concatenate([[0], np.cumsum(words + 1)])
    ids = zipf(generator, int(offsets[-1]), vocabulary)
    ids[offsets[1:] - 1] = END_ID
    return Split(ids, None, offsets, None)


def seeded_documents(examples: int, vocabulary: int) -> Split:
    """Returns bags whose sizes are like those of 20 Newsgroups: 65 distinct words on average."""
    generator = np.random.default_rng(0)
    # Median 48, 887 at most in 10,705 documents.
    draws = np.exp(generator.normal(np.log(48), 0.8, examples))
    lengths = np.clip(draws.astype(np.int64), 2, min(887, vocabulary // 2))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    law = 1 / np.arange(10, vocabulary + 10)
    ids = [
        generator.choice(vocabulary, n, replace=False, p=law / law.sum()).astype(np.int32)
        for n in lengths
    ]
    counts = generator.geometric(0.65, int(offsets[-1])).astype(np.int32)
    return Split(np.concatenate(ids), counts, offsets, None)


def zipf(generator: np.random.Generator, size: int, vocabulary: int) -> np.ndarray:
    """Draws ids from 2 on with probability near 1 / rank."""
    law = 1 / np.arange(10, vocabulary + 8)
    return (2 + generator.choice(vocabulary - 2, size, p=law / law.sum())).astype(np.int32)


def sample_batches(config: ConfigDict, split: Split, count: int) -> list[Batch]:
    """Returns batches of the first epoch, spread evenly over its lengths."""
    boundaries = bucket_boundaries(split.lengths, config.data.buckets, int(split.lengths.max()))
    batches = list(epoch_batches(split, config.train.batch_size, boundaries, seed=0, epoch=0))
    batches = [batch for batch in batches if (batch.index >= 0).all()]
    batches.sort(key=lambda batch: int(batch.counts.sum()))
    places = (np.arange(count) + 0.5) / count * len(batches)
    # Then shuffled, as in training.
    return [batches[int(places[i])] for i in np.random.default_rng(0).permutation(count)]


def nvrnn_work(arguments: argparse.Namespace, batch_size: int) -> Work:
    """Returns NVRNN on sentences."""
    config = load_config("ptb", "inputless" if arguments.inputless else "standard")
    config.latent.dimension, config.latent.concentration = 50, 80.0
    config.train.batch_size = batch_size
    vocabulary = config.data.vocabulary_size
    if arguments.smoke:
        vocabulary, config.encoder.hidden_size, config.decoder.hidden_size = 50, 8, 8
    if arguments.ptb is None:
        split = seeded_sentences(42_068 // (100 if arguments.smoke else 1), vocabulary)
    else:
        config.data.path = str(arguments.ptb)
        split = load_corpus(config.data).splits["train"]
    return Work("nvrnn", config, vocabulary, sample_batches(config, split, arguments.batches))


def nvdm_work(arguments: argparse.Namespace, batch_size: int) -> Work:
    """Returns NVDM on documents."""
    config = load_config("news20", "fixed")
    config.latent.dimension = 50
    config.train.batch_size = batch_size
    vocabulary = config.data.vocabulary_size
    if arguments.news20 is None:
        split = seeded_documents(10_705 // (20 if arguments.smoke else 1), vocabulary)
    else:
        config.data.path = str(arguments.news20)
        split = load_corpus(config.data).splits["train"]
    return Work("nvdm", config, vocabulary, sample_batches(config, split, arguments.batches))


def hypers(config: ConfigDict, seed: int = 0) -> Hyperparameters:
    """Returns the configured ones as training passes them: scalars of the host."""
    configured = hyperparameters(config, config.optimizer.learning_rate)
    return configured._replace(seed=np.uint32(seed))


def ours(work: Work) -> tuple[Callable[[], object], dict[str, Any]]:
    """Returns a call that trains one step a batch, and what is known of the compiled step.

    One compiled shape for each padded length, as in training.
    """
    config = work.config
    model = build_vae(config, work.vocabulary)
    optimizer = build_optimizer(config.optimizer)
    state = init_state(init_params(model, config.seed), optimizer, config)
    hyper = hyperparameters(config, config.optimizer.learning_rate)
    step = jax.jit(make_train_step(model, optimizer, config), donate_argnums=0)
    compiled, start = {}, time.perf_counter()
    flops = {}
    for batch in work.batches:
        if batch.ids.shape not in compiled:
            traced = step.trace(state, batch, hyper)
            flops[batch.ids.shape] = product_flops(traced.jaxpr.jaxpr)
            compiled[batch.ids.shape] = traced.lower().compile()
    seconds = time.perf_counter() - start
    about = {
        "compile_seconds": seconds,
        "compiled_shapes": len(compiled),
        "peak_bytes": max(map(peak_bytes, compiled.values())),
        # Of a step on average; the body of a loop may be in the compiler's only once.
        "flops_per_step": statistics.fmean(flops[batch.ids.shape] for batch in work.batches),
        "compiler_flops": statistics.fmean(
            compiled[batch.ids.shape].cost_analysis()["flops"] for batch in work.batches
        ),
    }
    held = [state]

    def run() -> None:
        current = held[0]
        for batch in work.batches:
            current = compiled[batch.ids.shape](current, batch, hyper)
        held[0] = jax.block_until_ready(current)

    return run, about


def torch_peer(work: Work, device: str = "cpu", half: bool = False) -> Callable[[], object]:
    """Returns a call that trains one step a batch in PyTorch; `half` as for its `Trainer`."""
    import torch
    import torch_models

    torch.manual_seed(0)
    config = work.config
    latent = (config.latent.dimension, config.latent.concentration, config.dropout_rate)
    rate = config.optimizer.learning_rate
    if work.model == "nvrnn":
        model = torch_models.NVRNN(
            work.vocabulary,
            config.embedding_size,
            config.encoder.hidden_size,
            *latent,
            config.decoder.inputless,
        )
        batches = [torch_models.sequence_arguments(batch) for batch in work.batches]
    else:
        model = torch_models.NVDM(work.vocabulary, config.encoder.hidden_size, *latent)
        batches = [torch_models.bag_arguments(batch) for batch in work.batches]
    model = model.to(device)
    batches = [(tuple(x.to(device) for x in tensors), *counts) for tensors, *counts in batches]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[config.optimizer.name]
    optimizer = kind(model.parameters(), lr=rate, fused=True)
    trainer = torch_models.Trainer(
        model, optimizer, config.optimizer.clip_norm, config.train.nats_per == "token", half
    )
    return lambda: trainer.run(batches)


def with_threads(threads: int, run: Callable[[], object]) -> None:
    """Runs a PyTorch candidate with a number of threads."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    run()


def matmul_rates(repeats: int) -> dict[str, dict[tuple[int, int, int], float]]:
    """Measures GFLOP/s of XLA's and PyTorch's products, in turns; medians."""
    rates: dict[str, dict] = {}
    for m, k, n in RATE_FLOORS:
        generator = np.random.default_rng(0)
        left = generator.normal(size=(m, k)).astype(np.float32)
        right = generator.normal(size=(k, n)).astype(np.float32)
        times = max(1, int(4e9 // (2 * m * k * n)))
        product = jax.jit(jnp.matmul)
        operands = jnp.asarray(left), jnp.asarray(right)
        candidates: dict[str, Callable[[], object]] = {
            "xla": partial(repeat_xla, product, operands, times)
        }
        try:
            import torch

            tensors = torch.from_numpy(left), torch.from_numpy(right)
            for threads in (1, 2):
                call = partial(repeat_torch, tensors, times)
                candidates[f"torch, threads={threads}"] = partial(with_threads, threads, call)
        except ImportError as error:
            timing.name_missing("torch", error)
        for name, t in timing.interleaved(candidates, repeats).items():
            rates.setdefault(name, {})[m, k, n] = 2e-9 * m * k * n * times / t.median
    return rates


def repeat_xla(product: Callable, operands: tuple, times: int) -> None:
    """Multiplies some times."""
    result = None
    for _ in range(times):
        result = product(*operands)
    jax.block_until_ready(result)


def repeat_torch(operands: tuple, times: int) -> None:
    """Multiplies some times."""
    for _ in range(times):
        operands[0] @ operands[1]


def torch_rate(rates: dict[str, dict], shape: tuple[int, int, int]) -> float:
    """Returns PyTorch's better rate at a shape, 0 without PyTorch."""
    return max((r[shape] for name, r in rates.items() if name.startswith("torch")), default=0.0)


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Runs every model and batch size; prints a table as it goes."""
    environment = {
        **timing.environment(arguments, "torch"),
        "load_average_before": os.getloadavg()[0],
    }
    rates = matmul_rates(arguments.repeats)
    for name, found in rates.items():
        line = ", ".join(f"{v:.0f} at {'x'.join(map(str, s))}" for s, v in found.items())
        print(f"{name}: {line} GFLOP/s")
    free = all(torch_rate(rates, shape) >= floor for shape, floor in RATE_FLOORS.items())
    if not free:
        print("the machine is busy or has no PyTorch: no ratio is given", file=sys.stderr)
    best_rate = max(rate for found in rates.values() for rate in found.values())
    works = [nvrnn_work(arguments, size) for size in arguments.batch]
    works += [nvdm_work(arguments, size) for size in arguments.document_batch]
    records = []
    for work in works:
        records += measure(work, arguments, environment, best_rate, free)
    return [record | {"matmul_gflops": named_rates(rates)} for record in records]


def named_rates(rates: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Returns the rates with names that JSON can hold."""
    return {
        name: {"x".join(map(str, shape)): rate for shape, rate in found.items()}
        for name, found in rates.items()
    }


def measure(
    work: Work, arguments: argparse.Namespace, environment: dict, best_rate: float, free: bool
) -> list[dict[str, object]]:
    """Times all implementations of one model and batch size in turns."""
    run_ours, about = ours(work)
    candidates: dict[str, Callable[[], object]] = {"spherical_vae": run_ours}
    if not arguments.no_peers:
        try:
            for threads in (1, 2):
                name = f"torch, threads={threads}"
                candidates[name] = partial(with_threads, threads, torch_peer(work))
        except ImportError as error:
            timing.name_missing("torch", error)
    timings = timing.interleaved(candidates, arguments.repeats)
    steps, rows = len(work.batches), work.config.train.batch_size
    flops = about["flops_per_step"]
    slots = sum(batch.ids.size for batch in work.batches)
    peers = [t.median for name, t in timings.items() if name.startswith("torch")]
    print(
        f"\n{work.model} batch={rows}: {work.tokens / steps:.0f} tokens and "
        f"{flops / 1e9:.2f} GFLOP a step, {slots / work.tokens:.3f} slots a token"
    )
    print(f"{'':>18} {'ms a step':>10} {'spread':>7} {'tokens/s':>9} {'of bound':>9} {'ratio':>6}")
    records = []
    for name, t in timings.items():
        record = {
            "implementation": name,
            "model": work.model,
            "batch": rows,
            "tokens_per_second_median": work.tokens / t.median,
            "step_seconds_median": t.median / steps,
            "step_seconds_spread": t.spread / steps,
            "ratio_to_torch": min(peers) / t.median if free and peers else None,
            **environment,
        }
        share = None
        if name == "spherical_vae":  # The others do not form the same products.
            share = flops / best_rate / 1e9 / (t.median / steps)
            record |= about | {"share_of_matmul_bound": share}
        records.append(record)
        ratio = record["ratio_to_torch"]
        print(
            f"{name:>18} {1e3 * t.median / steps:10.2f} {1e3 * t.spread / steps:7.2f} "
            f"{record['tokens_per_second_median']:9.0f} "
            f"{'-' if share is None else format(share, '.2f'):>9} "
            f"{'-' if ratio is None else format(ratio, '.2f'):>6}",
            flush=True,
        )
    return records


def plot(path: Path, records: list[dict]) -> None:
    """Draws tokens a second of every implementation, a panel for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(record["model"] for record in records))
    figure, panels = pyplot.subplots(1, len(models), figsize=(5 * len(models), 4), squeeze=False)
    for panel, model in zip(panels[0], models, strict=True):
        chosen = [record for record in records if record["model"] == model]
        names = list(dict.fromkeys(record["implementation"] for record in chosen))
        sizes = list(dict.fromkeys(record["batch"] for record in chosen))
        for i, name in enumerate(names):
            rates = [r["tokens_per_second_median"] for r in chosen if r["implementation"] == name]
            places = np.arange(len(sizes)) + i / (len(names) + 1)
            panel.bar(places, rates, 1 / (len(names) + 1), label=name)
        panel.set_xticks(np.arange(len(sizes)), [f"batch {size}" for size in sizes])
        panel.set(title=model, ylabel="tokens a second")
    panels[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser)
    parser.add_argument("--batch", type=int, nargs="*", default=[20, 64], help="of NVRNN")
    parser.add_argument("--document-batch", type=int, nargs="*", default=[50, 100], help="of NVDM")
    parser.add_argument("--batches", type=int, default=8, help="trained on in each turn")
    parser.add_argument("--inputless", action="store_true", help="the decoder sees z only")
    parser.add_argument("--ptb", type=Path, help="folder or archive of the Penn Treebank")
    parser.add_argument("--news20", type=Path, help="folder or archive of 20 Newsgroups")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--give-back-memory", action="store_true", help="as without malloc.py")
    parser.add_argument("--plot", type=timing.new_file, help="write the plot to this file")
    arguments = timing.parse(parser, batch=[4], document_batch=[5], batches=2, repeats=3)
    timing.refuse_busy_machine(arguments)
    if not arguments.give_back_memory:
        # For both libraries alike, and as the commands of the package do.
        keep_freed_memory()
    records = run(arguments)
    timing.write_records(arguments.json, records)
    if arguments.plot is not None:
        plot(arguments.plot, records)


if __name__ == "__main__":
    main()
