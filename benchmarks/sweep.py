"""A step of all replicas of a sweep, beside the same replicas as single runs in turn.

    python benchmarks/sweep.py --json sweep.json

NVRNN in the paper's size (configs/ptb.py:inputless, batch 20) and in that of the main job
(spherical_vae/config/defaults.py, batch 64), on seeded sentences with lengths like those of the
Penn Treebank. Compilation is apart: single runs compile each for itself, a sweep once.
"""

import argparse
from collections.abc import Callable

import jax
import numpy as np
import timing
from train_step import Work, hypers, load_config, sample_batches, seeded_sentences

from spherical_vae.config import base_config
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.system.malloc import keep_freed_memory
from spherical_vae.training.calls import in_turn, side_by_side, stack
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import TrainState, init_state, make_train_step

ALONE = "single runs in turn"


def works(arguments: argparse.Namespace) -> list[Work]:
    """Returns both sizes."""
    found = []
    for name, config in (("paper", load_config("ptb", "inputless")), ("main job", base_config())):
        vocabulary = config.data.vocabulary_size
        if arguments.smoke:
            vocabulary, config.encoder.hidden_size, config.decoder.hidden_size = 50, 8, 8
        split = seeded_sentences(8000 if not arguments.smoke else 400, vocabulary)
        batches = sample_batches(config, split, arguments.batches)
        found.append(Work(name, config, vocabulary, batches))
    return found


def trained(call: Callable, state: TrainState, work: Work, *inputs: object) -> TrainState:
    """Returns the state after a step on every batch."""
    for batch in work.batches:
        state = call(state, batch, *inputs)
    return jax.block_until_ready(state)


def candidates(work: Work, replicas: int) -> dict[str, Callable[[], object]]:
    """Returns the ways of training all replicas by one step a batch."""
    config = work.config
    model = build_vae(config, work.vocabulary)
    optimizer = build_optimizer(config.optimizer)
    step = make_train_step(model, optimizer, config)
    states = [init_state(init_params(model, seed), optimizer, config) for seed in range(replicas)]
    settings = [hypers(config, seed) for seed in range(replicas)]
    single = jax.jit(step, donate_argnums=0)
    active = np.ones(replicas, bool)

    def sweep(way: Callable) -> Callable[[], object]:
        call, held = jax.jit(way(step), donate_argnums=0), [jax.device_put(stack(states))]

        def run() -> None:
            held[0] = trained(call, held[0], work, stack(settings), active)

        return run

    found = {"sweep in turn": sweep(in_turn), "sweep side by side": sweep(side_by_side)}

    def alone() -> None:
        for i in range(replicas):
            states[i] = trained(single, states[i], work, settings[i])

    return {ALONE: alone, **found}


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Times both sizes; prints a table as it goes."""
    environment = timing.environment(arguments)
    print(f"{'':>30} {'ms a step and replica':>22} {'spread':>7} {'ratio':>6} {'first s':>8}")
    records = []
    for work in works(arguments):
        timings = timing.interleaved(candidates(work, arguments.replicas), arguments.repeats)
        steps = len(work.batches) * arguments.replicas
        for name, t in timings.items():
            record = {
                "implementation": name,
                "model": work.model,
                "batch": work.config.train.batch_size,
                "replicas": arguments.replicas,
                "step_seconds_median": t.median / steps,
                "step_seconds_spread": t.spread / steps,
                "ratio_to_single_runs": t.median / timings[ALONE].median,
                "first_seconds": t.first,
                **environment,
            }
            records.append(record)
            print(
                f"{work.model:>9}, {name:19s} {1e3 * t.median / steps:22.2f} "
                f"{1e3 * t.spread / steps:7.2f} {record['ratio_to_single_runs']:6.3f} "
                f"{t.first:8.1f}",
                flush=True,
            )
    return records


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--batches", type=int, default=2, help="trained on in each turn")
    arguments = timing.parse(parser, replicas=2, repeats=3)
    timing.refuse_busy_machine(arguments)
    keep_freed_memory()
    timing.write_records(arguments.json, run(arguments))


if __name__ == "__main__":
    main()
