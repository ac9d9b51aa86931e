"""Jobs one after the other while there is time, each with a record; knows none of the jobs."""

import contextlib
import datetime
import importlib
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from spherical_vae.system.atomic_file import write_atomically

# A job that takes this many times its estimate hangs; but nothing is taken to hang so soon.
PATIENCE, SHORTEST_LIMIT = 5.0, 90.0


class Job(NamedTuple):
    """What is run and what it answers.

    Attributes:
      name: of the record.
      question: that the record answers, in a line.
      seconds: that it needs on a card, compilation included.
      function: `module:function` of this folder; takes `Settings` and `arguments`, returns JSON.
      arguments: further ones, by name.
    """

    name: str
    question: str
    seconds: float
    function: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Settings(NamedTuple):
    """What every job is told.

    Attributes:
      smoke: tiny sizes, only to see that it runs.
      seconds: left for this job.
      out: the folder of the records.
      corpora: `config.data.cache_dir`, the folder of prepared corpora; empty for the user's.
      compilation_cache: as the package's flag of that name.
    """

    smoke: bool
    seconds: float
    out: str
    corpora: str = ""
    compilation_cache: str = ""


def perform(job: Job, settings: Settings) -> dict[str, Any]:
    """Calls the function of a job; returns `status` and `result` or `error`, and where it ran."""
    module, _, function = job.function.partition(":")
    try:
        call = getattr(importlib.import_module(module), function)
        return {"status": "done", "result": call(settings, **job.arguments)}
    except Exception:
        return {"status": "failed", "error": traceback.format_exc()}


def serve(connection: Connection, settings: Settings) -> None:
    """Performs the jobs that come through a connection, until it is closed; a process of its own.

    Args:
      connection: gives a job and the seconds that are left; is given outcomes.
      settings: but for those seconds.
    """
    from spherical_vae.system.compilation_cache import keep_compiled_programs
    from spherical_vae.system.provenance import circumstances

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_compiled_programs(settings.compilation_cache)
    with contextlib.suppress(EOFError):
        while True:
            job, seconds = connection.recv()
            outcome = perform(job, settings._replace(seconds=seconds))
            with contextlib.suppress(RuntimeError):  # there is no device at all
                outcome |= circumstances()
            connection.send(outcome)


class Worker:
    """The process in which measurements run: what crashes or hangs there ends neither the queue."""

    def __init__(self, settings: Settings) -> None:
        self._smoke = settings.smoke
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, settings), daemon=True)
        self._process.start()
        other.close()

    def run(self, job: Job, seconds: float) -> dict[str, Any]:
        """Returns the outcome of a job, which is a failure where the process dies or hangs."""
        # Estimates are of a card, and a smoke run is on anything.
        longest = seconds if self._smoke else max(SHORTEST_LIMIT, PATIENCE * job.seconds)
        limit = min(seconds, longest)
        try:
            self._connection.send((job, limit))
            if not self._connection.poll(limit):
                return {"status": "failed", "error": f"no result within {limit:.0f} s: ended"}
            outcome: dict[str, Any] = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(10)
            status = self._process.exitcode
            return {"status": "failed", "error": f"its process ended with status {status}"}
        return outcome

    def close(self) -> None:
        """Ends the process, so that the memory of the card is free again."""
        self._connection.close()
        self._process.kill()
        self._process.join()


def run_queue(jobs: Sequence[Job], settings: Settings, archive: Path | None = None) -> list[str]:
    """Runs jobs one after the other while there is time, and says on standard error what becomes.

    Args:
      jobs: in the order in which they are run.
      settings: `seconds` are those of the whole queue.
      archive: all records are in this .tar.gz file after each job, if given.

    Returns:
      The names of the jobs that failed.
    """
    end, out = time.monotonic() + settings.seconds, Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    became: dict[str, str] = {}
    worker = None
    try:
        for job in jobs:
            path, left = out / f"{job.name}.json", end - time.monotonic()
            if _is_done(path, settings.smoke):
                became[job.name] = "done before"
                say(f"{job.name}: done before, in {path}")
                continue
            if job.seconds > left:
                became[job.name] = "skipped"
                say(f"{job.name}: skipped; it needs {job.seconds:.0f} s, {left:.0f} s are left")
                continue
            say(f"{job.name}: begins, {left:.0f} s are left; {job.question}")
            begin = time.monotonic()
            worker = worker or Worker(settings)
            outcome = worker.run(job, left)
            if outcome["status"] == "failed":
                # An error on the card may leave nothing in that process that works.
                worker.close()
                worker = None
            seconds = time.monotonic() - begin
            _write(path, _record(job, settings, seconds, outcome))
            if archive is not None:
                _pack(out, archive)
            became[job.name] = f"{outcome['status']} after {seconds:.1f} s"
            say(f"{job.name}: {became[job.name]}")
            if outcome["status"] == "failed":
                say(outcome["error"].rstrip())
    finally:
        if worker is not None:
            worker.close()
        say("\n".join(["", *(f"{name:<28}{what}" for name, what in became.items())]))
    return [name for name, what in became.items() if what.startswith("failed")]


def say(text: str) -> None:
    """Prints on standard error at once."""
    print(text, file=sys.stderr, flush=True)


def accelerators() -> list[str] | None:
    """Returns name, memory and driver of each card as its own tool has them, None without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()


def _is_done(path: Path, smoke: bool) -> bool:
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return False
    return record["status"] == "done" and record["smoke"] == smoke


def _record(job: Job, settings: Settings, seconds: float, outcome: dict[str, Any]) -> dict:
    from spherical_vae.system.provenance import commit

    return {
        "job": job.name,
        "question": job.question,
        "status": outcome["status"],
        "smoke": settings.smoke,
        "seconds": seconds,
        "estimated_seconds": job.seconds,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "accelerators": accelerators(),
        **{name: outcome[name] for name in ("device", "versions") if name in outcome},
        **{name: outcome[name] for name in ("result", "error") if name in outcome},
    }


def _write(path: Path, record: dict) -> None:
    write_atomically(path, json.dumps(record, indent=1) + "\n")


def _pack(out: Path, archive: Path) -> None:
    temporary = archive.with_name(f".{archive.name}.tmp")
    with tarfile.open(temporary, "w:gz") as file:
        for path in sorted(out.glob("*.json")):
            file.add(path, path.name)
    temporary.replace(archive)
