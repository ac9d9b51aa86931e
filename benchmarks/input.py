"""Examples a second: of the input alone, of the training step alone, and of both together.

    python benchmarks/input.py --json input.json

The step is that of configs/ptb.py at batch 20. Sentences come from `--ptb`, or else are seeded with
lengths like those of Penn Treebank. `in turn`: a batch is made, copied and trained on before the
next is made; `prefetched`: by the thread of training.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import timing
import train_step

from spherical_vae.data.batch import Batch
from spherical_vae.data.batches import bucket_boundaries, epoch_batches
from spherical_vae.data.corpus import Split
from spherical_vae.data.loading import load_corpus
from spherical_vae.data.prefetch import prefetched
from spherical_vae.system.malloc import keep_freed_memory


class Feed:
    """The first batches of an epoch, made anew whenever they are gone through."""

    def __init__(self, split: Split, batch_size: int, buckets: int, count: int | None = None):
        self._split, self._batch_size, self._count = split, batch_size, count
        self._boundaries = bucket_boundaries(split.lengths, buckets)

    @property
    def examples(self) -> int:
        """Number of examples in one pass."""
        whole = len(self._split)
        return whole if self._count is None else min(whole, self._count * self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        batches = epoch_batches(self._split, self._batch_size, self._boundaries, seed=0, epoch=0)
        return itertools.islice(batches, self._count)


class InTurn:
    """Batches copied to the device one after the other."""

    def __init__(self, feed: Feed):
        self._feed = feed

    def __iter__(self) -> Iterator[Batch]:
        return map(jax.device_put, self._feed)


class Prefetched:
    """Batches made and copied ahead by a thread."""

    def __init__(self, feed: Feed):
        self._feed = feed

    def __iter__(self) -> Iterator[Batch]:
        with prefetched(self._feed, jax.device_put) as ahead:
            yield from ahead


def go_through(batches: Feed | InTurn | Prefetched) -> None:
    """Waits for every batch."""
    for batch in batches:
        jax.block_until_ready(batch)


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Times everything in turns; prints a table."""
    config = train_step.load_config("ptb", "standard")
    vocabulary, examples = config.data.vocabulary_size, 42_068
    if arguments.smoke:
        vocabulary, examples = 50, 500
        config.encoder.hidden_size = config.decoder.hidden_size = 8
    if arguments.ptb is None:
        split = train_step.seeded_sentences(examples, vocabulary)
    else:
        config.data.path = str(arguments.ptb)
        split = load_corpus(config.data).splits["train"]
    size, buckets = config.train.batch_size, config.data.buckets
    whole, some = Feed(split, size, buckets), Feed(split, size, buckets, arguments.batches)

    def trained(batches: object) -> Callable[[], object]:
        return train_step.ours(train_step.Work("nvrnn", config, vocabulary, batches))[0]

    candidates: dict[str, tuple[int, Callable[[], object]]] = {
        "input": (whole.examples, partial(go_through, whole)),
        "input, copied in turn": (whole.examples, partial(go_through, InTurn(whole))),
        "input, prefetched": (whole.examples, partial(go_through, Prefetched(whole))),
        "step": (some.examples, trained(list(some))),
        "step and input in turn": (some.examples, trained(InTurn(some))),
        "step, input prefetched": (some.examples, trained(Prefetched(some))),
    }
    calls = {name: call for name, (_, call) in candidates.items()}
    timings = timing.interleaved(calls, arguments.repeats)
    rates = {name: candidates[name][0] / t.median for name, t in timings.items()}
    print(f"{'':>24} {'examples/s':>11} {'spread':>7} {'of step':>8}")
    records = []
    for name, t in timings.items():
        print(
            f"{name:>24} {rates[name]:11,.0f} {t.spread / t.median:7.1%} "
            f"{rates[name] / rates['step']:8.2f}"
        )
        records.append(
            {
                "implementation": name,
                "model": "nvrnn",
                "batch": size,
                "examples": candidates[name][0],
                "examples_per_second_median": rates[name],
                "seconds_median": t.median,
                "seconds_spread": t.spread,
                "ratio_to_step": rates[name] / rates["step"],
                **timing.environment(arguments),
            }
        )
    return records


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser)
    parser.add_argument("--batches", type=int, default=8, help="trained on in each turn")
    parser.add_argument("--ptb", type=Path, help="folder or archive of the Penn Treebank")
    arguments = timing.parse(parser, batches=2, repeats=3)
    timing.refuse_busy_machine(arguments)
    keep_freed_memory()
    timing.write_records(arguments.json, run(arguments))


if __name__ == "__main__":
    main()
