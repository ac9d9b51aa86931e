"""Corpora: text on disk to vocabularies, splits and padded batches. NumPy only, no JAX.

Importing the package loads no reader of any corpus: `load_corpus` is loaded when it is asked for.
"""

from typing import Any

from spherical_vae.data.batch import END_ID, UNKNOWN_ID, Batch

__all__ = ["END_ID", "UNKNOWN_ID", "Batch", "load_corpus"]


def __getattr__(name: str) -> Any:
    if name == "load_corpus":
        from spherical_vae.data.loading import load_corpus

        return load_corpus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
