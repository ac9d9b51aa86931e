"""Trains and measures rows of the paper's tables on an accelerator that is at hand for minutes.

    python benchmarks/accelerator_rows.py --seconds=540 --folder=DIR --out=OUT [CHAIN ...]
    python benchmarks/accelerator_rows.py --seconds=120 --folder=DIR --out=OUT

A CHAIN is `EXPERIMENT:SEEDS:TEXT`, several joined by `+`: each is `python -m paper EXPERIMENT
--scale=full --seeds=SEEDS --only=TEXT`, one after the other. Chains run side by side, since half of
the time is compilation, and go on when this command has ended: the same command without chains
waits for them further. DIR has the runs, a store and a log for each chain. OUT is given
`store.tar.gz`, the runs that the store of the clone lacks, the parameters of as many of them as
`--parameters` says, and compiled programs; all of it is renewed while the chains run, and whole at
any time. `--carried` has prepared corpora, and parameters by the ID of their run, from which other
runs start. The exit status is 1 if a chain that is over has failed in part. docs/accelerators.md
says how all of it comes and goes.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bring_home import CompiledPrograms, say, write_archive

ROOT = Path(__file__).parents[1]
STORE = ROOT / "results"
# Trying kernels on the card took a minute a program, and gave nothing that a step would show.
COMPILER_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
# Seconds between two renewals of what comes home.
RENEWAL = 20.0
# Files of a run that tell of it and are small; beside them lie checkpoints, locks and files that
# are being written.
TOLD = ("config.json", "metrics.jsonl", "starts.json", "*.examples.json")


def commands(chain: str, folder: Path) -> list[list[str]]:
    """Returns the commands of a chain.

    Raises:
      SystemExit: it is not written as a chain is, or one of its commands would train nothing.
    """
    # Late: it imports JAX, and waiting alone needs none of it.
    from paper.__main__ import is_chosen
    from paper.catalogue import EXPERIMENTS
    from paper.experiment import Computed

    grids = {k: one for k, one in EXPERIMENTS.items() if not isinstance(one, Computed)}
    found = []
    for link in chain.split("+"):
        experiment, seeds, text = [*link.split(":", 2), "", ""][:3]
        if not seeds.isdecimal() or not int(seeds) or link.count(":") < 2:
            sys.exit(f"{link!r} given; a chain is EXPERIMENT:SEEDS:TEXT, several joined by '+'")
        if experiment not in grids:
            sys.exit(f"{link!r}: {experiment!r} given, allowed: {', '.join(grids)}")
        names = [row.name for row in grids[experiment].rows("full")]
        if not any(is_chosen(name, text) for name in names):
            sys.exit(f"{link!r}: no row has {text!r} in its name; rows are {'; '.join(names)}")
        words = [sys.executable, "-m", "paper", experiment, "--scale=full", f"--seeds={seeds}"]
        words += [f"--workdir={folder / 'work'}", f"--results={folder / 'results'}"]
        found.append([*words, f"--only={text}"])
    return found


def environment(folder: Path, compilation_cache: str = "") -> dict[str, str]:
    """Returns variables by which a process finds our code, and the corpora that were carried."""
    places = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    if compilation_cache:
        variables["JAX_COMPILATION_CACHE_DIR"] = str(Path(compilation_cache).absolute())
    cache = folder / "cache"
    return variables | {"XDG_CACHE_HOME": str(cache)} if cache.exists() else variables


def begin(
    chains: list[list[list[str]]], folder: Path, carried: Path | None, compilation_cache: str
) -> None:
    """Starts the chains, each as a process that outlives this one."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    if not (folder / "results").exists():
        shutil.copytree(STORE, folder / "results")
    if carried is not None:
        cache = folder / "cache" / "spherical_vae"
        cache.parent.mkdir(exist_ok=True)
        cache.unlink(missing_ok=True)
        cache.symlink_to(carried.absolute() / "corpora")
        for packed in sorted((carried / "parameters").glob("*.json")):
            run = folder / "work" / "runs" / packed.stem
            if not run.exists() and not parameters("unpack", packed.with_suffix(""), run, folder):
                # A part of a run would stand in the way of the whole one.
                shutil.rmtree(run, ignore_errors=True)
    variables = environment(folder, compilation_cache) | {
        # None may take most of the memory that they share.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {COMPILER_FLAGS}".strip(),
        "TQDM_MININTERVAL": "20",
    }
    begun = len(list((folder / "logs").glob("*.log")))
    for i, chain in enumerate(chains, begun):
        log = folder / "logs" / f"{i}.log"
        ended, over = (shlex.quote(str(log.with_suffix(end))) for end in (".ended", ".over"))
        lines = [f"{shlex.join(words)}\necho $? >>{ended}" for words in chain]
        script = "\n".join([*lines, f"mv {ended} {over}"])
        with log.open("w") as file:
            subprocess.Popen(
                ["bash", "-xc", script],
                env=variables,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )


def parameters(way: str, source: Path, target: Path, folder: Path) -> bool:
    """Packs or unpacks the parameters of a run; the card is left to the chains.

    Returns:
      Whether it could be done; the reason is said if not.
    """
    variables = environment(folder) | {"JAX_PLATFORMS": "cpu"}
    script = ROOT / "benchmarks" / "carry_parameters.py"
    words = [sys.executable, str(script), way, str(source), str(target)]
    done = subprocess.run(words, env=variables, check=False).returncode == 0
    if not done:
        say(f"{source.name}: its parameters could not be {way}ed; the rest goes on")
    return done


class Home:
    """Files to bring home: the store with logs and curves, parameters, compiled programs."""

    def __init__(self, folder: Path, out: Path, most: int, compilation_cache: str) -> None:
        """Makes OUT.

        Args:
          folder: of runs, store and logs.
          out: of what comes home.
          most: runs whose parameters come along.
          compilation_cache: folder of the programs; empty for none of them.
        """
        out.mkdir(parents=True, exist_ok=True)
        self._folder, self._out, self._most = folder, out, most
        self._programs = CompiledPrograms(compilation_cache, out)
        self._tried: set[str] = set()
        self.packed: list[str] = []

    def renew(self) -> None:
        """Writes all of it as it is now."""
        results, packed = self._folder / "results" / "runs", self._folder / "packed"
        new = [path for path in sorted(results.glob("*.json")) if _is_new(path)]
        told = [*(self._folder / "logs").glob("[0-9]*")]
        for name in TOLD:
            told += (self._folder / "work" / "runs").glob(f"*/{name}")
        write_archive(self._out / "store.tar.gz", [*new, *sorted(told)], self._folder)
        self._programs.write()
        for name in (path.stem for path in new):
            if len(self.packed) == self._most:
                break
            if name in self._tried or (packed / f"{name}.json").exists():
                continue
            self._tried.add(name)
            run = self._folder / "work" / "runs" / name
            if parameters("pack", run, packed / name, self._folder):
                # The parts before the file that says how many they are.
                for path in sorted(packed.glob(f"{name}.*"), reverse=True):
                    shutil.copy(path, self._out)
                self.packed.append(name)


def _is_new(path: Path) -> bool:
    """Returns whether the store lacks a run, or what was measured of it since."""
    stored = STORE / "runs" / path.name
    return not stored.exists() or stored.read_bytes() != path.read_bytes()


def wait(folder: Path, end: float, home: Home) -> None:
    """Waits until all chains are over, or `time.monotonic()` is `end`; brings home meanwhile."""
    logs, renewed = list((folder / "logs").glob("*.log")), time.monotonic()
    while time.monotonic() < end and not all(log.with_suffix(".over").exists() for log in logs):
        time.sleep(1)
        if time.monotonic() > renewed + RENEWAL:
            home.renew()
            renewed = time.monotonic()
    home.renew()


def show(log: Path) -> bool:
    """Prints how a chain ended, or that it goes on, and its last lines; returns if it failed."""
    over = log.with_suffix(".over")
    statuses = over.read_text().split() if over.exists() else []
    what = f"ended with {', '.join(statuses)}" if statuses else "goes on"
    print(f"{log.name}: {what}", *log.read_text(errors="replace").splitlines()[-7:], sep="\n")
    return any(status != "0" for status in statuses)


def main() -> None:
    """Parses the command line."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=540.0, help="until this command ends")
    parser.add_argument("--folder", type=Path, required=True, help="of runs, store and logs")
    parser.add_argument("--out", type=Path, required=True, help="of what is to come home")
    parser.add_argument("--parameters", type=int, default=2, help="of at most so many runs; 2")
    parser.add_argument("--carried", type=Path, help="folder of what pack_accelerator.py gathers")
    parser.add_argument("--compilation_cache", default="", help="folder of compiled programs")
    parser.add_argument("chains", nargs="*", metavar="CHAIN")
    given = parser.parse_args()
    folder = given.folder.absolute()
    if given.chains:
        chains = [commands(chain, folder) for chain in given.chains]
        begin(chains, folder, given.carried, given.compilation_cache)
    elif not any(folder.glob("logs/*.log")):
        parser.error(f"no CHAIN is given, and {folder} has no log of an earlier one")
    home = Home(folder, given.out, given.parameters, given.compilation_cache)
    wait(folder, begun + given.seconds, home)
    print("parameters of:", *home.packed)
    if any([show(log) for log in sorted((folder / "logs").glob("*.log"))]):
        sys.exit(1)


if __name__ == "__main__":
    main()
