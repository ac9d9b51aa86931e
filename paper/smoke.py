"""Scale `smoke`: some rows of each table with few trials and samples, tiny models and corpora."""

import random
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from spherical_vae.config.validation import flatten
from spherical_vae.system.atomic_file import write_atomically

# Names, or groups, of the rows that are run; all of an experiment that is not here. Every other one
# is a program of its own to compile.
ROWS = {
    "table1": {
        "PTB inputless Gaussian 3 layers, no annealing",
        "PTB inputless Gaussian 1 layer, sigmoid annealing",
        "PTB inputless vMF 1 layer",
    },
    "table3": {
        "PTB, standard",
        "PTB, inputless",
        "Yelp inputless vMF",
        "PTB standard vMF, learned, learned prior (recipe)",
    },
    "table4": {"20NG, d=25"},
    "table5": {"PTB, inputless, with bag of words"},
    "fig4": {"PTB inputless Gaussian alpha=0.2", "PTB inputless vMF kappa=80"},
    "fig5": {"PTB, inputless", "PTB, inputless, with bag of words"},
    "fig6": {"PTB inputless vMF kappa=20", "PTB inputless vMF kappa=80"},
    "learned_kappa": {
        "exact gradient, 1 to 1000, tuned",
        "naive gradient, clipped to 50 to 150",
        "20NG vMF d=25",
        "20NG Gaussian d=25",
    },
    "ablation": {
        "PTB vMF full recipe",
        "PTB vMF without the mixture prior",
        "20NG vMF full recipe",
        "20NG vMF without a learned prior",
    },
}
TRIALS = 2
TIGHT_SAMPLES = 4

# One name: at this scale the corpora are the same, and so are the runs.
_SETTINGS: dict[str, str | int] = {
    "name": "smoke",
    "data.manual_dir": "",
    "data.buckets": 1,
    "encoder.hidden_size": 8,
    "decoder.hidden_size": 8,
    "train.batch_size": 32,
    "train.epochs": 1,
    "train.steps": 8,
    "train.evaluate_every": 4,
    "train.log_every": 4,
    "evaluation.batch_size": 16,
    "evaluation.importance_samples": 2,
    "evaluation.chunk": 2,
}
_AT_MOST = {
    "embedding_size": 8,
    "label_embedding_size": 4,
    "latent.dimension": 4,
    "prior.components": 4,
}
_EXAMPLES = {"train": 64, "valid": 16, "test": 16}
_LABELS, _WORDS = 5, 40


def shrink(config: ConfigDict, folder: Path) -> None:
    """Turns a configuration into one of seconds, on a corpus of `write_corpora`, in place."""
    values = flatten(config)
    smaller = {key: min(values[key], most) for key, most in _AT_MOST.items()}
    config.update_from_flattened_dict({**_SETTINGS, **smaller})
    if config.encoder.kind == "bag_of_words":
        config.data.name, corpus = "feat", "documents"
    else:
        labelled = config.data.label_classes > 0
        config.data.name, corpus = "text", "sentences_labelled" if labelled else "sentences"
        config.data.label_classes = _LABELS if labelled else 0
    config.data.path = str(folder / corpus)


def write_corpora(folder: Path) -> None:
    """Writes documents and sentences, with and without labels, into folders of their own."""
    for name, suffix, line in (
        ("documents", "feat", _document),
        ("sentences", "txt", partial(_sentence, False)),
        ("sentences_labelled", "txt", partial(_sentence, True)),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        generator = random.Random(0)
        for split, size in _EXAMPLES.items():
            lines = "".join(f"{line(generator)}\n" for _ in range(size))
            write_atomically(folder / name / f"{split}.{suffix}", lines)
    words = "".join(f"word{i} {2 * _WORDS - i}\n" for i in range(1, _WORDS + 1))
    write_atomically(folder / "documents" / "vocab.new", words)


def _sentence(labelled: bool, generator: random.Random) -> str:
    """Returns words of one of two halves of the vocabulary, after a label in 1..5 if labelled."""
    label = generator.randint(1, _LABELS)
    first = _WORDS // 2 * (label % 2)
    ids = generator.choices(range(first, first + _WORDS // 2), k=generator.randint(2, 6))
    return " ".join([*[str(label)] * labelled, *(f"word{i}" for i in ids)])


def _document(generator: random.Random) -> str:
    """Returns a bag of words of one of two topics in the layout of the 20 Newsgroups archive."""
    topic, half = generator.randint(0, 1), _WORDS // 2
    words = range(1 + topic * half, 1 + (topic + 1) * half)
    ids = sorted(generator.sample(words, generator.randint(3, 8)))
    return " ".join([str(topic + 1), *(f"{i}:{generator.randint(1, 3)}" for i in ids)])
