"""JAX settings under which models are computed, independent of those of the process.

A run is a function of its configuration: 64-bit types would change the model, so that no checkpoint
fits; another generator, or another order of Threefry, would change the samples. Strict type
promotion and transfer guards find mistakes in a program; here promotion and transfers are intended.
Settings that change no result are left to the process: devices, NaN checks, rank promotion, jit.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

# By the names of JAX's context managers; its options have the prefix `jax_`.
_SETTINGS: dict[str, bool | str] = {
    "enable_x64": False,
    "numpy_dtype_promotion": "standard",
    "transfer_guard": "allow",
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
}


@contextlib.contextmanager
def settings_of_models() -> Iterator[None]:
    """A context, or a decorator, with these settings in the current thread."""
    import jax

    with contextlib.ExitStack() as settings:
        for name, value in _SETTINGS.items():
            settings.enter_context(getattr(jax, name)(value))
        yield


def set_in_process() -> None:
    """Makes them the settings of the process."""
    configure({f"jax_{name}": value for name, value in _SETTINGS.items()})


def configure(options: Mapping[str, bool | float | str]) -> None:
    """Sets options of JAX, which need not have been imported yet.

    JAX reads the environment when it is imported: a command that ends with a mistake in its command
    line need not wait for that.
    """
    if "jax" not in sys.modules:
        os.environ.update({name.upper(): str(value) for name, value in options.items()})
        return
    import jax

    for name, value in options.items():
        jax.config.update(name, value)
