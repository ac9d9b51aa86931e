"""`python -m spherical_vae.data`: list the corpora; prepare, describe or verify one.

    python -m spherical_vae.data list
    python -m spherical_vae.data prepare ptb --manual_dir=FOLDER
    python -m spherical_vae.data stats ptb --manual_dir=FOLDER --json
    python -m spherical_vae.data verify

Without a name `verify` takes all that is prepared. Every key of `config.data` is a flag, by default
as in the configuration of that corpus in `configs/`; so the training that follows finds what is
prepared here, and opens it.
"""

import argparse
import json
import sys
import time
from typing import NoReturn

from ml_collections import ConfigDict

from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.corpus import DamagedStoreError, UnreadableStoreError, verify
from spherical_vae.data.loading import load_corpus, prepare_corpus, prepared_folders
from spherical_vae.data.settings import SETTINGS, with_short_names
from spherical_vae.data.sources import cache_root
from spherical_vae.data.statistics import as_json, as_text
from spherical_vae.system.errors import UserError, exit_on_error
from spherical_vae.system.names import nearest_name_hint, require_name

# Keys of `config.data`; a prepared corpus does not depend on how batches are padded.
_FLAGS = {key: entry for key, entry in SETTINGS.items() if key not in ("name", "buckets")}


def list_corpora(config_data: ConfigDict) -> None:
    """Prints a line for each corpus: what it is, and what is missing."""
    root = cache_root(config_data)
    width = 2 + max(len(spec.description) for spec in CORPORA.values())
    for name, spec in CORPORA.items():
        lacking = spec.missing(config_data)
        ready = root and prepared_folders(root, name)
        state = "prepared" if ready else "ready" if lacking is None else f"needs {lacking}"
        print(f"{name:<18}{spec.description:<{width}}{state}")


def prepare(config_data: ConfigDict) -> None:
    """Prepares a corpus, or finds it prepared, and prints what was read, kept and dropped."""
    if config_data.cache_dir == "none":
        raise UserError("--cache_dir=none keeps nothing: there is nothing to prepare")
    start = time.perf_counter()
    corpus = prepare_corpus(config_data)
    seconds = time.perf_counter() - start
    print("\n".join(corpus.report))
    print(f"{config_data.name} is prepared in {cache_root(config_data)}: {seconds:.3f} s")


def show_statistics(config_data: ConfigDict, in_json: bool) -> None:
    """Prints the figures of a corpus, which is prepared first if it is not."""
    corpus = load_corpus(config_data)
    names = CORPORA[config_data.name].label_names
    print(json.dumps(as_json(corpus), indent=1) if in_json else as_text(corpus, names))


def verify_prepared(config_data: ConfigDict, name: str | None) -> None:
    """Reads every byte of what is prepared of a corpus, or of all of them, with any settings."""
    root = cache_root(config_data)
    folders = prepared_folders(root, name) if root else []
    place = f"in {root}" if root else "as there is no cache"
    if name and not folders:
        raise UserError(f"nothing of {name} is prepared {place}")
    damaged = []
    for folder in folders:
        try:
            sizes = [facts["size"] for facts in verify(folder)["files"].values()]
        except DamagedStoreError as damage:
            damaged.append(f"{folder} is damaged ({damage}): remove it")
        except UnreadableStoreError as error:
            damaged.append(str(error))
        else:
            print(f"{folder}: {len(sizes)} files, {sum(sizes):,} bytes, as they were written")
    if damaged:
        raise UserError("; ".join(damaged))
    print(f"{len(folders)} prepared {place}" if folders else f"nothing is prepared {place}")


_COMMANDS = ("list", "prepare", "stats", "verify")


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, as everywhere in the package."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m spherical_vae.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("command", help=", ".join(_COMMANDS))
    parser.add_argument("name", nargs="?", default=None, help=", ".join(CORPORA))
    parser.add_argument("--json", action="store_true", default=False, help="stats as JSON")
    for key, (default, _) in _FLAGS.items():
        parser.add_argument(f"--{key}", type=type(default), help=f"config.data.{key}")
    parsed, unknown = parser.parse_known_intermixed_args(with_short_names(arguments, _FLAGS))
    if unknown:
        flag = unknown[0].partition("=")[0]
        near = nearest_name_hint(flag, ["--json", *(f"--{key}" for key in _FLAGS)])
        raise UserError(f"{flag}: there is no such argument{near}")
    command, name = parsed.command, parsed.name
    require_name("command", command, _COMMANDS)
    if command == "list" and name is not None:
        raise UserError(f"list: {name!r} given, allowed: nothing; it lists all corpora")
    if command in ("prepare", "stats") and name is None:
        raise UserError(f"{command}: a corpus is missing, one of {', '.join(CORPORA)}")
    if name is not None:
        CORPORA.check("corpus", name)
    if command == "verify":
        for key in _FLAGS:
            if key != "cache_dir" and hasattr(parsed, key):
                raise UserError(f"--{key}: not with verify, which takes all settings")
    if parsed.json and command != "stats":
        raise UserError(f"--json: not with {command}, allowed: with stats")
    return parsed


def main(argv: list[str]) -> None:
    """Runs a command; results go to standard output.

    Raises:
      UserError: any mistake, in one line.
    """
    given = _parse(argv[1:])
    config_data = ConfigDict({key: default for key, (default, _) in SETTINGS.items()})
    if given.name:
        config_data.update(CORPORA[given.name].settings, name=given.name)
    for key, (_, rule) in _FLAGS.items():
        if hasattr(given, key):
            rule(f"--{key}", getattr(given, key))
            config_data[key] = getattr(given, key)
    match given.command:
        case "list":
            list_corpora(config_data)
        case "prepare":
            prepare(config_data)
        case "stats":
            show_statistics(config_data, given.json)
        case "verify":
            verify_prepared(config_data, given.name)


if __name__ == "__main__":
    exit_on_error(lambda: main(sys.argv))
