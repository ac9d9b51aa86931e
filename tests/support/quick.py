"""Compilation with few optimisations: most of the time of tests of whole models is compilation."""

import jax
from jax._src import compiler

# The emitters of fusions are a second compiler, which takes longer than all that follows it.
PLAIN_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
# The same for commands that are processes, by the environment.
QUICK_TO_COMPILE = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": PLAIN_EMITTERS}

_options = compiler.get_compile_options
_quick = False


def _get_compile_options(*arguments, env_options_overrides=None, **named):
    if _quick:
        few = {"xla_cpu_use_fusion_emitters": False}
        env_options_overrides = few | (env_options_overrides or {})
    return _options(*arguments, env_options_overrides=env_options_overrides, **named)


# JAX has no setting for an option of XLA that is of a time and not of the process.
compiler.get_compile_options = _get_compile_options


def compile_quickly(quick: bool) -> None:
    """Chooses how this process compiles from now on, and forgets what it has compiled otherwise."""
    global _quick
    if quick != _quick:
        _quick = quick
        jax.config.update("jax_disable_most_optimizations", quick)
        jax.clear_caches()
