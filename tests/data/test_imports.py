"""Importing the data package, or a model, loads no reader of corpora."""

import subprocess
import sys

import pytest

# pathlib of Python 3.11 itself loads urllib.parse, and JAX what it likes: what counts is what the
# statement adds.
ADDED = """
import sys
{before}
there = set(sys.modules)
{statement}
added = set(sys.modules) - there
heavy = {{"urllib.request", "http.client", "lzma", "csv", "tarfile", "zipfile", "gzip"}}
print(*sorted(added & heavy))
print(*sorted(m for m in added if m.startswith("spherical_vae.data.")))
"""


@pytest.mark.parametrize(
    ("before", "statement"),
    [
        ("import numpy, jaxtyping", "import spherical_vae.data"),
        ("import flax.linen, numpyro.distributions", "import spherical_vae.models.vae"),
    ],
)
def test_batches_come_without_readers(before, statement):
    done = subprocess.run(
        [sys.executable, "-c", ADDED.format(before=before, statement=statement)],
        capture_output=True,
        text=True,
        check=True,
    )
    libraries, modules = done.stdout.splitlines()
    assert libraries == ""
    assert modules == "spherical_vae.data.batch"
