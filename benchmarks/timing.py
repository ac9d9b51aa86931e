"""Shared by the benchmarks: refuse a busy machine, time candidates interleaved, write records."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

# Share of the processors that others may use before timings mean nothing.
BUSY_SHARE = 0.1
MOST_LOAD = 0.5
# Seconds; a clock and a scheduler do not resolve single calls of microseconds.
SHORTEST_TURN = 0.01
# Seconds; threads of one library wait busily for more work, and must not do it in another's turn.
PAUSE = 0.3


class Timing(NamedTuple):
    """Seconds of one candidate; the first call, with its compilation, is apart."""

    first: float
    median: float
    smallest: float
    spread: float  # between the quartiles


def busy_share(seconds: float = 1.0) -> float | None:
    """Measures which share of all processors is in use, or None where the system does not say."""
    source = Path("/proc/stat")
    if not source.exists():
        return None

    def read() -> tuple[int, int]:
        fields = [int(x) for x in source.read_text().splitlines()[0].split()[1:]]
        return sum(fields[:8]), fields[3] + fields[4]

    total, idle = read()
    time.sleep(seconds)
    later_total, later_idle = read()
    return 1.0 - (later_idle - idle) / max(1, later_total - total)


def refuse_busy_machine(arguments: argparse.Namespace) -> None:
    """Exits with status 2 where something else is running, unless told to go on."""
    if arguments.smoke or arguments.allow_busy:
        return
    share = busy_share()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if share is None:
        print("cannot tell whether this machine is busy; going on", file=sys.stderr)
    elif load > MOST_LOAD:
        print(
            f"refused: the load average of the last minute is {load:.2f}, at most {MOST_LOAD} may "
            "be; wait, or pass --allow-busy (the records will say so)",
            file=sys.stderr,
        )
        raise SystemExit(2)
    elif share > BUSY_SHARE:
        print(
            f"refused: {share:.0%} of the processors are in use, at most {BUSY_SHARE:.0%} may be; "
            "wait, or pass --allow-busy (the records will say so)",
            file=sys.stderr,
        )
        raise SystemExit(2)


def waited_for(function: Callable, *arguments: object) -> object:
    """Returns a result when it is there."""
    return jax.block_until_ready(function(*arguments))


def interleaved(
    candidates: dict[Any, Callable[[], object]], repeats: int, pause: float = PAUSE
) -> dict[Any, Timing]:
    """Times candidates in turns, so that a drift of the machine falls on all of them alike.

    Args:
      candidates: each returns only when its result is there. One that takes less than
        `SHORTEST_TURN` is called several times a turn, each call waiting for the one before.
      repeats: turns.
      pause: seconds before each turn.
    """
    first = {name: _seconds(call, 1) for name, call in candidates.items()}
    calls = {
        name: max(1, int(SHORTEST_TURN / _seconds(call, 1))) for name, call in candidates.items()
    }
    seconds: dict[Any, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats):
        # Every other turn goes backwards: no candidate always follows the same neighbour.
        for name in list(candidates)[:: -1 if turn % 2 else 1]:
            time.sleep(pause)
            seconds[name].append(_seconds(candidates[name], calls[name]) / calls[name])
    result = {}
    for name, values in seconds.items():
        ordered = sorted(values)
        quarter = len(ordered) // 4
        spread = ordered[-1 - quarter] - ordered[quarter]
        result[name] = Timing(first[name], statistics.median(ordered), ordered[0], spread)
    return result


def _seconds(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - start


def versions(*packages: str) -> dict[str, str]:
    """Returns the versions of the installed ones among `packages`, and of Python."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def environment(arguments: argparse.Namespace, *packages: str) -> dict[str, Any]:
    """Returns what every record says of the machine, and the versions of some packages."""
    return {
        "device": str(jax.devices()[0].device_kind),
        "busy_machine_allowed": bool(arguments.allow_busy or arguments.smoke),
        "versions": versions("jax", "jaxlib", "numpy", *packages),
    }


def name_missing(peer: str, error: Exception) -> None:
    """Says on standard error that a peer is left out, and why."""
    reason = str(error).splitlines()[0] if str(error) else ""
    print(f"peer missing: {peer} ({type(error).__name__}: {reason})", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser, repeats: int | None = 15) -> None:
    """Adds the options of every benchmark that times; no --repeats where `repeats` is None."""
    add_output_arguments(parser)
    parser.add_argument(
        "--allow-busy", action="store_true", help="time on a busy machine all the same"
    )
    if repeats is not None:
        parser.add_argument("--repeats", type=positive, default=repeats)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every benchmark has."""
    parser.add_argument("--json", type=new_file, help="write the records to this file")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, only to see that it runs")


def positive(text: str) -> int:
    """Returns an argument as a number of 1 or more."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} given, allowed: 1 or more")
    return int(text)


def new_file(text: str) -> Path:
    """Returns an argument as the path of a file that can be made, before anything is measured."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def parse(parser: argparse.ArgumentParser, **smoke: Any) -> argparse.Namespace:
    """Parses the command line; with --smoke these are the defaults, and what is given counts."""
    if parser.parse_args().smoke:
        parser.set_defaults(**smoke)
    return parser.parse_args()


def write_records(path: Path | None, records: list[dict]) -> None:
    """Writes the records as JSON where a file is asked for."""
    if path is not None:
        path.write_text(json.dumps(records, indent=1) + "\n")
