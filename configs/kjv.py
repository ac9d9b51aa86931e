"""The default: small inputless models on the King James verses, vMF beside its baselines.

Paper row: none; the corpus comes with the extra `demo`: nothing else is downloaded.
Command:   python -m spherical_vae.train
Device:    2 CPU cores.
Expected:  test IW bound 148.95 nats per verse (RNNLM 154.62, Gaussian 150.79, unigram 158.30),
           180 s in all; seed 0, 100 samples, jax 0.10.2, 2026-11-27.
"""

from ml_collections import ConfigDict

from spherical_vae.config import apply_variant, base_config

VARIANTS = {"inputless": {}, "standard": {"decoder.inputless": False}}


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the base configuration as it is, or with a decoder that sees the previous word."""
    return apply_variant(base_config(), variant, VARIANTS)
