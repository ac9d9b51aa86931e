"""Corpora: text on disk to vocabularies, splits and padded batches. NumPy only, no JAX.

The path from a zip archive to a batch, in order:

1. `settings.py`: the keys of `config.data`, their defaults and checks;
2. `loading.py`: opens the corpus if it is prepared (on to 8), or has it read (3 to 7) and written;
3. `corpora/`: one `CorpusSpec` a file, with its reader;
4. `sources.py`: the kinds of `CorpusSpec` and source; finds or fetches the archive;
5. `published.py`: reads a published corpus once, by a TFDS builder that keeps it as records;
6. `files.py` and `raw_text.py`: folders, archives and tables to lines, raw text to words;
7. `examples.py`: what was read, carved into splits and encoded by the vocabulary of train;
8. `corpus.py`: the `Corpus`, written to a folder and mapped from it;
9. `batches.py`: padded lengths and each `Batch` (of `batch.py`), or the rows of one process;
10. `prefetch.py`: runs ahead of the training step, and calls what copies a batch to the devices:
    `shard_batch` of `parallel/sharding.py`, which divides its rows over them.

Beside it: `__main__.py` (the command), `statistics.py`, and `given_texts.py` for texts of a user.

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
