"""Peak memory and FLOPs of the compiled training step, for a table of sizes and of options.

    python benchmarks/memory.py --json memory.json

NVRNN with the hidden sizes of configs/ptb.py, compiled for the first device that JAX finds. The
figures are the compiler's own: nothing is run and nothing is timed, so the machine may be busy and
need not have the memory.
"""

import argparse
from typing import Any, NamedTuple

import jax
import timing
from compiled import compile_step
from train_step import load_config

from spherical_vae.config.validation import validate


class Size(NamedTuple):
    """Size of a step that is compiled."""

    title: str
    vocabulary: int
    batch: int
    slots: int  # T of the padded batch


SIZES = (
    Size("10K words", 10_000, 20, 32),
    Size("10K words", 10_000, 20, 96),
    Size("10K words", 10_000, 64, 32),
    Size("10K words", 10_000, 64, 96),
    Size("100K words, long", 100_000, 32, 512),
)
TINY = (Size("tiny", 50, 4, 8),)
# Overrides of the configuration, each compiled at every size.
OPTIONS: dict[str, dict[str, Any]] = {
    "as configured": {},
    "gates anew": {"compute.recompute_gates": True},
    "4M logits": {"compute.logits_at_once": 2**22},
    "both": {"compute.recompute_gates": True, "compute.logits_at_once": 2**22},
}


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Compiles everything; prints a table as it goes."""
    device = jax.devices()[0]
    print(
        f"{'':>17} {'options':>14} {'batch':>5} {'slots':>5} {'peak MB':>9} {'GFLOP':>9} "
        f"{'compiler':>9}"
    )
    records = []
    for size in TINY if arguments.smoke else SIZES:
        for title, overrides in OPTIONS.items():
            config = load_config("ptb", "standard")
            if arguments.smoke:
                config.encoder.hidden_size = config.decoder.hidden_size = 8
            config.train.batch_size = size.batch
            # Locked, so that an option that the configuration lacks ends the benchmark.
            config.lock().update_from_flattened_dict(overrides)
            validate(config)
            step = compile_step(config, size.vocabulary, size.slots, [device])
            records.append(
                {
                    "model": "nvrnn",
                    "title": f"{size.title}, {title}",
                    "overrides": overrides,
                    "vocabulary": size.vocabulary,
                    "batch": size.batch,
                    "slots": size.slots,
                    "peak_bytes": step.peak_bytes,
                    "flops_per_step": step.flops_per_step,
                    "compiler_flops": step.compiler_flops,
                    "device": str(device.device_kind),
                    "versions": timing.versions("jax", "jaxlib"),
                }
            )
            print(
                f"{size.title:>17} {title:>14} {size.batch:5d} {size.slots:5d} "
                f"{step.peak_bytes / 1e6:9.1f} {step.flops_per_step / 1e9:9.2f} "
                f"{step.compiler_flops / 1e9:9.2f}",
                flush=True,
            )
    return records


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_output_arguments(parser)
    arguments = parser.parse_args()
    timing.write_records(arguments.json, run(arguments))


if __name__ == "__main__":
    main()
