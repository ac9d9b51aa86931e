"""Reuters-21578 as bags of words (NVDM): a small stand-in for RCV1, under its own name.

The data: FOLDER/reuters21578.tar.xz, the SGML distribution. ModApte split, title and body, stop
list, 10,000 words (`words2000`: 2,000); validation is carved from train by the data seed.

Paper row: none; RCV1 itself is `configs/rcv1.py`.
Command:   python -m spherical_vae.train --config=configs/reuters.py --workdir=DIR \\
             --config.data.manual_dir=FOLDER
           and the same with configs/reuters.py:gaussian
Device:    2 CPU cores, jax 0.10.2.
Expected:  test ELBO perplexity, corpus: 712.1 (`gaussian`: 657.2); IW-100: 610.8 (597.6). Seed 0,
           2026-11-26; RESULTS.md has the records, and those of other dimensions.
"""

from ml_collections import ConfigDict

from spherical_vae.config import apply_variant, nvdm_config

VARIANTS = {
    "fixed": {},
    "learned": {"latent.kind": "learned_vmf"},
    "gaussian": {"latent.kind": "gaussian"},
    "words2000": {"data.vocabulary_size": 2000},
}


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the setting, with a learned concentration, Gaussian, or with 2,000 words."""
    config = nvdm_config()
    config.name = "reuters"
    config.data.name = "reuters"
    config.data.vocabulary_size = 10_000
    config.latent.dimension = 50
    config.latent.concentration = 150.0
    return apply_variant(config, variant, VARIANTS)
