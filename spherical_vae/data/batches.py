"""Padded batches of a split: shuffled epochs in length buckets, evaluation in order of length."""

from collections.abc import Iterator, Sequence

import numpy as np

from spherical_vae.data.buckets import bucket_boundaries
from spherical_vae.data.corpus import Batch, Split
from spherical_vae.data.shuffling import EPOCH, shuffled

__all__ = [
    "batches_per_epoch",
    "bucket_boundaries",
    "epoch_batches",
    "evaluation_batches",
    "gather_batch",
]


def batches_per_epoch(examples: int, batch_size: int) -> int:
    """Returns how many batches an epoch has; only the one that is not full has filler rows."""
    return -(-examples // batch_size)


def epoch_batches(
    split: Split,
    batch_size: int,
    boundaries: Sequence[int],
    *,
    seed: int,
    epoch: int,
    start: int = 0,
) -> Iterator[Batch]:
    """Yields every example of a split exactly once, in an order that hangs on seed and epoch only.

    Examples are shuffled and grouped by padded length. What does not fill a batch of its length is
    promoted to the next longer one, so all batches but one are full. Then batches are shuffled.

    Args:
      split: the examples.
      batch_size: rows of every batch.
      boundaries: increasing padded lengths, the last not below the longest example.
      seed: of the data order, non-negative.
      epoch: non-negative.
      start: batches to skip, which are not built.

    Yields:
      `batches_per_epoch(len(split), batch_size) - start` batches.

    Raises:
      ValueError: an example longer than the last boundary, or a negative `start`.
    """
    if start < 0:
        raise ValueError(f"start is {start}: batches to skip are 0 or more")
    order = shuffled(len(split), seed, EPOCH, epoch, 0)
    bucket = _buckets(split.lengths, boundaries)[order]
    ready, waiting = [], order[:0]
    for i in range(len(boundaries)):
        waiting = np.concatenate([waiting, order[bucket == i]])
        full = len(waiting) - len(waiting) % batch_size
        ready.append(waiting[:full])
        waiting = waiting[full:]
    plan = _rows(np.concatenate([*ready, waiting]), batch_size)
    for row in shuffled(len(plan), seed, EPOCH, epoch, 1)[start:]:
        yield gather_batch(split, plan[row], boundaries)


def evaluation_batches(split: Split, batch_size: int, boundaries: Sequence[int]) -> Iterator[Batch]:
    """Yields every example of a split exactly once, shortest first; the last batch may have filler.

    Args:
      split: the examples.
      batch_size: rows of every batch.
      boundaries: increasing padded lengths, the last not below the longest example.

    Yields:
      `batches_per_epoch(len(split), batch_size)` batches.

    Raises:
      ValueError: an example longer than the last boundary.
    """
    _buckets(split.lengths, boundaries)
    for rows in _rows(np.argsort(split.lengths, kind="stable"), batch_size):
        yield gather_batch(split, rows, boundaries)


def _buckets(lengths: np.ndarray, boundaries: Sequence[int]) -> np.ndarray:
    bucket = np.searchsorted(np.asarray(boundaries), lengths)
    if len(bucket) and bucket.max() == len(boundaries):
        raise ValueError(f"an example has {lengths.max()} slots, the last bucket {boundaries[-1]}")
    return bucket


def _rows(positions: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns positions as `[batches, batch_size]`, -1 where the last batch is not full."""
    plan = np.full(batches_per_epoch(len(positions), batch_size) * batch_size, -1, np.int64)
    plan[: len(positions)] = positions
    return plan.reshape(-1, batch_size)


def gather_batch(split: Split, index: np.ndarray, boundaries: Sequence[int]) -> Batch:
    """Returns chosen examples of a split as one padded batch.

    Args:
      split: the examples.
      index: `[B]` positions in the split; -1 for a row that only fills the batch.
      boundaries: increasing padded lengths; the first that holds every chosen example is taken.
    """
    real = index >= 0
    begin = np.where(real, split.offsets[index], 0)
    lengths = np.where(real, split.offsets[index + 1] - begin, 0)
    width = next(boundary for boundary in boundaries if boundary >= lengths.max())
    column = np.arange(width)
    filled = column < lengths[:, None]
    positions = (begin[:, None] + column)[filled]
    ids = np.zeros((len(index), width), np.int32)
    counts = np.zeros((len(index), width), np.int32)
    ids[filled] = split.ids[positions]
    counts[filled] = 1 if split.counts is None else split.counts[positions]
    labels = np.zeros(len(index), np.int32)
    if split.labels is not None:
        labels[real] = split.labels[index[real]]
    return Batch(ids, counts, labels, index.astype(np.int32))
