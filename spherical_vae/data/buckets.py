"""Padded lengths: a few, so that few shapes are compiled, chosen so that little is padded."""

import numpy as np
from jaxtyping import Int

# More candidates than this make the exact search slow and its result no better.
_MAX_CANDIDATES = 512


def bucket_boundaries(
    lengths: Int[np.ndarray, " examples"], buckets: int, longest: int = 0
) -> tuple[int, ...]:
    """Chooses the padded lengths that minimise the padded slots of a split.

    Exact dynamic programme over the histogram of lengths; for very long examples over lengths
    rounded up to a common step.

    Args:
      lengths: `[examples]` slots of each example, at least 1.
      buckets: padded lengths wanted, at least 1; fewer come back where fewer differ.
      longest: of all splits; the last padded length is at least that.

    Returns:
      Increasing padded lengths; an example goes to the first that is not below its length.
    """
    if buckets < 1 or not len(lengths):
        raise ValueError("bucket_boundaries needs a bucket and an example at least")
    longest = max(int(lengths.max()), longest)
    step = -(-longest // _MAX_CANDIDATES)
    histogram = np.bincount(lengths if step == 1 else -(-lengths // step))
    rounded = np.flatnonzero(histogram) * step
    examples = histogram[histogram > 0]
    if rounded[-1] < longest:
        # The longest example of another split: the last boundary covers it at no cost here.
        rounded = np.append(rounded, -(-longest // step) * step)
        examples = np.append(examples, 0)
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
        if last < 0:
            break
    return tuple(reversed(boundaries))
