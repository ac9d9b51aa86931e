"""Shapes of public functions are checked in every test, and numeric surprises are errors."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Must run before the package is first imported, so that every annotated function is instrumented.
install_import_hook("spherical_vae", "beartype.beartype")

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
