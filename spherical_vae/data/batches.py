"""Padded batches of a split: shuffled epochs in length buckets, evaluation in order of length."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from spherical_vae.data.batch import Batch
from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.data.examples import EPOCH, shuffled

# Of padded lengths; with more the exact search is slow and its result no better.
_MAX_CANDIDATES = 512


def corpus_boundaries(corpus: Corpus, buckets: int) -> tuple[int, ...]:
    """Returns padded lengths fitted to train that hold every example of every split."""
    longest = max(int(split.lengths.max()) for split in corpus.splits.values())
    return bucket_boundaries(corpus.splits["train"].lengths, buckets, longest)


def bucket_boundaries(
    lengths: Int[np.ndarray, " examples"], buckets: int, longest: int = 0
) -> tuple[int, ...]:
    """Returns the padded lengths that minimise the padded slots of a split, in increasing order.

    An example goes to the first one that is not below its length. Exact dynamic programme over the
    histogram of lengths; for very long examples over lengths rounded up to a common step.

    Args:
      lengths: `[examples]` slots of each example, at least 1.
      buckets: padded lengths wanted, at least 1; there are fewer if fewer lengths differ.
      longest: of all splits; the last padded length is at least that.
    """
    longest = max(int(lengths.max()), longest)
    step = -(-longest // _MAX_CANDIDATES)
    histogram = np.bincount(-(-lengths // step), minlength=-(-longest // step) + 1)
    candidates = histogram > 0
    candidates[-1] = True  # holds the longest example of another split, at no cost here
    rounded, examples = np.flatnonzero(candidates) * step, histogram[candidates]
    below = np.concatenate([[0], np.cumsum(examples)])
    # cost[j]: least slots of the examples up to candidate j with the buckets used so far, the
    # last of them ending at j; start[j]: the first candidate of that last bucket.
    cost = (below[1:] * rounded).astype(np.float64)
    starts = [np.zeros(len(rounded), np.int64)]
    for _ in range(min(buckets, len(rounded)) - 1):
        before = np.concatenate([[0.0], cost[:-1]])
        # total[i, j]: the last bucket holds candidates i..j.
        total = before[:, None] + (below[None, 1:] - below[:-1, None]) * rounded[None, :]
        total[np.tril_indices(len(rounded), -1)] = np.inf
        starts.append(np.argmin(total, axis=0))
        cost = np.min(total, axis=0)
    boundaries, last = [], len(rounded) - 1
    for start in reversed(starts):
        boundaries.append(int(rounded[last]))
        last = int(start[last]) - 1
    return tuple(reversed(boundaries))


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
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Yields every example of a split exactly once, in an order set by seed and epoch alone.

    Examples are shuffled and grouped by padded length. Those that do not fill a batch of their
    length are promoted to the next longer one, so all batches but one are full. Then batches are
    shuffled.

    Each of several processes gets its share of the rows of every batch, in the padded length of the
    whole batch: put one below the other, the shares are the batch that one process alone would get.

    Args:
      split: the examples.
      batch_size: rows of every batch, over all processes.
      boundaries: increasing padded lengths, the last not below the longest example.
      seed: of the data order, non-negative.
      epoch: non-negative.
      start: batches to skip, which are not built.
      process_index: whose share, from 0.
      process_count: processes that share each batch; divides `batch_size`.

    Yields:
      `batches_per_epoch(len(split), batch_size) - start` batches of `batch_size / process_count`
      rows; memory is that of the order, tokens are read batch by batch.

    Raises:
      ValueError: an example longer than the last boundary, a negative `start`, or a batch that does
        not divide over the processes.
    """
    if start < 0:
        raise ValueError(f"start is {start}: batches to skip are 0 or more")
    # Half the memory, which is what grows with the corpus.
    narrow = np.int32 if len(split) < 2**31 else np.int64
    order = shuffled(len(split), seed, EPOCH, epoch, 0).astype(narrow)
    small = np.min_scalar_type(len(boundaries))
    bucket = np.searchsorted(np.asarray(boundaries), split.lengths).astype(small)[order]
    ready, waiting = [], order[:0]
    for i in range(len(boundaries)):
        waiting = np.concatenate([waiting, order[bucket == i]])
        full = len(waiting) - len(waiting) % batch_size
        ready.append(waiting[:full])
        waiting = waiting[full:]
    plan = _rows(np.concatenate([*ready, waiting]), batch_size)
    plan = plan[shuffled(len(plan), seed, EPOCH, epoch, 1)[start:]]
    yield from _shares(split, plan, boundaries, process_index, process_count)


def evaluation_batches(split: Split, batch_size: int, boundaries: Sequence[int]) -> Iterator[Batch]:
    """Yields every example of a split exactly once, shortest first; the last batch may have filler.

    Arguments and errors are those of `epoch_batches`; every process gets whole batches.
    """
    plan = _rows(np.argsort(split.lengths, kind="stable"), batch_size)
    yield from _shares(split, plan, boundaries, 0, 1)


def _rows(positions: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns positions as `[batches, batch_size]`, -1 where the last batch is not full."""
    filler = -len(positions) % batch_size
    return np.pad(positions, (0, filler), constant_values=-1).reshape(-1, batch_size)


def _shares(
    split: Split, plan: np.ndarray, boundaries: Sequence[int], process_index: int, processes: int
) -> Iterator[Batch]:
    """Yields the rows of each batch that one process gets."""
    if not 0 <= process_index < processes:
        raise ValueError(f"process {process_index} of {processes}: they count from 0")
    if plan.shape[1] % processes:
        raise ValueError(
            f"a batch of {plan.shape[1]} does not divide over {processes} processes; "
            f"use a multiple of {processes}"
        )
    longest = int(split.lengths.max(initial=0))
    if longest > boundaries[-1]:
        raise ValueError(f"an example has {longest} slots, the last bucket {boundaries[-1]}")
    for rows in plan:
        # The length of the whole batch: a compiled step over all processes has one shape.
        longest = split.lengths[rows[rows >= 0]].max()
        width = next(boundary for boundary in boundaries if boundary >= longest)
        yield gather_batch(split, np.split(rows, processes)[process_index], width)


def gather_batch(split: Split, index: np.ndarray, width: int | None = None) -> Batch:
    """Returns chosen examples of a split as one padded batch.

    Args:
      split: the examples.
      index: `[B]` positions in the split; -1 for a row that only fills the batch.
      width: padded length; by default that of the longest chosen example.
    """
    real = index >= 0
    begin = np.where(real, split.offsets[index], 0)
    lengths = np.where(real, split.offsets[index + 1] - begin, 0)
    column = np.arange(lengths.max() if width is None else width)
    filled = column < lengths[:, None]
    ids = np.zeros(filled.shape, np.int32)
    counts = np.zeros(filled.shape, np.int32)
    positions = (begin[:, None] + column)[filled]
    ids[filled] = split.ids[positions]
    counts[filled] = 1 if split.counts is None else split.counts[positions]
    labels = np.zeros(len(index), np.int32)
    if split.labels is not None:
        labels[real] = split.labels[index[real]]
    return Batch(ids, counts, labels, index.astype(np.int32))
