"""20 Newsgroups as bags of words: a document model (NVDM) with 2,000 words.

The data: a folder or zip archive with train.feat and test.feat (`label id:count ...`, ids from 1)
and vocab.new (`word count` a line). The authors of the paper publish it as `20ng.zip` in the
repository of their code (jiacheng-xu/vmf_vae_nlp), which works as it is:
`--config.data.path=FOLDER/20ng.zip`. The dev split is carved from train, never from test.

Paper row: table 4, 20NG, vMF NVDM d=25: 793. The model is the paper's, except that it reads
           log(1 + count) and the decoder sees sqrt(d) z; training is ours (Adam, cosine decay).
           Variants: `learned`, a concentration for each document; `gaussian`, the baseline.
Command:   python -m spherical_vae.train --config=configs/news20.py --workdir=DIR \\
             --config.data.path=FOLDER/20ng.zip --config.seed=SEED
           and the same with configs/news20.py:learned
Device:    2 CPU cores, jax 0.10.2.
Expected:  test ELBO perplexity, corpus: 799.5 (`learned`: 769.0); IW-100: 752.4 (742.6). Means of
           seeds 0, 1, 2; 90 to 140 s of training a run; 2026-11-23.
"""

from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.config_validation import apply_variant

VARIANTS = {
    "fixed": {},
    "learned": {"latent.kind": "learned_vmf"},
    "gaussian": {"latent.kind": "gaussian"},
}


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the setting with a fixed concentration, a learned one, or the Gaussian baseline."""
    config = base_config()
    config.name = "news20"
    config.baselines = ()

    config.data.name = "feat"
    config.data.path = "data/20news"
    config.data.vocabulary_size = 2000
    # Batches of one length each, their gradients clipped, weigh short documents as much as long
    # ones: with four buckets dev perplexity came out about 4% higher.
    config.data.buckets = 1

    config.dropout_rate = 0.2
    config.encoder.kind = "bag_of_words"
    config.encoder.hidden_size = 400
    config.encoder.layers = 2
    config.decoder.kind = "bag_of_words"
    config.decoder.hidden_size = 400
    config.decoder.layers = 1

    config.latent.dimension = 25
    config.latent.concentration = 100.0

    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 0.0
    config.train.batch_size = 100
    config.train.epochs = 60
    config.train.evaluate_every = 535  # five epochs
    return apply_variant(config, variant, VARIANTS)
