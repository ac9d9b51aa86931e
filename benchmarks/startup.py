"""Seconds from the launch of training to its first finished step, with and without kept programs.

    python benchmarks/startup.py --json startup.json --manual_dir FOLDER

Each start is a process, `python -m spherical_vae.train`, ended as soon as its first step is in the
metrics file. `cold`: the folder of compiled programs is empty; `warm`: a whole short run has filled
it. The corpus is prepared and the files of Python are in the page cache in both. Programs are
counted in two starts of their own, which are not timed. With `--manual_dir`, a folder with the Penn
Treebank's archive, also configs/ptb.py.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import timing

ROOT = Path(__file__).parents[1]
# A single model, and nothing between the launch and the first line of the metrics but the step.
SHORT = {"baselines": "()", "train.steps": 2, "train.log_every": 1}
TINY = {
    "embedding_size": 8,
    "encoder.hidden_size": 8,
    "decoder.hidden_size": 8,
    "data.vocabulary_size": 50,
    "data.valid_fraction": 0.002,
}
POLL_SECONDS = 0.005
# Longer than any start; a process that hangs must not hang the benchmark.
LONGEST_SECONDS = 1800.0

# Trains, then tells on the last line what was asked of the compiler and found in the folder.
COUNTED = """
import collections, json, runpy, sys
import jax
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: counts.update([name]))
jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: counts.update([name]))
try:
    runpy.run_module("spherical_vae.train", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    if stop.code:
        raise
asked = counts["/jax/core/compile/backend_compile_duration"]
found = counts["/jax/compilation_cache/cache_hits"]
print(json.dumps({"asked": asked, "found": found, "device": jax.devices()[0].device_kind}))
"""


class Starts:
    """Starts of training with one configuration, in a folder of their own."""

    def __init__(self, config: str, settings: dict[str, object], folder: Path) -> None:
        """Prepares nothing yet.

        Args:
          config: name of a file in the folder `configs`.
          settings: overrides, by dotted key.
          folder: exists and is empty.
        """
        self._folder = folder
        self._runs = 0
        self._arguments = [f"--config={ROOT / 'configs' / config}.py"]
        settings = settings | {"data.cache_dir": folder / "corpora"}
        self._arguments += [f"--config.{key}={value}" for key, value in settings.items()]
        self.filled = folder / "filled"

    def counted(self) -> dict[str, object]:
        """Trains to the end with the kept programs.

        Returns:
          `asked`: programs that were asked for; `found`: of those in the folder; `device`.
        """
        with self._process(["-c", COUNTED], self.filled) as (process, _):
            told, errors = process.communicate(timeout=LONGEST_SECONDS)
            if process.returncode:
                raise SystemExit(f"training ended with status {process.returncode}:\n{errors}")
        return json.loads(told.splitlines()[-1])

    def seconds(self, warm: bool) -> float:
        """Returns the seconds to the first finished step of a start, which is then ended."""
        programs = self.filled if warm else self._folder / "empty"
        shutil.rmtree(self._folder / "empty", ignore_errors=True)
        start = time.perf_counter()
        with self._process(["-m", "spherical_vae.train"], programs) as (process, metrics):
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None:
                    raise SystemExit(
                        f"training ended before its first step:\n{process.communicate()[1]}"
                    )
                if time.perf_counter() - start > LONGEST_SECONDS:
                    raise SystemExit(f"no step within {LONGEST_SECONDS:.0f} s")
                time.sleep(POLL_SECONDS)
            return time.perf_counter() - start

    @contextmanager
    def _process(
        self, head: list[str], programs: Path
    ) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        self._runs += 1
        workdir = self._folder / f"run{self._runs}"
        command = [sys.executable, *head, *self._arguments, f"--workdir={workdir}"]
        # Settings of the user's cache would decide which programs are kept.
        variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JAX_COMPILATION", "JAX_PERSISTENT", "JAX_ENABLE_COMPILATION"))
        }
        process = subprocess.Popen(
            [*command, f"--compilation_cache={programs}"],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process, workdir / "metrics.jsonl"
        finally:
            # Nothing of what it would still do is wanted.
            process.kill()
            process.communicate()
            shutil.rmtree(workdir, ignore_errors=True)


def measure(config: str, starts: Starts, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Starts training with one configuration, cold and warm in turns."""
    counts = {"cold": starts.counted(), "warm": starts.counted()}
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    for turn in range(arguments.repeats):
        for cache in list(seconds)[:: -1 if turn % 2 else 1]:
            seconds[cache].append(starts.seconds(cache == "warm"))
    records = []
    for cache, values in seconds.items():
        count = counts[cache]
        records.append(
            {
                "config": config,
                "cache": cache,
                "seconds_to_first_step_median": statistics.median(values),
                "seconds_to_first_step_min": min(values),
                "starts": len(values),
                "compilations": count["asked"] - count["found"],
                "programs": count["asked"],
                "device": count["device"],
                "busy_machine_allowed": bool(arguments.allow_busy or arguments.smoke),
                "versions": timing.versions("jax", "jaxlib", "flax"),
            }
        )
        print(
            f"{config:>6} {cache:>5} {statistics.median(values):9.2f} {min(values):7.2f} "
            f"{records[-1]['compilations']:12d}",
            flush=True,
        )
    return records


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Measures all configurations; prints a table as it goes."""
    settings: dict[str, dict[str, object]] = {"kjv": {}}
    if arguments.manual_dir is not None:
        settings["ptb"] = {"data.manual_dir": arguments.manual_dir.absolute()}
    print(f"{'':>6} {'cache':>5} {'median s':>9} {'min s':>7} {'compilations':>12}")
    records = []
    for config, own in settings.items():
        with tempfile.TemporaryDirectory() as folder:
            chosen = SHORT | own | (TINY if arguments.smoke else {})
            records += measure(config, Starts(config, chosen, Path(folder)), arguments)
    return records


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser, repeats=5)
    parser.add_argument("--manual_dir", type=Path, help="folder with ptb.zip: also configs/ptb.py")
    arguments = timing.parse(parser, repeats=1)
    timing.refuse_busy_machine(arguments)
    # As an error, so that the process that was launched is ended too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    timing.write_records(arguments.json, run(arguments))


if __name__ == "__main__":
    main()
