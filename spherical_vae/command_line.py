"""What every command line of the package shares: the `--config` flag, and mistakes in one line.

Which flags a command has, and what it does with them, is in the module of that command.
"""

import difflib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from spherical_vae import config_validation, hosts
from spherical_vae.compilation_cache import keep_compiled_programs
from spherical_vae.config import base_config
from spherical_vae.errors import UserError
from spherical_vae.kept_memory import keep_freed_memory
from spherical_vae.names import nearest_name_hint

COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    "",
    "folder of compiled programs, or none; default: $JAX_COMPILATION_CACHE_DIR or the user's cache",
)

_NAME = "config"
_HELP_FLAGS = re.compile(r"--?(help|h|helpshort|helpfull|helpxml)(=.*)?")
_OVERRIDE = re.compile(rf"(?P<dashes>--?)(?P<no>no)?{_NAME}\.(?P<key>[^=]*)(=(?P<value>.*))?", re.S)
_SELECTION = re.compile(rf"--?{_NAME}(=(?P<value>.*))?", re.S)
_MISSING = re.compile(r"flag --(?P<name>\w+)=None: Flag --\w+ must have a value")
_ILLEGAL = re.compile(rf"flag --{_NAME}\.(?P<key>[^=]*)=(?P<value>.*?): .*", re.S)


class ConfigFlag:
    """The `--config` flag and its overrides; `value` is there once the command line is parsed.

    The flag is registered with absl only when the command line is parsed: ml_collections reads a
    default config, and its overrides, where the flag is defined, so that a mistake would end in a
    traceback while the command is still being imported.
    """

    def __init__(self, default: str | None = None):
        self._default = default
        self._value: ConfigDict | None = None

    @property
    def value(self) -> ConfigDict:
        """The locked, validated configuration.

        Raises:
          RuntimeError: the command line has not been parsed.
        """
        if self._value is None:
            raise RuntimeError("the command line is parsed by command_line.run(main)")
        return self._value

    def parse(self, argv: list[str], flag_values: flags.FlagValues) -> list[str]:
        """Reads the config that `argv` names and defines a flag for each override in it.

        Args:
          argv: the command line, the program's name first.
          flag_values: where the flags are defined.

        Returns:
          The command line without the choice of the config; overrides are left for absl to parse.

        Raises:
          UserError: the config cannot be loaded, or an override names no key.
        """
        selected, argv = _split_selection(argv)
        selected = self._default if selected is None else selected
        config = base_config() if selected is None else load_config_file(selected)
        argv = [_prepare_override(argument, config) for argument in argv]
        config_flags.DEFINE_config_dict(
            _NAME,
            config,
            help_string="config file, configs/NAME.py or configs/NAME.py:VARIANT; a single key is "
            "overridden by --config.KEY=VALUE",
            flag_values=flag_values,
            lock_config=True,
            sys_argv=argv,
        )
        # --help shows the flags of the main program, which absl knows by its path, and would show
        # the whole configuration as the default of this one.
        flag_values.register_key_flag_for_module(argv[0], flag_values[_NAME])
        flag_values[_NAME].default_as_str = repr(self._default or "spherical_vae/config.py")
        self._value = config
        return argv


_config_flag: ConfigFlag | None = None
_host_flags: tuple[flags.FlagHolder, ...] = ()
_place_flags: tuple[flags.FlagHolder, ...] = ()


def define_config_flag(default: str | None = None) -> ConfigFlag:
    """Gives the command a `--config` flag with `--config.KEY=VALUE` overrides.

    Args:
      default: the config file used where none is named; None means `base_config()`.

    Returns:
      A holder whose `value` is the configuration once `run` has parsed the command line.
    """
    global _config_flag
    _config_flag = ConfigFlag(default)
    return _config_flag


def define_host_flags() -> None:
    """Gives the command the flags by which several processes find each other; see `hosts.join`."""
    global _host_flags
    _host_flags = (
        flags.DEFINE_string(
            "coordinator", None, "HOST:PORT of process 0, where several processes train together"
        ),
        flags.DEFINE_integer(
            "process_count",
            None,
            "processes in all; default: what SLURM or a TPU says, else 1",
            lower_bound=1,
        ),
        flags.DEFINE_integer("process_index", None, "of this process", lower_bound=0),
    )


def define_place_flags() -> None:
    """Gives the command flags that say where the corpus of a trained run lies today."""
    global _place_flags
    _place_flags = tuple(
        flags.DEFINE_string(name, None, f"config.data.{name}; default: as in training")
        for name in ("path", "manual_dir", "cache_dir")
    )


def given_places() -> dict[str, str]:
    """Returns those keys of `config.data` that the flags of `define_place_flags` change."""
    return {flag.name: flag.value for flag in _place_flags if flag.value is not None}


def load_config_file(selected: str) -> ConfigDict:
    """Returns what `get_config` of a config file returns.

    Args:
      selected: `PATH` or `PATH:VARIANT`.

    Raises:
      UserError: the file is missing, is no config, refuses the variant, or fails.
    """
    path_text, colon, variant = selected.partition(":")
    path = Path(path_text)
    if not path.is_file():
        neighbours = [str(file) for file in path.parent.glob("*.py")]
        hint = nearest_name_hint(path_text, neighbours)
        raise UserError(f"--config={selected}: there is no file {path_text!r}{hint}")
    try:
        get_config = getattr(_load_module(path), "get_config", None)
        if get_config is None:
            raise UserError(f"--config={selected}: the file defines no get_config()")
        if colon and not inspect.signature(get_config).parameters:
            raise UserError(f"--config={selected}: this config has no variants")
        config = get_config(variant) if colon else get_config()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--config={selected}: {_where(error, path)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={selected}: get_config() returned {type(config).__name__}, not a ConfigDict"
        )
    return config


def parse(argv: list[str], config_flag: ConfigFlag | None, flag_values: flags.FlagValues) -> None:
    """Parses a command line whole: config, overrides, flags.

    Args:
      argv: the command line, the program's name first.
      config_flag: the command's config flag, or None where it has none.
      flag_values: the flags that the command has defined.

    Raises:
      UserError: any mistake in it, positional arguments and an invalid configuration included.
    """
    try:
        argv = flag_values.read_flags_from_files(argv, force_gnu=False)
        if config_flag is not None:
            argv = config_flag.parse(argv, flag_values)
        rest = flag_values(argv)
    except UserError:
        raise
    # ml_collections reports some wrong values by TypeError, KeyError and the like.
    except (flags.Error, TypeError, ValueError, LookupError) as error:
        raise UserError(_explain_flag_error(error)) from error
    if len(rest) > 1:
        raise UserError(
            f"unexpected argument {rest[1]!r}: everything is given by flags, --NAME=VALUE"
        )
    if config_flag is not None:
        config_validation.validate(config_flag.value)


def run(main: Callable[[list[str]], Any]) -> NoReturn:
    """Runs a command: parses the command line, calls `main`, turns mistakes into one line.

    A `UserError` raised anywhere ends the process with exit status 2 and its message on standard
    error; Control-C with status 130. Other errors keep their traceback. Standard output is left to
    the command's results.

    Args:
      main: takes the program's name in a list, as absl has it; flags are read from their holders.
    """

    def prepare_and_call(argv: list[str]) -> None:
        keep_freed_memory()
        keep_compiled_programs(COMPILATION_CACHE.value)
        if _host_flags:
            hosts.join(*(flag.value for flag in _host_flags))
        main(argv)
        # Who is done first would else take the others for lost.
        hosts.wait_for_all()

    app.run(lambda argv: guarded(lambda: prepare_and_call(argv)), flags_parser=_parse_or_exit)
    sys.exit(0)


def _parse_or_exit(argv: list[str]) -> list[str]:
    def parse_all() -> None:
        # --help shows the flags of the main program, and these are shared by programs.
        for flag in (COMPILATION_CACHE, *_place_flags, *_host_flags):
            flags.FLAGS.register_key_flag_for_module(argv[0], flags.FLAGS[flag.name])
        try:
            parse(argv, _config_flag, flags.FLAGS)
        except SystemExit as stop:
            # absl exits with status 1 after printing the help that was asked for.
            asked = any(_HELP_FLAGS.fullmatch(argument) for argument in argv[1:])
            sys.exit(0 if asked else stop.code)

    guarded(parse_all)
    if flags.FLAGS["verbosity"].using_default_value:
        # absl would raise it to INFO now, and JAX then tells of every backend that it did not find.
        logging.set_verbosity(logging.WARNING)
    return argv[:1]


def guarded(action: Callable[[], Any]) -> None:
    """Calls `action`, turning mistakes into one line and an exit status; see `run`."""
    try:
        action()
        sys.stdout.flush()
    except UserError as error:
        # One line, whatever the message was built from.
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


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
