"""Shapes of public functions are checked in every test, and numeric surprises are errors."""

import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Must run before the package is first imported, so that every annotated function is instrumented.
install_import_hook("spherical_vae", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402
from compiled_programs import exchange, prepare  # noqa: E402
from quick import compile_quickly  # noqa: E402

from spherical_vae.system.compilation_cache import keep_compiled_programs  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# Where this process keeps compiled programs, and where all do.
PROGRAMS = pytest.StashKey[tuple[Path, Path]]()

# Those that take longest: a worker that began one of these last would go on alone.
LONG_FILES = (
    "test_resume.py",
    "test_generate_command.py",
    "test_evaluate_command.py",
    "test_train_step.py",
    "test_hosts.py",
    "test_sharding.py",
    "test_prepared_alone.py",
    "test_accelerator_queue.py",
    "test_rate_control.py",
    "test_going_on.py",
    "test_devices.py",
    "test_numpyro.py",
    "test_latents.py",
)


def pytest_configure(config):
    alone = not hasattr(config, "workerinput")
    # Workers inherit it: corpora are prepared once for all, and nobody's own cache is touched.
    if alone:
        # Of workers and commands. NumPyro flattens its own distributions in the order of a set, and
        # a program in which their leaves change places is another program.
        os.environ.setdefault("PYTHONHASHSEED", "0")
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="spherical_vae_tests_")
    home = Path(os.environ["XDG_CACHE_HOME"])
    own = home / os.environ.get("PYTEST_XDIST_WORKER", "alone")
    # There is no cache of pytest's if its plugin is switched off.
    common = Path(config.cache.mkdir("compiled")) if hasattr(config, "cache") else home / "compiled"
    if alone:
        prepare(common)
    exchange(own, common)
    config.stash[PROGRAMS] = own, common
    # XLA's own caches would make the name of the folder a part of what a program is found by.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    keep_compiled_programs(str(own))
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(own),
        "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="module", autouse=True)
def _optimizations(request):
    """Compiles with few optimisations, but for modules that are marked `optimized`."""
    compile_quickly(request.node.get_closest_marker("optimized") is None)
    yield
    exchange(*request.config.stash[PROGRAMS])
