"""JAX settings under which models are computed, independent of those of the process.

A run is a function of its configuration: 64-bit types would make another model of it (which no
checkpoint fits), and another generator, or threefry in its older order, other samples. Strict type
promotion and guarded transfers are for finding mistakes in a program; here both are meant.
What is left to the process changes no result: devices, NaN checks, rank promotion, disabled jit.
"""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def settings_of_models() -> Iterator[None]:
    """A context, or a decorator, in which this thread has them; afterwards it has its own again."""
    with contextlib.ExitStack() as settings:
        settings.enter_context(jax.enable_x64(False))
        settings.enter_context(jax.numpy_dtype_promotion("standard"))
        settings.enter_context(jax.transfer_guard("allow"))
        settings.enter_context(jax.default_prng_impl("threefry2x32"))
        settings.enter_context(jax.threefry_partitionable(True))
        yield
