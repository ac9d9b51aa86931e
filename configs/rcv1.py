"""RCV1-v2 as bags of words: a document model (NVDM) with 10,000 stems.

The data: Miao's train.feat, test.feat and vocab.new as FOLDER/rcv1.zip, or a folder of the five
token files lyrl2004_tokens_*.dat.gz of Lewis et al. (2004), given by `--config.data.path=FOLDER`.
Counts are checked. From token files the 10,000 most frequent stems stay, and 10,000 documents are
sampled for test by the data seed. Needs the extra `corpora`. `configs/reuters.py` is a stand-in.

Paper row: table 4, RCV1, vMF NVDM d=50: 529. kappa is the likely one, not printed.
Command:   python -m spherical_vae.train --config=configs/rcv1.py --workdir=DIR \\
             --config.data.manual_dir=FOLDER
Device:    not yet run.
Expected:  not yet run.
"""

from ml_collections import ConfigDict

from spherical_vae.config import apply_variant, nvdm_config

VARIANTS = {
    "fixed": {},
    "learned": {"latent.kind": "learned_vmf"},
    "gaussian": {"latent.kind": "gaussian"},
}


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the setting with a fixed concentration, a learned one, or the Gaussian baseline."""
    config = nvdm_config()
    config.name = "rcv1"
    config.data.name = "rcv1"
    config.data.vocabulary_size = 10_000
    config.encoder.hidden_size = 800
    config.decoder.hidden_size = 800
    config.latent.dimension = 50
    config.latent.concentration = 150.0
    config.train.epochs = 5
    return apply_variant(config, variant, VARIANTS)
