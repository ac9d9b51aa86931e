"""JAX's cache of compiled programs on disk: a second start of a command compiles nothing.

JAX finds a program by a digest of the program, the versions, XLA's flags and the processor. A
damaged entry, from a kill or a full disk, is reported by JAX and compiled again at each start until
it is removed.
"""

import os
from pathlib import Path

from spherical_vae.system.errors import UserError
from spherical_vae.system.jax_settings import configure
from spherical_vae.system.paths import is_url
from spherical_vae.system.standard_error import tell

# Programs that JAX finds too small to keep by default cost half a second of each start.
_KEEP_ALL = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def keep_compiled_programs(given: str = "") -> None:
    """Tells JAX where to keep compiled programs; JAX need not have been imported yet.

    Args:
      given: a folder, or a URL that JAX can write to; "none" for no cache; empty for
        $JAX_COMPILATION_CACHE_DIR, or else `spherical_vae/compiled` below $XDG_CACHE_HOME or
        ~/.cache.

    Raises:
      UserError: a folder that was named cannot be written. If it is the default one, a line on
        standard error says so, and each start compiles.
    """
    if given == "none":
        configure({"jax_enable_compilation_cache": False})
        return
    named = given or os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    kept = {name: value for name, value in _KEEP_ALL.items() if name.upper() not in os.environ}
    if is_url(named):
        configure({"jax_compilation_cache_dir": named, **kept})
        return
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "spherical_vae", "compiled")
    try:
        folder = Path(named or default).expanduser()
        # The content of the cache is executed: no other user may write it.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied", str(folder))
    except (OSError, RuntimeError) as error:
        reason = f"compiled programs cannot be kept ({error})"
        if named:
            raise UserError(
                f"{reason}; choose another --compilation_cache=FOLDER, or none"
            ) from None
        tell(f"{reason}: every start compiles; see --compilation_cache")
        return
    configure({"jax_compilation_cache_dir": str(folder.absolute()), **kept})
