"""Steps that share a call are the steps taken one by one, and the host looks at the same places."""

import itertools
import json

import jax
import numpy as np
import pytest
from small_models import small_config, small_corpus

from spherical_vae.data.batch import Batch
from spherical_vae.runs.metrics_log import is_reproducible
from spherical_vae.runs.run_directory import open_run
from spherical_vae.training.chunks import chunks
from spherical_vae.training.loop import Trainer
from spherical_vae.training.schedules import call_lengths


def batch(width, number):
    return Batch(np.full((3, width), number), np.ones((3, width)), np.zeros(3), np.full(3, number))


def grouped(widths, longest, pauses=(), step=0):
    given = [batch(width, i) for i, width in enumerate(widths)]
    return list(chunks(given, step, longest, lambda done: done in pauses))


@pytest.mark.parametrize("longest", [1, 2, 3, 6, 8])
def test_chunks_keep_order_shapes_and_pauses(longest):
    generator = np.random.default_rng(longest)
    widths = generator.choice([5, 7], 60, p=[0.8, 0.2])
    found = grouped(widths, longest, pauses=(20, 33))
    assert [
        (ids.shape[-1], int(number[0]))
        for chunk in found
        for ids, number in zip(
            chunk.batches.ids.reshape(chunk.steps, 3, -1),
            chunk.batches.index.reshape(chunk.steps, 3),
            strict=True,
        )
    ] == list(zip(widths, range(60), strict=True))
    ends = list(itertools.accumulate(chunk.steps for chunk in found))
    assert {20, 33, 60} <= set(ends)
    # Few lengths, hence few programs.
    assert {chunk.steps for chunk in found} <= {1, 2, 4, longest}
    # What follows the end of any group is grouped the same when training starts there.
    for i, end in enumerate(ends[:-1]):
        again = grouped(widths[end:], longest, pauses=(20 - end, 33 - end))
        assert [c.steps for c in again] == [c.steps for c in found[i + 1 :]]


@pytest.mark.parametrize("longest", [1, 2, 6, 8])
def test_call_lengths_sum_up(longest):
    for steps in range(40):
        lengths = list(call_lengths(steps, longest))
        assert sum(lengths) == steps
        assert max(lengths, default=0) <= longest


def trained(workdir, steps_per_call):
    config = small_config(
        train__steps_per_call=steps_per_call,
        train__steps=24,
        train__log_every=7,
        train__checkpoint_every=9,
        optimizer__name="sgd",
        optimizer__learning_rate=0.5,
        dropout_rate=0.3,
        data__buckets=2,
    )
    corpus = small_corpus(examples=46)
    traces = []
    with open_run(workdir, config) as run:
        trainer = Trainer(config, corpus, run)
        call = trainer._call
        trainer._call = lambda state, batches, hypers: (
            traces.append(batches.ids.shape),
            call(state, batches, hypers),
        )[1]
        params = trainer.train().params
    lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [
        {key: value for key, value in json.loads(line).items() if is_reproducible(key)}
        for line in lines
    ]
    return params, records, traces


def test_several_steps_a_call_train_alike(tmp_path):
    params, records, _ = trained(tmp_path / "one", 1)
    chunked, chunked_records, shapes = trained(tmp_path / "four", 4)
    assert any(len(shape) == 3 and shape[0] == 4 for shape in shapes)
    assert len({shape[-1] for shape in shapes}) == 2
    # To the bit on CPU, where these tests run; nothing is promised of other compilers' sums.
    for ours, theirs in zip(jax.tree.leaves(chunked), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert chunked_records == records
