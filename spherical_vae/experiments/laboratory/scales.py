"""How much of an experiment is run: `smoke` walks through it, `full` is what the paper ran.

What `cpu` leaves out differs from experiment to experiment and stands in their modules; rows of it
are never shown beside the paper's.
"""

from pathlib import Path

from ml_collections import ConfigDict

from spherical_vae.experiments.laboratory import tiny_corpus

SCALES = ("smoke", "cpu", "full")
# Seeds of a row where the command line does not say.
SEEDS = {"smoke": 1, "cpu": 1, "full": 3}
# Alternatives tried for a row.
SMOKE_TRIALS = 2
_SMOKE_DIMENSION = 4


def shrink(config: ConfigDict, folder: Path) -> None:
    """Turns a configuration into one of seconds, in place: same parts, a tiny corpus.

    Args:
      config: a whole configuration.
      folder: where the generated corpora are written.
    """
    # One name for all corpora: at this scale they are the same, and so are the runs.
    config.name = "smoke"
    if config.encoder.kind == "bag_of_words":
        config.data.name = "feat"
        config.data.path = str(tiny_corpus.write_documents(folder / "documents"))
    else:
        labelled = config.data.label_classes > 0
        name = "labelled_sentences" if labelled else "sentences"
        config.data.name = "text"
        config.data.path = str(tiny_corpus.write_sentences(folder / name, labelled))
        config.data.label_classes = tiny_corpus.LABELS if labelled else 0
    config.data.manual_dir = ""
    config.data.buckets = 1
    config.embedding_size = min(config.embedding_size, 8)
    config.label_embedding_size = min(config.label_embedding_size, 4)
    config.encoder.hidden_size = config.decoder.hidden_size = 8
    config.latent.dimension = min(config.latent.dimension, _SMOKE_DIMENSION)
    config.train.batch_size = config.evaluation.batch_size = 16
    config.train.epochs = 1
    config.train.steps = 8
    config.train.evaluate_every = config.train.log_every = 4
    config.evaluation.importance_samples = config.evaluation.chunk = 2
