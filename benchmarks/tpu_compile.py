"""The training step compiled for TPUs that need not be here: memory of a chip, and compile time.

    pip install "jax[tpu]"
    python benchmarks/tpu_compile.py --json tpu_compile.json

NVRNN of configs/ptb.py for one TPU v5e chip and, its batch split over them, for four. How fast the
chips would be, and whether their results are right, is not known without them.
"""

import argparse
import importlib.util
import os
import sys

import jax
import timing
from compiled import compile_step
from jax.experimental import topologies
from train_step import load_config

# The name of a topology, and the chips of one host where that is not the usual number.
TOPOLOGIES: dict[str, dict[str, tuple[int, ...]]] = {
    "v5e:1x1": {"chips_per_host_bounds": (1, 1, 1)},
    "v5e:2x2": {},
}


def refuse_without_libtpu() -> None:
    """Exits with status 2 where the compiler for TPUs is not installed."""
    try:
        found = importlib.util.find_spec("libtpu") is not None
    except ValueError:  # what stands in sys.modules is no module
        found = False
    if not found:
        print("refused: libtpu is missing; pip install 'jax[tpu]' has it", file=sys.stderr)
        raise SystemExit(2)


def compile_only() -> None:
    """Keeps JAX and libtpu from looking for chips, and from finding the program compiled."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    # libtpu would ask the cloud it runs in for these, and wait where there is none.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Compiles for all topologies; prints a table as it goes."""
    config, vocabulary = load_config("ptb", "standard"), 10_000
    config.train.batch_size = arguments.batch
    if arguments.smoke:
        vocabulary, config.encoder.hidden_size, config.decoder.hidden_size = 50, 8, 8
    print(f"{'':>8} {'chips':>5} {'MB a chip':>9} {'GFLOP':>8} {'compile s':>9}")
    records = []
    for topology, options in TOPOLOGIES.items():
        devices = topologies.get_topology_desc(topology, "tpu", **options).devices
        step = compile_step(config, vocabulary, arguments.slots, devices)
        records.append(
            {
                "model": "nvrnn",
                "topology": topology,
                "device": devices[0].device_kind,
                "devices": len(devices),
                "vocabulary": vocabulary,
                "batch": arguments.batch,
                "slots": arguments.slots,
                **step._asdict(),
                "busy_machine_allowed": bool(arguments.allow_busy or arguments.smoke),
                "versions": timing.versions("jax", "jaxlib", "libtpu"),
            }
        )
        print(
            f"{topology:>8} {len(devices):5d} {step.peak_bytes / 1e6:9.1f} "
            f"{step.flops_per_step / 1e9:8.2f} {step.compile_seconds:9.1f}",
            flush=True,
        )
    return records


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser, repeats=None)
    parser.add_argument("--batch", type=int, default=64, help="examples a step, over all chips")
    parser.add_argument("--slots", type=int, default=32, help="words of a padded sentence")
    arguments = timing.parse(parser, batch=8, slots=8)
    refuse_without_libtpu()
    timing.refuse_busy_machine(arguments)
    compile_only()
    timing.write_records(arguments.json, run(arguments))


if __name__ == "__main__":
    main()
