"""Corpora: text on disk to vocabularies, splits and padded batches. NumPy only, no JAX.

The path from a zip archive to a batch:

- `loading.py` opens the prepared corpus, or has it read, encoded and written;
- `corpora/`: one `CorpusSpec` a file, with its reader; `sources.py` finds or fetches the archive;
- `published.py` keeps a published corpus as TFDS records; `files.py` turns archives into lines;
- `examples.py` holds what was read, and encodes it to a `Corpus`, of `corpus.py`;
- `batches.py` yields each `Batch`, of `batch.py`; `prefetch.py` runs ahead of the training step.

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
