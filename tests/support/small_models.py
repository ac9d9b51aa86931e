"""Tiny corpora, configurations and batches for tests of models; no test lives here."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.data.batch import END_ID, Batch
from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.vae import build_vae
from spherical_vae.parallel.sharding import data_mesh

WORDS = 12


def small_config(**overrides: object) -> ConfigDict:
    """Returns the base configuration shrunk to seconds; overrides use dots as `__`."""
    config = base_config()
    config.baselines = ()
    config.embedding_size = 5
    config.encoder.hidden_size = config.decoder.hidden_size = 7
    config.latent.dimension = 4
    config.latent.concentration = 6.0
    config.train.batch_size = 4
    config.evaluation.batch_size = 4
    config.evaluation.importance_samples = 6
    config.evaluation.chunk = 4
    for key, value in overrides.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


class Programs:
    """Programs that trainings of one model and corpus share, so that they are compiled once.

    Args:
      config: of the model.
      corpus: that it is trained on.
    """

    def __init__(self, config: ConfigDict, corpus: Corpus) -> None:
        model = build_vae(config, len(corpus.vocabulary))
        mesh = data_mesh(config.train.batch_size)
        self._evaluator = Evaluator(model, config, corpus, mesh)
        self._step: Callable | None = None

    def options(self) -> dict[str, object]:
        """Returns the keyword arguments of a `Trainer` by which it uses them."""
        return {"evaluator": self._evaluator, "compile_step": self._compile_step}

    def _compile_step(self, function: Callable, **options: object) -> Callable:
        self._step = self._step or jax.jit(function, **options)
        return self._step


def sentences(rows: int = 6, longest: int = 8, seed: int = 0) -> Batch:
    """Returns random sentences with end marks, padded to `longest`."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, longest + 1, rows)
    ids = generator.integers(2, WORDS, (rows, longest)).astype(np.int32)
    inside = np.arange(longest) < lengths[:, None]
    ids[np.arange(rows), lengths - 1] = END_ID
    labels = generator.integers(0, 3, rows).astype(np.int32)
    return on_device(
        Batch(np.where(inside, ids, 0), inside.astype(np.int32), labels, np.arange(rows))
    )


def on_device(batch: Batch) -> Batch:
    """Returns the batch as JAX arrays, as compiled functions see it."""
    return Batch(*(jnp.asarray(column, jnp.int32) for column in batch))


def repad(batch: Batch, width: int) -> Batch:
    """Returns the same examples with more padding."""
    extra = width - batch.ids.shape[1]
    pad = ((0, 0), (0, extra))
    return batch._replace(ids=jnp.pad(batch.ids, pad), counts=jnp.pad(batch.counts, pad))


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    """Returns chosen rows."""
    return Batch(*(column[jnp.asarray(rows)] for column in batch))


def small_corpus(kind: str = "sequences", examples: int = 40, seed: int = 0) -> Corpus:
    """Returns a corpus in which the first word says which of two halves the others come from."""
    generator = np.random.default_rng(seed)
    splits = {}
    for name, size in (("train", examples), ("valid", 12), ("test", 12)):
        ids, counts, offsets = [], [], [0]
        for _ in range(size):
            topic = generator.integers(2)
            length = generator.integers(3, 8)
            words = generator.integers(2 + 5 * topic, 7 + 5 * topic, length)
            if kind == "sequences":
                ids += [*words, END_ID]
                counts += [1] * (length + 1)
            else:
                distinct, often = np.unique(words, return_counts=True)
                ids += list(distinct)
                counts += list(often)
            offsets.append(len(ids))
        splits[name] = Split(
            np.asarray(ids, np.int32),
            None if kind == "sequences" else np.asarray(counts, np.int32),
            np.asarray(offsets, np.int64),
            None,
        )
    train = splits["train"]
    weights = None if train.counts is None else train.counts
    frequencies = np.bincount(train.ids, weights, minlength=WORDS).astype(np.int64)
    words = ("<unk>", "</s>", *(f"w{i}" for i in range(2, WORDS)))
    return Corpus("small", kind, Vocabulary(words, frequencies), splits, 0, ())
