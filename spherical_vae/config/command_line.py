"""Command lines: flags, `--config`, and mistakes as errors of one line.

The flags of a command are in the module of that command, and their values are the argument of its
function. They do not belong to the process: several commands can be imported together, and called
from Python several times and in several threads.
"""

import copy
import difflib
import inspect
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partialmethod
from pathlib import Path
from typing import Any, NoReturn

from absl import flags, logging
from absl.flags import FlagValues
from ml_collections import ConfigDict, config_flags

from spherical_vae.config.defaults import base_config
from spherical_vae.config.validation import flatten, type_name, validate
from spherical_vae.data.settings import with_short_names
from spherical_vae.parallel import hosts
from spherical_vae.system import jax_settings
from spherical_vae.system.compilation_cache import keep_compiled_programs
from spherical_vae.system.errors import UserError, exit_on_error
from spherical_vae.system.malloc import keep_freed_memory
from spherical_vae.system.names import nearest_name_hint
from spherical_vae.system.paths import expanded

_HELP_FLAGS = re.compile(r"--?(help|h|helpshort|helpfull|helpxml)(=.*)?")
_OVERRIDE = re.compile(r"--?(no)?config\.(?P<key>[^=]*)(=(?P<value>.*))?", re.S)
_SELECTION = re.compile(r"--?config(=(?P<value>.*))?", re.S)
_MISSING = re.compile(r"flag --(?P<name>\w+)=None: Flag --\w+ must have a value")
_UNKNOWN = re.compile(r"Unknown command line flag '(?P<name>\w+)'")
_CHOICE = re.compile(
    r"flag --(?P<name>\w+)=(?P<value>.*?): value should be one of <(?P<allowed>.*)>", re.S
)
_ILLEGAL = re.compile(r"flag --config\.(?P<key>[^=]*)=(?P<value>.*?): .*", re.S)
# The keys of `config.data` that say where a corpus lies.
_PLACES = ("path", "manual_dir", "cache_dir")


class CommandFlags:
    """The flags of one command.

    `DEFINE_string` and similar methods take the arguments of absl's functions of these names.

    Args:
      module: `__name__` of the command.
      summary: `__doc__` of the command, for `--help`.
    """

    def __init__(self, module: str, summary: str | None) -> None:
        self._module = module
        self._summary = summary or ""
        self._defaults = FlagValues()
        self._has_config = self._has_places = False
        self._first_argument = ""
        self.DEFINE_string(
            "compilation_cache",
            "",
            "folder of compiled programs, or none; default: $JAX_COMPILATION_CACHE_DIR or the "
            "user's cache",
        )

    def _define(self, define: Callable[..., object], *args: Any, **options: Any) -> None:
        define(*args, flag_values=self._defaults, **options)

    DEFINE_string = partialmethod(_define, flags.DEFINE_string)
    DEFINE_multi_string = partialmethod(_define, flags.DEFINE_multi_string)
    DEFINE_integer = partialmethod(_define, flags.DEFINE_integer)
    DEFINE_float = partialmethod(_define, flags.DEFINE_float)
    DEFINE_bool = partialmethod(_define, flags.DEFINE_bool)
    DEFINE_enum = partialmethod(_define, flags.DEFINE_enum)

    def define_config(self) -> None:
        """Adds a `--config` flag with `--config.KEY=VALUE` overrides.

        Its value is the locked, validated configuration, of `base_config()` if no config is named.
        """
        self._has_config = True

    def define_hosts(self) -> None:
        """Adds the flags by which several processes meet: the arguments of `hosts.join`."""
        self.DEFINE_string(
            "coordinator", None, "HOST:PORT of process 0, if several processes train together"
        )
        self.DEFINE_integer(
            "process_count",
            None,
            "number of processes; default: that of SLURM or of a TPU, else 1",
            lower_bound=1,
        )
        self.DEFINE_integer("process_index", None, "of this process", lower_bound=0)

    def define_places(self) -> None:
        """Adds flags for the present place of a trained run's corpus; see `given_places`."""
        self._has_places = True
        for name in _PLACES:
            self.DEFINE_string(name, None, f"config.data.{name}; default: as in training")

    def define_first_argument(self, name: str) -> None:
        """Adds a first argument that is not a flag, and becomes the value of the flag `name`."""
        self._first_argument = name
        self.DEFINE_string(name, "", "the first argument, also without its name")

    def command(self, main: Callable[[FlagValues], Any]) -> "Command":
        """Decorator: makes a command of the function that does its work with the given flags."""
        return Command(self, main)

    def parse(self, argv: Sequence[str], of_process: bool = False) -> FlagValues:
        """Returns the flags of a whole command line, whose values are attributes of the result.

        Args:
          argv: the command line, the program's name first.
          of_process: whether absl's flags of logging, which belong to the process, are allowed.

        Raises:
          UserError: a mistake in it, an invalid configuration included.
        """
        values = copy.deepcopy(self._defaults)
        if of_process:
            for flag in flags.FLAGS.flags_by_module_dict().get("absl.logging", ()):
                values[flag.name] = flag
        argv = list(argv)
        if self._first_argument and argv[1:] and not argv[1].startswith("-"):
            argv[1] = f"--{self._first_argument}={argv[1]}"
        try:
            argv = values.read_flags_from_files(argv, force_gnu=False)
            if self._has_config:
                argv = self._define_config(argv, values)
            if self._has_places:
                argv = with_short_names(argv, _PLACES)
            rest = values(argv)
        except UserError:
            raise
        # ml_collections reports some wrong values by TypeError or KeyError.
        except (flags.Error, TypeError, ValueError, LookupError) as error:
            raise UserError(_explain_flag_error(error, self._has_config)) from error
        if len(rest) > 1:
            raise UserError(
                f"unexpected argument {rest[1]!r}: everything is given by flags, --NAME=VALUE"
            )
        if self._has_config:
            validate(values["config"].value)
        return values

    def help(self) -> str:
        """Returns the text of `--help`."""
        values = copy.deepcopy(self._defaults)
        if self._has_config:
            self._define_config([self._module], values)
        # To absl, this module defines all flags.
        return f"{self._summary.strip()}\n\nflags:{values.module_help(__name__)}"

    def _define_config(self, argv: list[str], values: FlagValues) -> list[str]:
        """Reads the config that `argv` selects, and defines a flag for each override in it.

        ml_collections reads a config and its overrides when the flag is defined.

        Returns:
          The command line without the selection; absl parses the overrides.
        """
        selected, argv = _split_selection(argv)
        config = base_config() if selected is None else load_config_file(selected)
        argv = [_prepare_override(argument, config) for argument in argv]
        config_flags.DEFINE_config_dict(
            "config",
            config,
            help_string="a config by its name or file, NAME or NAME:VARIANT or FILE:VARIANT; a "
            "single key is overridden by --config.KEY=VALUE",
            flag_values=values,
            lock_config=True,
            sys_argv=argv,
        )
        # --help would show the whole configuration as the default of this flag.
        values["config"].default_as_str = repr("spherical_vae/config/defaults.py")
        return argv


class Command:
    """A command, as a process and as a function.

    `command(["--workdir=runs/a"])` does in Python what the process with these arguments does: it
    computes, writes and prints the same, returns its result as the command says, and raises a
    mistake as a `UserError`. It changes nothing of the process: no signal handlers outside of the
    main thread, no logging, and the folder of compiled programs only if the flag is given.
    """

    def __init__(self, command_flags: CommandFlags, main: Callable[[FlagValues], Any]) -> None:
        self._flags = command_flags
        self._main = main
        self.__doc__ = main.__doc__

    def __call__(self, arguments: Sequence[str] = ()) -> Any:
        """Runs the command with these arguments, without the program's name; returns its result.

        Raises:
          UserError: bad input, in one line.
          Interrupted: a signal stopped training; the state is saved.
        """
        given = self._flags.parse([self._main.__module__, *arguments])
        _prepare_process(given, with_cache=False)
        with jax_settings.settings_of_models():
            result = self._main(given)
        # A process that ends first would be missed by the others.
        hosts.wait_for_all()
        return result

    def run(self) -> NoReturn:
        """Runs the command as this process, with `sys.argv`; errors end it as in `exit_on_error`.

        Standard output is left to the command's results.
        """
        exit_on_error(self._parse_and_call)
        sys.exit(0)

    def _parse_and_call(self) -> None:
        if any(map(_HELP_FLAGS.fullmatch, sys.argv[1:])):
            print(self._flags.help())
            return
        flags.FLAGS.mark_as_parsed()
        given = self._flags.parse(sys.argv, of_process=True)
        logging.use_absl_handler()
        if flags.FLAGS["verbosity"].using_default_value:
            # At the default level JAX reports each backend that it did not find.
            logging.set_verbosity(logging.WARNING)
        keep_freed_memory()
        jax_settings.set_in_process()
        _prepare_process(given, with_cache=True)
        self._main(given)
        hosts.wait_for_all()


def _prepare_process(given: FlagValues, with_cache: bool) -> None:
    """Sets up the cache of compiled programs, by default if `with_cache`, and joins others."""
    if with_cache or given["compilation_cache"].present:
        keep_compiled_programs(given.compilation_cache)
    if "coordinator" in given:
        hosts.join(given.coordinator, given.process_count, given.process_index)


def given_keys(given: FlagValues) -> list[str]:
    """Returns the keys of the configuration that `--config.KEY=VALUE` changes."""
    return [
        name.removeprefix("config.")
        for name in given
        if name.startswith("config.") and given[name].present
    ]


def given_places(given: FlagValues) -> dict[str, str]:
    """Returns the keys of `config.data` that the flags of `define_places` change."""
    places = {name: getattr(given, name) for name in _PLACES}
    return {name: place for name, place in places.items() if place is not None}


def load_config_file(selected: str) -> ConfigDict:
    """Returns the result of a config's `get_config`.

    Args:
      selected: `NAME` of a config of the package, or the path of a Python file; `:VARIANT` follows
        if the config has variants.

    Raises:
      UserError: the config or the variant does not exist, or the config fails.
    """
    path, variant = _find_config(selected)
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise UserError(f"--config={selected}: the file defines no get_config()")
        if variant is not None and not inspect.signature(get_config).parameters:
            raise UserError(f"--config={selected}: this config has no variants")
        config = get_config() if variant is None else get_config(variant)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--config={selected}: {_describe(error, path)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={selected}: get_config() returned {type(config).__name__}, not a ConfigDict"
        )
    return config


def _describe(error: Exception, path: Path) -> str:
    """Returns an error's type and message, with the last line of the config that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    place = f" at line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{place}: {error}"


def packaged_configs() -> dict[str, Path]:
    """Returns the configs of the package by name: those of the installed one, or of a clone."""
    package = Path(__file__).parents[1]
    installed, clone = package / "configs", package.parent / "configs"
    folder = installed if installed.is_dir() else clone
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def _find_config(selected: str) -> tuple[Path, str | None]:
    """Returns the file of a config, and its variant or None."""
    whole = expanded(selected)
    if whole.is_file():
        return whole, None
    # The last colon: a path may contain others, such as that of a drive of Windows.
    given, _, variant = selected.rpartition(":") if ":" in selected else (selected, "", None)
    path = expanded(given)
    if path.is_file():
        return path, variant
    packaged = packaged_configs()
    if given in packaged:
        return packaged[given], variant
    hint = nearest_name_hint(given, [*packaged, *map(str, path.parent.glob("*.py"))])
    names = f"; configs of the package: {', '.join(packaged)}" if path.name == given else ""
    raise UserError(f"--config={selected}: there is no file {given!r}{names}{hint}")


def _split_selection(argv: list[str]) -> tuple[str | None, list[str]]:
    """Takes `--config=VALUE` and `--config VALUE` out of `argv`; the last one counts."""
    selected: str | None = None
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            return selected, [*rest, argument, *arguments]
        match = _SELECTION.fullmatch(argument) if rest else None
        if match is None:
            rest.append(argument)
            continue
        selected = match["value"] if match["value"] is not None else next(arguments, None)
        if not selected:
            raise UserError("--config: a path is missing, as in --config=configs/ptb.py")
    return selected, rest


def _prepare_override(argument: str, config: ConfigDict) -> str:
    """Raises for an override of no key; writes `a,b` for a tuple key as ml_collections reads it."""
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        return argument
    key, leaves = match["key"], flatten(config)
    if key in leaves:
        if not isinstance(leaves[key], tuple) or match["value"] is None:
            return argument
        items = re.findall(r"[^\s,()\[\]'\"]+", match["value"])
        return f"--config.{key}={tuple(items)!r}"
    members = [name for name in leaves if name.startswith(f"{key}.")]
    if members:
        raise UserError(f"--config.{key}: a group of keys; set one of {', '.join(members)}")
    # If the last word is a key's and only its group is wrong or missing, the group does not count.
    same_word = [name for name in leaves if name.split(".")[-1] == key.split(".")[-1]]
    nearest = difflib.get_close_matches(key, same_word, n=1, cutoff=0.0) or (
        difflib.get_close_matches(key, list(leaves), n=1, cutoff=0.5)
    )
    hint = f"; did you mean --config.{nearest[0]}?" if nearest else ""
    raise UserError(f"--config.{key}: there is no such key{hint}")


def _explain_flag_error(error: Exception, has_config: bool) -> str:
    message = str(error.args[0]) if error.args else str(error)
    if missing := _MISSING.match(message):
        return f"--{missing['name']}=VALUE is missing: the command needs it"
    if has_config and (unknown := _UNKNOWN.match(message)):
        name = unknown["name"]
        keys = [key for key in flatten(base_config()) if key.rpartition(".")[2] == name]
        if keys:
            # Of `seed` and `data.seed` it is the first.
            likely = [name] if name in keys else keys
            near = " or ".join(f"--config.{key}" for key in likely)
            return f"--{name}: there is no such flag; did you mean {near}?"
    if choice := _CHOICE.fullmatch(message):
        allowed = ", ".join(choice["allowed"].split("|"))
        near = nearest_name_hint(choice["value"], choice["allowed"].split("|"))
        return f"--{choice['name']}: {choice['value']!r} given, allowed: {allowed}{near}"
    match = _ILLEGAL.fullmatch(message)
    if match is None:
        return message
    kind = type_name(flatten(base_config()).get(match["key"]))
    return f"config.{match['key']}: {match['value']!r} given, allowed: a value of type {kind}"
