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

from spherical_vae.system.compilation_cache import keep_compiled_programs  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# Half a minute or more each, with few tests in them: a worker that began one of these last would go
# on alone.
LONG_FILES = (
    "test_resume.py",
    "test_generate_command.py",
    "test_evaluate_command.py",
    "test_train_step.py",
    "test_hosts.py",
    "test_main_job.py",
    "test_paper_command.py",
    "test_prepared_alone.py",
    "test_run_directory.py",
)


def pytest_configure(config):
    # Workers inherit it: corpora are prepared once for all, and nobody's own cache is touched.
    if not hasattr(config, "workerinput"):
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="spherical_vae_tests_")
    # Tests compile the same small models again and again. A folder for each worker: JAX writes an
    # entry in place, and another process could read the half of it.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    keep_compiled_programs(str(Path(os.environ["XDG_CACHE_HOME"]) / worker))


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="module")
def quick_to_compile():
    """Programs of this module are compiled with few optimisations.

    For tests of whole models, whose time is compilation. Where numbers are compared to the bit, or
    the numerics of one function are the subject, what runs is what users get.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    # The next module may need the same programs, compiled in full.
    jax.clear_caches()
