"""Compilation with few optimisations: most of the time of tests of whole models is compilation."""

import jax

# The same for commands that are processes, by the environment.
QUICK_TO_COMPILE = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
_quick = False


def compile_quickly(quick: bool) -> None:
    """Chooses how this process compiles from now on, and forgets what it has compiled otherwise."""
    global _quick
    if quick != _quick:
        _quick = quick
        jax.config.update("jax_disable_most_optimizations", quick)
        jax.clear_caches()
