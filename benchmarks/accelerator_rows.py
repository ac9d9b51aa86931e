"""Trains and measures rows of the paper's tables on an accelerator that is at hand for minutes.

    python benchmarks/accelerator_rows.py --seconds=540 --folder=DIR --out=OUT [CHAIN ...]
    python benchmarks/accelerator_rows.py --seconds=120 --folder=DIR --out=OUT

A CHAIN is `EXPERIMENT:SEEDS:TEXT`, several joined by `+`: each is `python -m paper EXPERIMENT
--scale=full --seeds=SEEDS --only=TEXT`, one after the other. Chains run side by side, since half of
the time is compilation, and go on when this command has ended: the same command without chains
waits for them further. DIR has the runs, a store and a log for each chain. OUT is given
`store.tar.gz`, the runs that the store of the clone lacks, and the parameters of as many of them as
`--parameters` says. `--carried` has prepared corpora, and parameters by the ID of their run, from
which other runs start. docs/accelerators.md says how all of it comes and goes.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORE = ROOT / "results"
# Trying kernels on the card took a minute a program, and gave nothing that a step would show.
COMPILER_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"


def commands(chain: str, folder: Path) -> list[list[str]]:
    """Returns the commands of a chain.

    Raises:
      SystemExit: it is not written as a chain is.
    """
    found = []
    for link in chain.split("+"):
        experiment, seeds, text = [*link.split(":", 2), "", ""][:3]
        if not seeds.isdecimal() or link.count(":") < 2:
            sys.exit(f"{link!r} given; a chain is EXPERIMENT:SEEDS:TEXT, several joined by '+'")
        words = [sys.executable, "-m", "paper", experiment, "--scale=full", f"--seeds={seeds}"]
        words += [f"--workdir={folder / 'work'}", f"--results={folder / 'results'}"]
        found.append([*words, f"--only={text}"])
    return found


def environment(folder: Path) -> dict[str, str]:
    """Returns variables by which a process finds our code, and the corpora that were carried."""
    places = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    cache = folder / "cache"
    return variables | {"XDG_CACHE_HOME": str(cache)} if cache.exists() else variables


def begin(chains: list[list[list[str]]], folder: Path, carried: Path | None) -> None:
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
            if not run.exists():
                parameters("unpack", packed.with_suffix(""), run, folder)
    variables = environment(folder) | {
        # None may take most of the memory that they share.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {COMPILER_FLAGS}".strip(),
        "TQDM_MININTERVAL": "20",
    }
    begun = len(list((folder / "logs").glob("*.log")))
    for i, chain in enumerate(chains, begun):
        log = folder / "logs" / f"{i}.log"
        lines = [shlex.join(words) for words in chain]
        script = "\n".join([*lines, f"touch {shlex.quote(str(log.with_suffix('.over')))}"])
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


def parameters(way: str, source: Path, target: Path, folder: Path) -> None:
    """Packs or unpacks the parameters of a run; the card is left to the chains."""
    variables = environment(folder) | {"JAX_PLATFORMS": "cpu"}
    script = ROOT / "benchmarks" / "carry_parameters.py"
    words = [sys.executable, str(script), way, str(source), str(target)]
    subprocess.run(words, env=variables, check=True)


def wait(folder: Path, end: float) -> None:
    """Waits until all chains are over, or `time.monotonic()` is `end`."""
    logs = list((folder / "logs").glob("*.log"))
    while time.monotonic() < end and not all(log.with_suffix(".over").exists() for log in logs):
        time.sleep(1)


def collect(folder: Path, out: Path, packed: int) -> list[str]:
    """Writes what is to come home; returns the runs whose parameters are among it."""
    out.mkdir(parents=True, exist_ok=True)
    new = [
        path
        for path in sorted((folder / "results" / "runs").glob("*.json"))
        if not (STORE / "runs" / path.name).exists()
    ]
    told = [*(folder / "logs").iterdir(), *(folder / "work" / "runs").glob("*/*.json*")]
    with tarfile.open(out / "store.tar.gz", "w:gz") as file:
        for path in [*new, *told]:
            file.add(path, path.relative_to(folder))
    runs = [path.stem for path in new if not (folder / "packed" / f"{path.stem}.json").exists()]
    for name in runs[:packed]:
        parameters("pack", folder / "work" / "runs" / name, folder / "packed" / name, folder)
        for path in (folder / "packed").glob(f"{name}.*"):
            shutil.copy(path, out)
    return runs[:packed]


def main() -> None:
    """Parses the command line."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=540.0, help="until what is there is kept")
    parser.add_argument("--folder", type=Path, required=True, help="of runs, store and logs")
    parser.add_argument("--out", type=Path, required=True, help="of what is to come home")
    parser.add_argument("--parameters", type=int, default=2, help="of at most so many runs; 2")
    parser.add_argument("--carried", type=Path, help="folder of what pack_accelerator.py gathers")
    parser.add_argument("chains", nargs="*", metavar="CHAIN")
    given = parser.parse_args()
    folder = given.folder.absolute()
    begin([commands(chain, folder) for chain in given.chains], folder, given.carried)
    wait(folder, begun + given.seconds)
    print("parameters of:", *collect(folder, given.out, given.parameters))
    for log in sorted((folder / "logs").glob("*.log")):
        print(log.name, *log.read_text(errors="replace").splitlines()[-5:], sep="\n")


if __name__ == "__main__":
    main()
