"""Corpora: text on disk to vocabularies, splits and padded batches. NumPy only, no JAX."""
