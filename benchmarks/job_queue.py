"""Jobs one after the other while there is time, each with a record; knows none of the jobs."""

import contextlib
import datetime
import importlib
import json
import multiprocessing
import operator
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from bring_home import CompiledPrograms, say, write_archive

from spherical_vae.system.atomic_file import write_atomically

# A job that takes this many times its estimate hangs; but nothing is taken to hang so soon.
PATIENCE, SHORTEST_LIMIT = 5.0, 90.0


class Job(NamedTuple):
    """A measurement and the question that it answers.

    Attributes:
      name: of the record.
      question: that the record answers, in a line.
      seconds: that it needs on a card, compilation included.
      function: `module:function` of this folder. It is told whether sizes are tiny, only to see
        that it runs, and returns JSON, in which `failed` has what does not hold, if anything.
    """

    name: str
    question: str
    seconds: float
    function: str


class Settings(NamedTuple):
    """Settings of a queue.

    Attributes:
      smoke: tiny sizes, only to see that it runs; records are those of `out`/smoke.
      seconds: for the whole queue.
      out: the folder of the records.
      compilation_cache: as the package's flag of that name.
      archive: if given, all records are in this .tar.gz file after each job, and beside it are the
        programs of a `compilation_cache` that is named.
    """

    smoke: bool
    seconds: float
    out: Path
    compilation_cache: str = ""
    archive: Path | None = None


def perform(job: Job, smoke: bool) -> dict[str, Any]:
    """Calls the function of a job; returns `status` and `result` or `error`."""
    module, _, function = job.function.partition(":")
    try:
        result = getattr(importlib.import_module(module), function)(smoke)
        # Here, where what is no JSON is the failure of this job alone; NumPy's numbers are some.
        text = json.dumps(result, default=operator.methodcaller("item"))
        return {"status": "done", "result": json.loads(text)}
    except Exception:
        return {"status": "failed", "error": traceback.format_exc()}


def serve(connection: Connection, settings: Settings) -> None:
    """Performs the jobs that come through a connection, until it is closed; a process of its own.

    Args:
      connection: gives jobs; is given outcomes, and where they ran.
      settings: of the queue.
    """
    from spherical_vae.system.compilation_cache import keep_compiled_programs
    from spherical_vae.system.provenance import circumstances

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_compiled_programs(settings.compilation_cache)
    with contextlib.suppress(EOFError):
        while True:
            outcome = perform(connection.recv(), settings.smoke)
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
            self._connection.send(job)
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


def run_queue(jobs: Sequence[Job], settings: Settings) -> list[str]:
    """Runs jobs one after the other while there is time, and says on standard error what becomes.

    Args:
      jobs: in the order in which they are run.
      settings: of the queue.

    Returns:
      The names of the jobs that failed, or found something that does not hold.
    """
    end, out = time.monotonic() + settings.seconds, settings.out
    # A record of a smoke run is no measurement, and must not take the place of one.
    folder = out / "smoke" if settings.smoke else out
    folder.mkdir(parents=True, exist_ok=True)
    bring_home = _keep_bringing_home(settings)
    became: dict[str, str] = {}
    failed: list[str] = []
    worker = None
    try:
        for job in jobs:
            path, left = folder / f"{job.name}.json", end - time.monotonic()
            record = _done_before(path, settings.smoke)
            if record is not None:
                became[job.name] = f"done before, at commit {record['commit']}"
            elif job.seconds > left:
                became[job.name] = f"skipped; it needs {job.seconds:.0f} s, {left:.0f} s are left"
            else:
                say(f"{job.name}: begins, {left:.0f} s are left; {job.question}")
                begin = time.monotonic()
                worker = worker or Worker(settings)
                outcome = worker.run(job, left)
                if outcome["status"] == "failed":
                    # An error on the card may leave nothing in that process that works.
                    worker.close()
                    worker = None
                record = _record(job, settings, time.monotonic() - begin, outcome)
                write_atomically(path, json.dumps(record, indent=1) + "\n")
                bring_home()
                became[job.name] = f"{record['status']} after {record['seconds']:.1f} s"
            wrong = _failures(record) if record else []
            if wrong:
                failed.append(job.name)
            say("\n".join([f"{job.name}: {became[job.name]}", *wrong]))
    finally:
        if worker is not None:
            worker.close()
        bring_home()
        say("\n".join(["", *(f"{name:<28}{what}" for name, what in became.items())]))
        if failed:
            say(f"failed: {', '.join(failed)}")
    return failed


def accelerators() -> list[str] | None:
    """Returns name, memory and driver of each card as its own tool has them, None without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()


def _keep_bringing_home(settings: Settings) -> Callable[[], None]:
    """Returns what writes the archive as it should be now, if one is asked for."""
    archive, cache = settings.archive, settings.compilation_cache
    if archive is None:
        return lambda: None
    archive.parent.mkdir(parents=True, exist_ok=True)
    programs = CompiledPrograms("" if cache == "none" else cache, archive.parent)

    def write() -> None:
        records = [*settings.out.glob("*.json"), *settings.out.glob("smoke/*.json")]
        write_archive(archive, sorted(records), settings.out)
        programs.write()

    return write


def _failures(record: dict[str, Any]) -> list[str]:
    """Returns the error of a record, or what does not hold by its result."""
    if "error" in record:
        return [record["error"].rstrip()]
    result = record.get("result")
    return result.get("failed", []) if isinstance(result, dict) else []


def _commit() -> str | None:
    from spherical_vae.system.provenance import ROOT, commit

    return commit(ROOT, "benchmarks")


def _done_before(path: Path, smoke: bool) -> dict[str, Any] | None:
    """Returns the record of a job that is done at this commit; one of another is of other code."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = record["status"], record["smoke"], record["commit"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        say(f"{path}: not a record ({error}); its job runs anew")
        return None
    # Code that no commit names may be any other.
    commit = _commit()
    named = commit is not None and not commit.endswith("-modified")
    return record if named and known == ("done", smoke, commit) else None


def _record(job: Job, settings: Settings, seconds: float, outcome: dict[str, Any]) -> dict:
    return {
        "job": job.name,
        "question": job.question,
        "status": outcome["status"],
        "smoke": settings.smoke,
        "seconds": seconds,
        "estimated_seconds": job.seconds,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "accelerators": accelerators(),
        **{name: outcome[name] for name in ("device", "versions") if name in outcome},
        **{name: outcome[name] for name in ("result", "error") if name in outcome},
    }
