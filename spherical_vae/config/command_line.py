"""Shared by all command lines: flags, `--config`, and mistakes as one-line errors.

Which flags a command has, and what it does with them, is in the module of that command. Flags
belong to their command and to the call that parses them, not to the process: commands can be
imported beside each other, and called from Python, several times and in several threads.
"""

import difflib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from functools import partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from spherical_vae.config import validation as config_validation
from spherical_vae.config.defaults import base_config
from spherical_vae.parallel import hosts
from spherical_vae.system.compilation_cache import keep_compiled_programs
from spherical_vae.system.errors import UserError, exit_on_error
from spherical_vae.system.malloc import keep_freed_memory
from spherical_vae.system.names import nearest_name_hint
from spherical_vae.system.paths import expanded

_NAME = "config"
_HELP_FLAGS = re.compile(r"--?(help|h|helpshort|helpfull|helpxml)(=.*)?")
_OVERRIDE = re.compile(rf"(?P<dashes>--?)(?P<no>no)?{_NAME}\.(?P<key>[^=]*)(=(?P<value>.*))?", re.S)
_SELECTION = re.compile(rf"--?{_NAME}(=(?P<value>.*))?", re.S)
_MISSING = re.compile(r"flag --(?P<name>\w+)=None: Flag --\w+ must have a value")
_ILLEGAL = re.compile(rf"flag --{_NAME}\.(?P<key>[^=]*)=(?P<value>.*?): .*", re.S)

# As `jax_settings.settings_of_models`, for a process that has not imported JAX yet.
_JAX_VARIABLES = {
    "JAX_ENABLE_X64": "0",
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
    "JAX_TRANSFER_GUARD": "allow",
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": "1",
}


class GivenFlag:
    """A flag of a command, whose value is there while a call of the command runs."""

    def __init__(self, owner: "CommandFlags", name: str) -> None:
        self._owner = owner
        self.name = name

    @property
    def value(self) -> Any:
        """The value on the command line, or else the default.

        Raises:
          RuntimeError: no command line has been parsed.
        """
        return self._owner.parsed()[self.name].value

    @property
    def present(self) -> bool:
        """Whether the command line gives it."""
        return bool(self._owner.parsed()[self.name].present)


class CommandFlags:
    """The flags of one command.

    `DEFINE_string` and its like take what absl's functions of these names take.

    Args:
      module: `__name__` of the command.
      summary: its `__doc__`, for `--help`.
    """

    def __init__(self, module: str, summary: str | None) -> None:
        self._module = module
        self._summary = summary or ""
        self._definitions: list[Callable[[flags.FlagValues], None]] = []
        self._parsed: ContextVar[flags.FlagValues] = ContextVar(module)
        self._config_default: str | None = None
        self._has_config = False
        self._first_argument: tuple[str, Callable[[str], None]] | None = None
        self._host_flags: tuple[GivenFlag, ...] = ()
        self._place_flags: tuple[GivenFlag, ...] = ()
        self._compilation_cache = self.DEFINE_string(
            "compilation_cache",
            "",
            "folder of compiled programs, or none; default: $JAX_COMPILATION_CACHE_DIR or the "
            "user's cache",
        )

    def _define(
        self, define: Callable[..., Any], name: str, *args: Any, **options: Any
    ) -> GivenFlag:
        self._definitions.append(lambda values: define(name, *args, flag_values=values, **options))
        return GivenFlag(self, name)

    DEFINE_string = partialmethod(_define, flags.DEFINE_string)
    DEFINE_multi_string = partialmethod(_define, flags.DEFINE_multi_string)
    DEFINE_integer = partialmethod(_define, flags.DEFINE_integer)
    DEFINE_float = partialmethod(_define, flags.DEFINE_float)
    DEFINE_bool = partialmethod(_define, flags.DEFINE_bool)
    DEFINE_enum = partialmethod(_define, flags.DEFINE_enum)

    def define_config(self, default: str | None = None) -> GivenFlag:
        """Gives the command a `--config` flag with `--config.KEY=VALUE` overrides.

        Its value is the locked, validated configuration. ml_collections reads a config, and its
        overrides, where the flag is defined: that is done when a command line is parsed.

        Args:
          default: the config used where none is named; None means `base_config()`.
        """
        self._has_config, self._config_default = True, default
        return GivenFlag(self, _NAME)

    def define_hosts(self) -> None:
        """Gives the command the flags by which several processes find each other.

        See `hosts.join`, which is called with them.
        """
        self._host_flags = (
            self.DEFINE_string(
                "coordinator",
                None,
                "HOST:PORT of process 0, where several processes train together",
            ),
            self.DEFINE_integer(
                "process_count",
                None,
                "processes in all; default: what SLURM or a TPU says, else 1",
                lower_bound=1,
            ),
            self.DEFINE_integer("process_index", None, "of this process", lower_bound=0),
        )

    def define_places(self) -> None:
        """Gives the command flags that say where the corpus of a trained run lies today."""
        self._place_flags = tuple(
            self.DEFINE_string(name, None, f"config.data.{name}; default: as in training")
            for name in ("path", "manual_dir", "cache_dir")
        )

    def define_first_argument(self, name: str, check: Callable[[str], None]) -> GivenFlag:
        """Gives the command a first argument that is not a flag.

        Args:
          name: of the flag that it is kept as.
          check: raises a `UserError` if it is not allowed; it is empty where none is given.
        """
        self._first_argument = name, check
        return self.DEFINE_string(name, "", "the first argument, also without its name")

    def given_places(self) -> dict[str, str]:
        """Returns those keys of `config.data` that the flags of `define_places` change."""
        return {flag.name: flag.value for flag in self._place_flags if flag.value is not None}

    def command(self, main: Callable[[], None]) -> "Command":
        """Makes a command of the function that does its work: a decorator."""
        return Command(self, main)

    def parsed(self) -> flags.FlagValues:
        """Returns the flags of the call that runs in this thread.

        Raises:
          RuntimeError: there is none.
        """
        values = self._parsed.get(None)
        if values is None:
            raise RuntimeError(f"the command line of {self._module} has not been parsed")
        return values

    def parse(self, argv: Sequence[str], of_process: bool = False) -> None:
        """Parses a command line whole: config, overrides, flags; then flags have their values.

        Args:
          argv: the command line, the program's name first.
          of_process: whether absl's flags of logging, which are of the process, are among them.

        Raises:
          UserError: any mistake in it, positional arguments and an invalid configuration included.
        """
        values = self._defined()
        if of_process:
            for flag in flags.FLAGS.flags_by_module_dict().get("absl.logging", ()):
                values[flag.name] = flag
        try:
            argv = values.read_flags_from_files(self._name_first_argument(argv), force_gnu=False)
            if self._has_config:
                argv = self._define_config(argv, values)
            rest = values(argv)
        except UserError:
            raise
        # ml_collections reports some wrong values by TypeError, KeyError and the like.
        except (flags.Error, TypeError, ValueError, LookupError) as error:
            raise UserError(_explain_flag_error(error)) from error
        if len(rest) > 1:
            raise UserError(
                f"unexpected argument {rest[1]!r}: everything is given by flags, --NAME=VALUE"
            )
        if self._has_config:
            config_validation.validate(values[_NAME].value)
        self._parsed.set(values)

    def help(self) -> str:
        """Returns what `--help` prints."""
        values = self._defined()
        if self._has_config:
            self._define_config([self._module], values)
        # To absl they are all defined by this module.
        return f"{self._summary.strip()}\n\nflags:{values.module_help(__name__)}"

    def prepare_process(self, with_cache: bool) -> None:
        """Does what comes before any computation: compiled programs, meeting other processes.

        Args:
          with_cache: whether compiled programs are kept where no flag says so.
        """
        if with_cache or self._compilation_cache.present:
            keep_compiled_programs(self._compilation_cache.value)
        if self._host_flags:
            hosts.join(*(flag.value for flag in self._host_flags))

    def _defined(self) -> flags.FlagValues:
        values = flags.FlagValues()
        for define in self._definitions:
            define(values)
        return values

    def _name_first_argument(self, argv: Sequence[str]) -> list[str]:
        program, *rest = argv
        if self._first_argument is not None:
            name, check = self._first_argument
            found = bool(rest) and not rest[0].startswith("-")
            check(rest[0] if found else "")
            rest[:1] = [f"--{name}={rest[0]}"] if found else rest[:1]
        return [program, *rest]

    def _define_config(self, argv: list[str], values: flags.FlagValues) -> list[str]:
        """Reads the config that `argv` names and defines a flag for each override in it.

        Returns:
          The command line without the choice of the config; overrides are left for absl to parse.

        Raises:
          UserError: the config cannot be loaded, or an override names no key.
        """
        selected, argv = _split_selection(argv)
        selected = self._config_default if selected is None else selected
        config = base_config() if selected is None else load_config_file(selected)
        argv = [_prepare_override(argument, config) for argument in argv]
        config_flags.DEFINE_config_dict(
            _NAME,
            config,
            help_string="a config by its name or file, NAME or NAME:VARIANT or FILE:VARIANT; a "
            "single key is overridden by --config.KEY=VALUE",
            flag_values=values,
            lock_config=True,
            sys_argv=argv,
        )
        # --help would show the whole configuration as the default of this flag.
        default = self._config_default or "spherical_vae/config/defaults.py"
        values[_NAME].default_as_str = repr(default)
        return argv


class Command:
    """A command, as a process and as a function.

    `command(["--workdir=runs/a"])` does in Python what the process does that is started with these
    arguments: what it computes is written or printed in the same way, and a mistake is raised as a
    `UserError`. Nothing of the process is changed by it: not its signals, outside of the main
    thread, nor its logging, and the folder of compiled programs only if the flag is given.
    """

    def __init__(self, command_flags: CommandFlags, main: Callable[[], None]) -> None:
        self._flags = command_flags
        self._main = main
        self.__doc__ = main.__doc__

    def __call__(self, arguments: Sequence[str] = ()) -> None:
        """Runs the command.

        Args:
          arguments: the command line, without the program's name.

        Raises:
          UserError: bad input, in one line.
          Interrupted: a signal came while it trained; the state is saved.
        """

        def call() -> None:
            self._flags.parse([self._main.__module__, *arguments])
            from spherical_vae.system.jax_settings import settings_of_models

            self._flags.prepare_process(with_cache=False)
            with settings_of_models():
                self._main()
            # Who is done first would else take the others for lost.
            hosts.wait_for_all()

        # The flags' values are those of this call alone.
        copy_context().run(call)

    def run(self) -> NoReturn:
        """Runs the command as this process, with `sys.argv`; mistakes become one line.

        A `UserError` raised anywhere ends the process with exit status 2 and its message on
        standard error; Control-C with status 130. Other errors keep their traceback. Standard
        output is left to the command's results.
        """
        exit_on_error(self._parse_and_call)
        sys.exit(0)

    def _parse_and_call(self) -> None:
        if any(map(_HELP_FLAGS.fullmatch, sys.argv[1:])):
            print(self._flags.help())
            return
        flags.FLAGS.mark_as_parsed()
        self._flags.parse(sys.argv, of_process=True)
        logging.use_absl_handler()
        if flags.FLAGS["verbosity"].using_default_value:
            # Else JAX tells of every backend that it did not find.
            logging.set_verbosity(logging.WARNING)
        keep_freed_memory()
        os.environ.update(_JAX_VARIABLES)
        self._flags.prepare_process(with_cache=True)
        self._main()
        hosts.wait_for_all()


def load_config_file(selected: str) -> ConfigDict:
    """Returns what `get_config` of a config returns.

    Args:
      selected: `NAME` of a config of the package, or the path of a file that ends in `.py`; with
        `:VARIANT` behind it where the config has variants.

    Raises:
      UserError: the config is missing, is none, refuses the variant, or fails.
    """
    path, variant = _find_config(selected)
    try:
        get_config = getattr(_load_module(path), "get_config", None)
        if get_config is None:
            raise UserError(f"--config={selected}: the file defines no get_config()")
        if variant is not None and not inspect.signature(get_config).parameters:
            raise UserError(f"--config={selected}: this config has no variants")
        config = get_config() if variant is None else get_config(variant)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--config={selected}: {_where(error, path)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={selected}: get_config() returned {type(config).__name__}, not a ConfigDict"
        )
    return config


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
    # The last colon: there may be others in a path, as behind the drive of one of Windows.
    given, _, variant = selected.rpartition(":") if ":" in selected else (selected, "", None)
    path = expanded(given)
    if path.is_file():
        return path, variant
    packaged = packaged_configs()
    if given in packaged:
        return packaged[given], variant
    neighbours = [str(file) for file in path.parent.glob("*.py")]
    hint = nearest_name_hint(given, [*packaged, *neighbours])
    names = f"; configs of the package: {', '.join(packaged)}" if path.name == given else ""
    raise UserError(f"--config={selected}: there is no file {given!r}{names}{hint}")


def _split_selection(argv: list[str]) -> tuple[str | None, list[str]]:
    """Takes `--config=VALUE` and `--config VALUE` out of `argv`; the last one counts."""
    selected: str | None = None
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            rest += [argument, *arguments]
            break
        match = _SELECTION.fullmatch(argument) if rest else None
        if match is None:
            rest.append(argument)
            continue
        value = match["value"] if match["value"] is not None else next(arguments, None)
        if not value:
            raise UserError("--config: a path is missing, as in --config=configs/ptb.py")
        selected = value
    return selected, rest


def _prepare_override(argument: str, config: ConfigDict) -> str:
    """Refuses an override of no key; writes `a,b` for a tuple key as ml_collections wants it."""
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        return argument
    key, leaves = match["key"], config_validation.flatten(config)
    if key not in leaves:
        members = [name for name in leaves if name.startswith(f"{key}.")]
        if members:
            raise UserError(f"--config.{key}: a group of keys; set one of {', '.join(members)}")
        _raise_unknown_key(key, list(leaves))
    if isinstance(leaves[key], tuple) and match["value"] is not None:
        items = re.findall(r"[^\s,()\[\]'\"]+", match["value"])
        return f"--config.{key}={tuple(items)!r}"
    return argument


def _raise_unknown_key(key: str, known: list[str]) -> NoReturn:
    # The last word alone decides where it is spelled right and only its group is wrong or missing.
    same_word = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    nearest = difflib.get_close_matches(key, same_word, n=1, cutoff=0.0) or (
        difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    )
    hint = f"; did you mean --config.{nearest[0]}?" if nearest else ""
    raise UserError(f"--config.{key}: there is no such key{hint}")


def _explain_flag_error(error: Exception) -> str:
    message = str(error.args[0]) if error.args else str(error)
    if missing := _MISSING.match(message):
        return f"--{missing['name']}=VALUE is missing: the command needs it"
    match = _ILLEGAL.fullmatch(message)
    if match is None:
        return message
    default = config_validation.flatten(base_config()).get(match["key"])
    kind = config_validation.type_name(default)
    return f"config.{match['key']}: {match['value']!r} given, allowed: a value of type {kind}"


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("spherical_vae_config_file", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config={path}: no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _where(error: Exception, path: Path) -> str:
    """Returns the kind of an error and its message, with the last line of the config it is from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    place = f" at line {lines[-1]}" if lines else ""
    if isinstance(error, SyntaxError):
        place = f" at line {error.lineno}"
    return f"{type(error).__name__}{place}: {error}"
