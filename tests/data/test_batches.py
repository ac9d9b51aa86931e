"""Padded lengths and batches: least padding, every example once, an order by seed and epoch."""

import itertools
import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spherical_vae.data.batches import (
    batches_per_epoch,
    bucket_boundaries,
    epoch_batches,
    evaluation_batches,
)
from spherical_vae.data.corpus import Split


def make_split(lengths, kind="sequences", labels=True):
    """Returns a split whose values tell which example and which slot they come from."""
    lengths = np.asarray(lengths, np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(offsets[-1], dtype=np.int32) + 2
    counts = None if kind == "sequences" else ids % 7 + 1
    return Split(ids, counts, offsets, np.arange(len(lengths), dtype=np.int32) if labels else None)


def check_batches(split, batches, batch_size, boundaries):
    """Asserts that the batches hold every example once, padded and labelled as stated."""
    assert len(batches) == batches_per_epoch(len(split), batch_size)
    index = np.concatenate([b.index for b in batches])
    assert sorted(index[index >= 0].tolist()) == list(range(len(split)))
    partial = [b for b in batches if (b.index < 0).any()]
    assert len(partial) <= 1
    for batch in batches:
        rows, width = batch.ids.shape
        assert rows == batch_size
        assert width in boundaries
        assert batch.counts.shape == (rows, width)
        assert all(array.dtype == np.int32 for array in batch)
        # No wider than its longest example asks for.
        longest = (batch.counts > 0).sum(axis=1).max()
        assert width == min(b for b in boundaries if b >= longest)
        for row, i in enumerate(batch.index):
            begin, end = (0, 0) if i < 0 else (split.offsets[i], split.offsets[i + 1])
            n = end - begin
            np.testing.assert_array_equal(batch.ids[row, :n], split.ids[begin:end])
            expected = 1 if split.counts is None else split.counts[begin:end]
            np.testing.assert_array_equal(batch.counts[row, :n], np.broadcast_to(expected, n))
            assert not batch.ids[row, n:].any()
            assert not batch.counts[row, n:].any()
            assert batch.labels[row] == (0 if i < 0 or split.labels is None else split.labels[i])


lengths_of_examples = st.lists(st.integers(1, 30), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=lengths_of_examples,
    batch_size=st.integers(1, 12),
    buckets=st.integers(1, 6),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
    kind=st.sampled_from(["sequences", "bags"]),
    data=st.data(),
)
def test_every_example_exactly_once_per_epoch(
    lengths, batch_size, buckets, seed, epoch, kind, data
):
    split = make_split(lengths, kind, labels=kind == "bags")
    boundaries = bucket_boundaries(split.lengths, buckets)
    batches = list(epoch_batches(split, batch_size, boundaries, seed=seed, epoch=epoch))
    check_batches(split, batches, batch_size, boundaries)
    start = data.draw(st.integers(0, len(batches) + 1))
    rest = list(epoch_batches(split, batch_size, boundaries, seed=seed, epoch=epoch, start=start))
    assert len(rest) == max(0, len(batches) - start)
    for one, other in zip(batches[start:], rest, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=lengths_of_examples,
    processes=st.integers(1, 6),
    rows=st.integers(1, 4),
    buckets=st.integers(1, 6),
    seed=st.integers(0, 2**40),
    data=st.data(),
)
def test_shares_of_the_processes_are_the_epoch(lengths, processes, rows, buckets, seed, data):
    """Nothing twice, nothing lost, the same shapes everywhere: for any number of processes."""
    split, batch_size = make_split(lengths), rows * processes
    boundaries = bucket_boundaries(split.lengths, buckets)
    start = data.draw(st.integers(0, batches_per_epoch(len(split), batch_size)))
    batches = partial(epoch_batches, split, batch_size, boundaries, seed=seed, epoch=3, start=start)
    shares = [batches(process_index=i, process_count=processes) for i in range(processes)]
    for batch, *parts in zip(batches(), *shares, strict=True):
        assert {part.ids.shape for part in parts} == {(rows, batch.ids.shape[1])}
        for array, *pieces in zip(batch, *parts, strict=True):
            np.testing.assert_array_equal(array, np.concatenate(pieces))


def test_shares_that_make_no_sense_are_refused():
    split = make_split([2, 3])
    with pytest.raises(ValueError, match="batch of 4 does not divide over 3 processes"):
        next(epoch_batches(split, 4, (3,), seed=0, epoch=0, process_count=3))
    with pytest.raises(ValueError, match="process 2 of 2"):
        next(epoch_batches(split, 4, (3,), seed=0, epoch=0, process_index=2, process_count=2))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(lengths=lengths_of_examples, batch_size=st.integers(1, 12), buckets=st.integers(1, 6))
def test_evaluation_goes_by_length_and_loses_nothing(lengths, batch_size, buckets):
    split = make_split(lengths)
    boundaries = bucket_boundaries(split.lengths, buckets)
    batches = list(evaluation_batches(split, batch_size, boundaries))
    check_batches(split, batches, batch_size, boundaries)
    seen = np.concatenate([split.lengths[b.index[b.index >= 0]] for b in batches])
    assert (np.diff(seen) >= 0).all()


def test_epochs_and_seeds_differ_and_repeat():
    split = make_split(np.random.default_rng(0).integers(1, 20, 500))
    boundaries = bucket_boundaries(split.lengths, 3)

    def order(seed, epoch):
        batches = epoch_batches(split, 16, boundaries, seed=seed, epoch=epoch)
        return np.concatenate([b.index for b in batches]).tolist()

    orders = [order(s, e) for s, e in itertools.product((0, 1, 2), (0, 1, 2))]
    assert len({tuple(o) for o in orders}) == 9
    assert order(1, 2) == order(1, 2)


def test_order_is_fixed_for_ever():
    """Resuming with a newer NumPy must not change the order: computed once with NumPy 2.4.6."""
    batches = epoch_batches(make_split([2] * 12), 4, (2,), seed=5, epoch=3)
    assert [b.index.tolist() for b in batches] == [[7, 6, 1, 11], [2, 8, 10, 0], [9, 5, 4, 3]]


def test_order_of_buckets_is_fixed_for_ever():
    """Five padded lengths, computed once as above; a batch is full of the next longer ones."""
    split = make_split([(7 * i) % 11 + 1 for i in range(23)])
    batches = epoch_batches(split, 5, (2, 4, 7, 9, 11), seed=1, epoch=2)
    assert [b.index.tolist() for b in batches] == [
        [11, 0, 19, 22, 8],
        [21, 10, 18, 4, 7],
        [17, 14, 6, -1, -1],
        [2, 13, 5, 16, 15],
        [1, 20, 12, 9, 3],
    ]


def test_companions_change_from_epoch_to_epoch():
    """Batches are drawn anew, not only put into another order."""
    split = make_split([3] * 64)
    batches = [
        {frozenset(b.index.tolist()) for b in epoch_batches(split, 8, (3,), seed=0, epoch=e)}
        for e in (0, 1)
    ]
    assert not batches[0] & batches[1]


def test_order_of_lengths_changes_from_epoch_to_epoch():
    """Not only the examples but the batches themselves are shuffled anew."""
    split = make_split([2] * 32 + [5] * 32)
    widths = {
        tuple(b.ids.shape[1] for b in epoch_batches(split, 4, (2, 5), seed=0, epoch=epoch))
        for epoch in range(5)
    }
    assert len(widths) == 5


def test_place_in_the_epoch_is_uniform():
    """Mean place of each of 20 examples over 400 epochs; z beyond 4.5 for one in 3,000 seeds."""
    split = make_split([1, 2, 3, 4] * 5)
    places = np.zeros(20)
    for epoch in range(400):
        batches = epoch_batches(split, 1, (2, 4), seed=0, epoch=epoch)
        index = np.concatenate([b.index for b in batches])
        places[index] += np.arange(20)
    z = (places / 400 - 9.5) / np.sqrt((20**2 - 1) / 12 / 400)
    assert np.abs(z).max() < 4.5


def test_example_longer_than_the_last_bucket_is_refused():
    split = make_split([2, 9])
    with pytest.raises(ValueError, match="9 slots, the last bucket 8"):
        next(epoch_batches(split, 2, (4, 8), seed=0, epoch=0))
    with pytest.raises(ValueError, match="9 slots"):
        next(evaluation_batches(split, 2, (4, 8)))
    with pytest.raises(ValueError, match="start"):
        next(epoch_batches(split, 2, (9,), seed=0, epoch=0, start=-1))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 14), min_size=1, max_size=40),
    buckets=st.integers(1, 4),
    longest=st.integers(0, 20),
)
def test_boundaries_pad_as_little_as_any_choice(lengths, buckets, longest):
    lengths = np.array(lengths)
    top = max(lengths.max(), longest)

    def slots(boundaries):
        bounds = np.array(boundaries)
        return bounds[np.searchsorted(bounds, lengths)].sum()

    chosen = bucket_boundaries(lengths, buckets, longest)
    assert len(chosen) <= buckets
    assert list(chosen) == sorted(set(chosen))
    assert chosen[-1] == top
    best = min(
        slots((*inner, top))
        for n in range(buckets)
        for inner in itertools.combinations(range(1, top), min(n, top - 1))
    )
    assert slots(chosen) == best


def test_boundaries_of_very_long_documents():
    lengths = np.random.default_rng(0).geometric(1e-3, 20_000)
    chosen = bucket_boundaries(lengths, 5, longest=50_000)
    assert len(chosen) == 5
    assert chosen[-1] >= 50_000
    bounds = np.array(chosen)
    assert bounds[np.searchsorted(bounds, lengths)].sum() < 2 * lengths.sum()


def test_batches_come_faster_than_any_model_eats_them():
    split = make_split(np.random.default_rng(0).integers(5, 40, 30_000))
    boundaries = bucket_boundaries(split.lengths, 4)
    seconds = []
    for epoch in range(3):
        # Of this thread alone: the processor may be busy with other work.
        begin = time.thread_time()
        for _ in epoch_batches(split, 64, boundaries, seed=0, epoch=epoch):
            pass
        seconds.append(time.thread_time() - begin)
    assert len(split) / min(seconds) > 100_000
