"""Times the training step of NVRNN with and without each backward pass of our own.

    python benchmarks/own_gradients.py --json own_gradients.json

The step of configs/ptb.py, standard, d = 50, on the batches of train_step.py, in turns in one
process: as it is; with what JAX derives of the LSTM, or of the softmax, or of both; and with
dropout by `jax.random.uniform`. Values and gradients are the same functions; the masks of the last
one are others.
"""

import argparse
import contextlib
import inspect
import statistics
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
import timing
from train_step import nvrnn_work, ours

from spherical_vae.models import layers, softmax
from spherical_vae.random import threefry
from spherical_vae.system.malloc import keep_freed_memory

# What stands in for what while the step is made and compiled.
LSTM = (layers, "recurrence", inspect.unwrap(layers.recurrence))
SOFTMAX = (softmax, "_log_probs", inspect.unwrap(softmax._log_probs))
DROPOUT = (threefry, "uniform", jax.random.uniform)
WITHOUT = {
    "as it is": (),
    "LSTM as JAX derives it": (LSTM,),
    "softmax as JAX derives it": (SOFTMAX,),
    "both as JAX derives them": (LSTM, SOFTMAX),
    "dropout by jax.random.uniform": (DROPOUT,),
}


def main() -> None:
    """Parses the command line, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser)
    parser.add_argument("--batch", type=int, nargs="*", default=[20, 64])
    parser.add_argument("--batches", type=int, default=8, help="trained on in each turn")
    parser.add_argument("--ptb", type=Path, help="folder or archive of the Penn Treebank")
    parser.set_defaults(inputless=False)
    arguments = timing.parse(parser, batch=[4], batches=2, repeats=2)
    timing.refuse_busy_machine(arguments)
    keep_freed_memory()
    records = []
    for size in arguments.batch:
        work = nvrnn_work(arguments, size)
        candidates: dict[str, Callable[[], object]] = {}
        about = {}
        for name, changes in WITHOUT.items():
            with contextlib.ExitStack() as changed:
                for change in changes:
                    changed.enter_context(mock.patch.object(*change))
                candidates[name], about[name] = ours(work)
        print(
            f"\nbatch {size}; milliseconds a step\n{'':<30}{'median':>8}{'spread':>8}{'ratio':>7}"
        )
        timings = timing.interleaved(candidates, arguments.repeats)
        first = timings["as it is"].median
        for name, t in timings.items():
            milliseconds = [1e3 * x / len(work.batches) for x in (t.median, t.spread)]
            print(f"{name:<30}{milliseconds[0]:8.1f}{milliseconds[1]:8.1f}{t.median / first:7.2f}")
            records.append(
                {
                    "batch": size,
                    "backward": name,
                    "step_seconds_median": t.median / len(work.batches),
                    "step_seconds_spread": t.spread / len(work.batches),
                    "ratio_to_ours": t.median / first,
                    "tokens_a_step": statistics.fmean(int(b.counts.sum()) for b in work.batches),
                    **about[name],
                    **timing.environment(arguments),
                }
            )
    timing.write_records(arguments.json, records)


if __name__ == "__main__":
    main()
