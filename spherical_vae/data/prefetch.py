"""The next batches are made and sent to the device by a thread while the present step runs."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, NamedTuple


class _End(NamedTuple):
    """The end of the items: the error that ended them, or None."""

    error: BaseException | None


@contextlib.contextmanager
def prefetched(
    batches: Iterable[Any], put: Callable[[Any], Any], depth: int = 2
) -> Iterator[Iterator[Any]]:
    """Runs ahead of a loop over `batches` by up to `depth` of them.

    with prefetched(batches, put) as ahead:
        for batch in ahead: ...

    The order is that of `batches`. An error of `batches` or `put` is raised in the loop, after what
    came before it. When the block is left, by an error or a signal too, the thread has ended: the
    iterator is closed, what was ahead is dropped, and a step to resume from is counted by the loop.

    Args:
      batches: iterated, and closed if it is a generator, in a thread of its own.
      put: copies one to the device; called in the same thread.
      depth: results waiting at most, at least 1.

    Yields:
      The iterator over `put(batch)`.

    Raises:
      ValueError: a depth below 1.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}: it must be 1 or more")
    # Queues whose operations are one step each: a signal may come between any two lines of the
    # loop, and must not leave a lock held that the thread, or the loop on its way out, waits for.
    results: SimpleQueue[Any] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()
    stopped = False
    for _ in range(depth):
        room.put(None)

    def make() -> None:
        iterator = iter(batches)
        try:
            while True:
                # First, so that no batch is made before it is asked for.
                room.get()
                if stopped:
                    return
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
                results.put(put(batch))
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    def produce() -> None:
        error: BaseException | None = None
        try:
            make()
        except BaseException as caught:
            error = caught
        results.put(_End(error))

    def consume() -> Iterator[Any]:
        while not isinstance(item := results.get(), _End):
            room.put(None)
            yield item
        if item.error is not None:
            raise item.error

    # A daemon, not to keep the process alive if a batch never comes.
    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    ahead = consume()
    try:
        yield ahead
    finally:
        stopped = True
        room.put(None)
        thread.join()
