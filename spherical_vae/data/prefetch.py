"""The next batches are made and sent to the device by a thread while the present step runs."""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Any


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
    stopped, end, errors = False, object(), list[BaseException]()
    for _ in range(depth):
        room.put(None)

    def produce() -> None:
        try:
            with contextlib.ExitStack() as stack:
                iterator = iter(batches)
                if hasattr(iterator, "close"):
                    stack.callback(iterator.close)
                while True:
                    # First, so that no batch is made before it is asked for.
                    room.get()
                    if stopped or (batch := next(iterator, end)) is end:
                        break
                    results.put(put(batch))
        except BaseException as error:
            errors.append(error)
        results.put(end)

    def consume() -> Generator[Any, None, None]:
        while (item := results.get()) is not end:
            room.put(None)
            yield item
        if errors:
            raise errors[0]

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
        ahead.close()
