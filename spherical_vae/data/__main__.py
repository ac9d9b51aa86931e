"""`python -m spherical_vae.data`: list the corpora; prepare, describe or verify one.

    python -m spherical_vae.data list
    python -m spherical_vae.data prepare ptb --manual_dir=FOLDER
    python -m spherical_vae.data stats ptb --manual_dir=FOLDER --json
    python -m spherical_vae.data verify ptb

Every key of `config.data` is a flag, by default as in the configuration of that corpus in
`configs/`; so the training that follows finds what is prepared here, and opens it.
"""

import argparse
import json
import sys
import time
from typing import NoReturn

from ml_collections import ConfigDict

from spherical_vae.data.cache import prepared_folders
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.loading import load_corpus, prepare_corpus
from spherical_vae.data.settings import RULES, default_settings
from spherical_vae.data.sources import cache_root
from spherical_vae.data.statistics import as_json, as_text
from spherical_vae.data.store import DamagedStoreError, verify
from spherical_vae.system.errors import UserError, exit_on_error
from spherical_vae.system.names import nearest_name_hint, require_name

# Keys of `config.data`; a prepared corpus does not depend on how batches are padded.
_FLAGS = frozenset(default_settings()) - {"name", "buckets"}


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, as everywhere in the package."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def main(argv: list[str]) -> None:
    """Runs a command; results go to standard output.

    Raises:
      UserError: any mistake, in one line.
    """
    arguments = _parse(argv[1:])
    config_data = _settings(arguments)
    COMMANDS[arguments.command](config_data, arguments)


def list_corpora(config_data: ConfigDict, arguments: argparse.Namespace) -> None:
    """Prints a line for each corpus: what it is, and what is missing."""
    root = cache_root(config_data)
    for name, spec in CORPORA.items():
        lacking = spec.missing(config_data)
        ready = root is not None and any(prepared_folders(root, name))
        state = "prepared" if ready else "ready" if lacking is None else f"needs {lacking}"
        print(f"{name:<18}{spec.description:<40}{state}")


def prepare(config_data: ConfigDict, arguments: argparse.Namespace) -> None:
    """Prepares a corpus, or finds it prepared, and prints what was read, kept and dropped."""
    if config_data.cache_dir == "none":
        raise UserError("--cache_dir=none keeps nothing: there is nothing to prepare")
    start = time.perf_counter()
    corpus = prepare_corpus(config_data)
    seconds = time.perf_counter() - start
    print("\n".join(corpus.report))
    print(f"{config_data.name} is prepared in {cache_root(config_data)}: {seconds:.3f} s")


def show_statistics(config_data: ConfigDict, arguments: argparse.Namespace) -> None:
    """Prints the figures of a corpus, which is prepared first if it is not."""
    corpus = load_corpus(config_data)
    print(
        json.dumps(as_json(corpus), indent=1)
        if arguments.json
        else as_text(corpus, CORPORA[config_data.name].label_names)
    )


def verify_prepared(config_data: ConfigDict, arguments: argparse.Namespace) -> None:
    """Reads every byte of everything prepared of a corpus, with any settings."""
    root = cache_root(config_data)
    folders = [] if root is None else list(prepared_folders(root, config_data.name))
    if not folders:
        where = f" in {root}" if root else ", as there is no cache"
        raise UserError(f"nothing of {config_data.name} is prepared{where}")
    damaged = []
    for folder in folders:
        try:
            files = verify(folder)["files"]
        except DamagedStoreError as damage:
            damaged.append(f"{folder} is damaged ({damage}): remove it")
        else:
            size = sum(facts["size"] for facts in files.values())
            print(f"{folder}: {len(files)} files, {size:,} bytes, as they were written")
    if damaged:
        raise UserError("; ".join(damaged))


COMMANDS = {
    "list": list_corpora,
    "prepare": prepare,
    "stats": show_statistics,
    "verify": verify_prepared,
}


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m spherical_vae.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", help=", ".join(COMMANDS))
    parser.add_argument("name", nargs="?", help=", ".join(CORPORA))
    parser.add_argument("--json", action="store_true", help="statistics as JSON")
    for key in sorted(_FLAGS):
        parser.add_argument(
            f"--{key}",
            type=type(default_settings()[key]),
            default=argparse.SUPPRESS,
            help=f"config.data.{key}",
        )
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        flag = unknown[0].partition("=")[0]
        near = nearest_name_hint(flag, ["--json", *(f"--{key}" for key in sorted(_FLAGS))])
        raise UserError(f"{flag}: there is no such argument{near}")
    require_name("command", parsed.command, COMMANDS)
    if parsed.command == "list":
        if parsed.name is not None:
            raise UserError(f"list: {parsed.name!r} given, allowed: nothing; it lists all corpora")
    elif parsed.name is None:
        raise UserError(f"{parsed.command}: a corpus is missing, one of {', '.join(CORPORA)}")
    else:
        require_name("corpus", parsed.name, CORPORA)
    return parsed


def _settings(arguments: argparse.Namespace) -> ConfigDict:
    """Returns `config.data`: the base, the usual settings of the corpus, and the given flags."""
    config_data = default_settings()
    if arguments.name is not None:
        config_data.name = arguments.name
        config_data.update(CORPORA[arguments.name].settings)
    for key in _FLAGS & vars(arguments).keys():
        value = getattr(arguments, key)
        RULES[key].check(f"--{key}", value)
        config_data[key] = value
    return config_data


if __name__ == "__main__":
    exit_on_error(lambda: main(sys.argv))
