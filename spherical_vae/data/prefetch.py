"""The next batches are made and sent to the device by a thread while the present step runs."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, NamedTuple


class _Stopped(Exception):
    """The consumer has gone."""


class _End(NamedTuple):
    """What follows the last item."""

    error: BaseException | None


class _Buffer:
    """A bounded queue between one producer and one consumer, either of which may leave.

    Of queues that are one operation each: a signal may come between any two lines of the consumer,
    and must not leave a lock held that the producer, or the consumer on its way out, waits for.
    """

    def __init__(self, depth: int) -> None:
        self._results: SimpleQueue[Any] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._stopped = False
        for _ in range(depth):
            self._room.put(None)

    def wait_for_room(self) -> None:
        """Returns when an item may be added; raises `_Stopped` when nobody wants one."""
        self._room.get()
        if self._stopped:
            raise _Stopped

    def add(self, item: Any) -> None:
        self._results.put(item)

    def end(self, error: BaseException | None) -> None:
        """Says that no item follows; the consumer meets the error after those that are there."""
        self._results.put(_End(error))

    def stop(self) -> None:
        self._stopped = True
        self._room.put(None)

    def __iter__(self) -> Iterator[Any]:
        while not isinstance(item := self._results.get(), _End):
            self._room.put(None)
            yield item
        if item.error is not None:
            raise item.error


@contextmanager
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
    buffer = _Buffer(depth)
    # Not to keep the process alive if a batch never comes.
    thread = threading.Thread(
        target=_produce, args=(batches, put, buffer), name="prefetch", daemon=True
    )
    thread.start()
    try:
        yield iter(buffer)
    finally:
        buffer.stop()
        thread.join()


def _produce(batches: Iterable[Any], put: Callable[[Any], Any], buffer: _Buffer) -> None:
    error: BaseException | None = None
    try:
        iterator = iter(batches)
        try:
            while True:
                # First, so that no batch is made that nobody has asked for.
                buffer.wait_for_room()
                try:
                    batch = next(iterator)
                except StopIteration:
                    break
                buffer.add(put(batch))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
    except _Stopped:
        pass
    except BaseException as caught:
        error = caught
    buffer.end(error)
