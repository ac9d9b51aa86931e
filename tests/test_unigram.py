"""The unigram floor against counts by hand."""

import numpy as np
import pytest
from small_models import small_corpus

from spherical_vae.evaluation.metrics import unigram_nats


@pytest.mark.parametrize("kind", ["sequences", "bags"])
def test_unigram_is_add_one_smoothed_train_frequency(kind):
    corpus = small_corpus(kind)
    counts = corpus.vocabulary.train_counts + 1
    log_frequencies = np.log(counts / counts.sum())
    split = corpus.splits["test"]
    nats = unigram_nats(corpus, "test").nll_nats
    assert nats.shape == (12,)
    for i in range(12):
        part = slice(split.offsets[i], split.offsets[i + 1])
        often = np.ones(part.stop - part.start) if split.counts is None else split.counts[part]
        assert nats[i] == pytest.approx(-(log_frequencies[split.ids[part]] * often).sum())
