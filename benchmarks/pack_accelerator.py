"""Gathers what a machine without a network lacks, for benchmarks/accelerator.py to run there.

    python benchmarks/pack_accelerator.py --to=.carry --corpora=ptb,news20 --manual_dir=FOLDER \\
      --installed=FILE

FILE is what `python -m pip list --format=json` prints on that machine. Into the folder go `wheels`,
those of the requirements that are missing or too old there, pure Python only, `corpora`, prepared,
and `commit`. What else is in the folder stays. docs/accelerators.md says how they are used.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spherical_vae.data.loading import prepared_folders
from spherical_vae.system.provenance import ROOT, commit

# What the jobs import beside the package's requirements, and `python -m paper`.
FURTHER = ("matplotlib", "packaging")
# A usual image for JAX and PyTorch on CUDA 13 and Python 3.12: what of our requirements it has, but
# for what is often too old there. Versions that are not known are taken to be new enough.
IMAGE: dict[str, str | None] = {
    "absl-py": None,
    "flax": None,
    "jax": "0.11.2",
    "jaxlib": "0.11.2",
    "jaxtyping": "0.3.11",
    "matplotlib": None,
    "numpy": "2.5.2",
    "numpyro": "0.21.0",
    "optax": None,
    "orbax-checkpoint": None,
    "packaging": None,
    "scipy": None,
    "tqdm": None,
}
# Wheels for that machine that need not be pure would name it so.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def requirements() -> list[Requirement]:
    """Returns what the package, the jobs of the queue and the rows of the paper need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in (*project["dependencies"], *FURTHER)]


def installed_there(path: Path | None) -> dict[str, str | None]:
    """Returns versions by canonical name: of the file, or of `IMAGE` where there is none."""
    if path is None:
        return dict(IMAGE)
    listed = json.loads(path.read_text(encoding="utf-8"))
    return {canonicalize_name(entry["name"]): entry["version"] for entry in listed}


def lacking(there: dict[str, str | None], needed: list[Requirement]) -> dict[str, str]:
    """Returns the requirements that are not met, and why, by name."""
    found = {}
    for requirement in needed:
        name = canonicalize_name(requirement.name)
        if name not in there:
            found[str(requirement)] = "missing there"
        else:
            version = there[name]
            if version is not None and not requirement.specifier.contains(version, True):
                found[str(requirement)] = f"{version} there"
    return found


def download(wanted: list[str], folder: Path, python: str) -> None:
    """Fetches wheels, without what they need themselves.

    Raises:
      SystemExit: one is not pure Python, or cannot be had.
    """
    if not wanted:
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    with tempfile.TemporaryDirectory() as scratch:
        if subprocess.run([*command, f"--dest={scratch}", *wanted], check=False).returncode:
            sys.exit(f"pip could not download {', '.join(wanted)}")
        wheels = sorted(Path(scratch).glob("*.whl"))
        for wheel in wheels:
            if not re.search(r"-none-any\.whl$", wheel.name):
                sys.exit(f"{wheel.name} is not pure Python: it may not run there")
        folder.mkdir(parents=True, exist_ok=True)
        for wheel in wheels:
            # pip installs no two versions of one package at once.
            for old in folder.glob(f"{wheel.name.partition('-')[0]}-*.whl"):
                old.unlink()
            shutil.move(wheel, folder)


def prepare(corpora: list[str], folder: Path, manual_dir: str) -> None:
    """Prepares corpora with the settings of their configurations, or finds them prepared.

    Neither what is unpacked on the way nor locks come into the folder.

    Raises:
      SystemExit: one cannot be prepared.
    """
    if not corpora:
        return
    given = [f"--manual_dir={manual_dir}"] if manual_dir else []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for path in prepared_folders(folder):
            (Path(scratch) / path.name).symlink_to(path)
        for name in corpora:
            command = [sys.executable, "-m", "spherical_vae.data", "prepare", name, *given]
            if subprocess.run([*command, f"--cache_dir={scratch}"], check=False).returncode:
                sys.exit(f"{name} could not be prepared")
        for path in prepared_folders(Path(scratch)):
            if not path.is_symlink():
                shutil.move(path, folder)


def size(folder: Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path(".carry"), help="the folder; .carry")
    parser.add_argument("--installed", type=Path, help="pip list --format=json of that machine")
    parser.add_argument("--python", default="3.12", help="Python's version there")
    parser.add_argument("--also", default="", help="requirements to carry too, with commas")
    parser.add_argument("--corpora", default="", help="names, with commas")
    parser.add_argument("--manual_dir", default="", help="folder with the archives of corpora")
    arguments = parser.parse_args()
    if arguments.installed is not None and not arguments.installed.is_file():
        parser.error(f"--installed={arguments.installed}: there is no such file")
    # Where the copy has no history, its records say by this where they come from.
    packed = commit(ROOT, "benchmarks")
    if packed is None:
        parser.error(f"{ROOT} is no clone; name its commit by $SPHERICAL_VAE_COMMIT")
    reasons = lacking(installed_there(arguments.installed), requirements())
    reasons |= {name: "asked for" for name in arguments.also.split(",") if name}
    download(list(reasons), arguments.to / "wheels", arguments.python)
    corpora = [name for name in arguments.corpora.split(",") if name]
    prepare(corpora, (arguments.to / "corpora").absolute(), arguments.manual_dir)
    arguments.to.mkdir(parents=True, exist_ok=True)
    (arguments.to / "commit").write_text(f"{packed}\n", encoding="utf-8")
    for requirement, reason in reasons.items():
        print(f"{requirement}: {reason}")
    for part in sorted(arguments.to.iterdir()):
        if part.is_dir():
            print(f"{part}: {size(part) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
