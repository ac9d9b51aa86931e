"""Compiled programs are kept on disk by JAX: a second start of the same command compiles nothing.

A program is found again by a digest of itself, the versions, XLA's flags and the processor's kind;
a damaged entry, as a kill or a full disk leaves it, is told of by JAX and compiled again at every
start until it is removed.
"""

import os
import sys
from pathlib import Path

from spherical_vae.system.errors import UserError

_FOLDER_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
# Half a second of every start goes into programs that JAX by itself would find too small to keep.
_KEEP_ALL = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def keep_compiled_programs(given: str = "") -> None:
    """Tells JAX where to keep compiled programs; it need not have been imported yet.

    Args:
      given: a folder; "none" for none; empty for $JAX_COMPILATION_CACHE_DIR or else
        `spherical_vae/compiled` below $XDG_CACHE_HOME or ~/.cache.

    Raises:
      UserError: the folder that was given cannot be written. Where it is the user's cache, a line
        on standard error says so, and every start compiles.
    """
    if given == "none":
        _configure({"jax_enable_compilation_cache": False})
        return
    named = given or os.environ.get(_FOLDER_VARIABLE, "")
    try:
        folder = Path(named).expanduser() if named else _default_folder()
        # What is in there is executed: nobody else may write it.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied", str(folder))
    except (OSError, RuntimeError) as error:
        reason = f"compiled programs cannot be kept ({error})"
        if named:
            raise UserError(
                f"{reason}; choose another --compilation_cache=FOLDER, or none"
            ) from None
        print(f"{reason}: every start compiles; see --compilation_cache", file=sys.stderr)
        return
    kept = {name: value for name, value in _KEEP_ALL.items() if name.upper() not in os.environ}
    _configure({"jax_compilation_cache_dir": str(folder.absolute()), **kept})


def _default_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "spherical_vae" / "compiled"


def _configure(options: dict[str, bool | float | str]) -> None:
    # By the environment, which JAX reads when it is imported: a command that ends in a mistake need
    # not have waited for that.
    if "jax" not in sys.modules:
        os.environ.update({name.upper(): str(value) for name, value in options.items()})
        return
    import jax

    for name, value in options.items():
        jax.config.update(name, value)
