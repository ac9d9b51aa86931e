"""Your own sentences: the default model on a folder or zip archive of plain text.

The data: train.txt and test.txt, and valid.txt, which is otherwise carved from train; one sentence
per line, its words separated by white space. Where each line begins with a label in 1..n, set
`--config.data.label_classes=n`, and `--config.label_embedding_size=50` to feed it to the decoder.

Paper row: none.
Command:   python -m spherical_vae.train --config=configs/text.py --workdir=DIR \\
             --config.data.path=FOLDER
Device:    any; the model is small.
Expected:  depends on the text.
"""

from ml_collections import ConfigDict

from spherical_vae.config import apply_variant, base_config

VARIANTS = {"inputless": {}, "standard": {"decoder.inputless": False}}


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the default model on plain text: inputless, or seeing the previous word."""
    config = base_config()
    config.name = "text"
    config.baselines = ()  # ("none", "gaussian") are trained beside it, and compared
    config.data.name = "text"
    config.data.path = "data/text"
    config.data.vocabulary_size = 10_000
    config.train.epochs = 10
    return apply_variant(config, variant, VARIANTS)
