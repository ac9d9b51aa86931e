"""A queue of measurements for an accelerator that is at hand for minutes only.

    python benchmarks/accelerator.py --seconds=540 --out=DIR
    python benchmarks/accelerator.py --dry_run
    python benchmarks/accelerator.py --smoke --seconds=900 --out=DIR

Jobs run in order of worth, each as soon as the one before has ended. A job leaves DIR/NAME.json the
moment it is done, of a smoke run DIR/smoke/NAME.json; one that has left it at the same commit is
not run again. One that fails is reported, and the next begins; one whose estimate is more than the
seconds that are left is skipped. What is measured, and what the machine needs, is in
docs/accelerators.md.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bring_home import say
from job_queue import Job, Settings, run_queue

JOBS = (
    Job(
        "agreement",
        "do samplers, special functions, models and evaluation agree with the CPU?",
        55,
        "accelerator_agreement:agreement",
    ),
    Job(
        "train_step",
        "steps a second of NVRNN and NVDM: batch, precision, steps a call",
        225,
        "accelerator_steps:train_step",
    ),
    Job(
        "train_step_torch",
        "the same steps in PyTorch, its LSTM by cuDNN",
        45,
        "accelerator_steps:train_step_torch",
    ),
    Job(
        "host",
        "does the host keep the card waiting, and what is the time of a step spent on?",
        50,
        "accelerator_steps:host",
    ),
    Job(
        "recurrence",
        "is cuDNN's LSTM faster than ours, and does it agree?",
        60,
        "accelerator_functions:recurrence_job",
    ),
    Job(
        "sampler",
        "samples a second of both methods, over the copy bandwidth and a normal sample",
        35,
        "accelerator_functions:sampler",
    ),
    Job(
        "special",
        "special functions a second, over the copy bandwidth",
        15,
        "accelerator_functions:special",
    ),
    Job("sweep", "steps a second of 1, 4 and 16 replicas", 30, "accelerator_steps:sweep"),
    Job(
        "compiler_options",
        "which options of the compiler make a step faster?",
        40,
        "accelerator_steps:compiler_options",
    ),
)


def chosen(jobs: Sequence[Job], names: str) -> list[Job]:
    """Returns the jobs of a comma-separated list, where one is given, in its order.

    Raises:
      SystemExit: with status 2 where there is no such job.
    """
    if not names:
        return list(jobs)
    by_name = {job.name: job for job in jobs}
    unknown = [name for name in names.split(",") if name not in by_name]
    if unknown:
        say(f"--only: {unknown[0]!r} given, allowed: {', '.join(by_name)}")
        raise SystemExit(2)
    return [by_name[name] for name in names.split(",")]


def list_jobs(jobs: Sequence[Job]) -> None:
    """Prints a line for each job."""
    for job in jobs:
        print(f"{job.name:<20}{job.seconds:>5.0f} s  {job.question}")
    print(f"together: {sum(job.seconds for job in jobs):.0f} s")


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=540.0, help="for the whole queue")
    parser.add_argument("--out", type=Path, help="folder of the records")
    parser.add_argument("--only", default="", help="names of jobs, with commas, in this order")
    parser.add_argument("--dry_run", action="store_true", help="list the jobs, run none")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, only to see that it runs")
    parser.add_argument("--compilation_cache", default="", help="folder of compiled programs")
    parser.add_argument("--archive", type=Path, help="all records, a .tar.gz, after each job")
    arguments = parser.parse_args()
    jobs = chosen(JOBS, arguments.only)
    if arguments.dry_run:
        list_jobs(jobs)
        return
    if arguments.out is None:
        parser.error("--out=DIR is missing")
    # Libraries share the card: none may take most of its memory before it needs it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if arguments.smoke:
        # Whatever has to be computed is little: most of the time would go into compiling it well.
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    # As an error, so that processes that were started are ended too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    settings = Settings(
        arguments.smoke,
        arguments.seconds,
        arguments.out,
        arguments.compilation_cache,
        arguments.archive,
    )
    if run_queue(jobs, settings):
        sys.exit(1)


if __name__ == "__main__":
    main()
