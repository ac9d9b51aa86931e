"""Corpora: text on disk to vocabularies, splits and padded batches. NumPy only, no JAX."""

from spherical_vae.data.batches import (
    batches_per_epoch,
    bucket_boundaries,
    epoch_batches,
    evaluation_batches,
)
from spherical_vae.data.corpus import END_ID, UNKNOWN_ID, Batch, Corpus, Split, Vocabulary
from spherical_vae.data.loading import load_corpus
from spherical_vae.data.prefetch import prefetched

__all__ = [
    "END_ID",
    "UNKNOWN_ID",
    "Batch",
    "Corpus",
    "Split",
    "Vocabulary",
    "batches_per_epoch",
    "bucket_boundaries",
    "epoch_batches",
    "evaluation_batches",
    "load_corpus",
    "prefetched",
]
