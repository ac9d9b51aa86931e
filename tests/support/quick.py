"""Compilation with few optimisations: most of the time of tests of whole models is compilation."""

import jax
from jax._src import compiler

# Of XLA, for commands as processes. The emitters of fusions are a second compiler, of a fusion at a
# time, which takes longer than all that follows it.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"

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
