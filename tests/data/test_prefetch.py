"""Prefetching: the same batches in the same order, errors in the loop, no thread left."""

import itertools
import signal
import subprocess
import sys
import threading
import time

import pytest

from spherical_vae.data.prefetch import prefetched


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not threads()


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_the_same_in_the_same_order(count, depth):
    with prefetched(range(count), lambda x: x * x, depth) as ahead:
        assert list(ahead) == [x * x for x in range(count)]


@pytest.mark.parametrize("depth", [1, 3])
def test_runs_ahead_by_its_depth_and_no_more(depth):
    made = []

    def put(x):
        made.append(x)
        return x

    with prefetched(itertools.count(), put, depth) as ahead:
        for expected in range(5):
            assert next(ahead) == expected
            deadline = time.monotonic() + 10
            while len(made) < expected + 1 + depth and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.02)
            assert made == list(range(expected + 1 + depth))


def test_overlaps_with_the_step():
    """The step waits until the next batch is there: without a thread that would be never."""
    second = threading.Event()

    def put(x):
        if x == 1:
            second.set()
        return x

    with prefetched([0, 1], put, 1) as ahead:
        assert next(ahead) == 0
        assert second.wait(10)
        assert next(ahead) == 1


def failing(good):
    yield from range(good)
    raise ArithmeticError("bad batch")


def consume(batches, put=lambda x: x, error=None):
    """Returns what a loop gets before it ends, and how it ends."""
    seen = []
    try:
        with prefetched(batches, put) as ahead:
            for batch in ahead:
                seen.append(batch)
                if error is not None:
                    raise error
    except BaseException as caught:
        return seen, caught
    return seen, None


@pytest.mark.parametrize("good", [0, 1, 5])
def test_errors_come_after_what_came_before_them(good):
    seen, error = consume(failing(good))
    assert seen == list(range(good))
    assert isinstance(error, ArithmeticError)
    assert str(error) == "bad batch"


def test_errors_of_the_copy_are_raised_in_the_loop():
    seen, error = consume([1, 0, 1], lambda x: 1 // x)
    assert seen == [1]
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
def test_errors_of_the_loop_end_the_thread_and_close_the_iterator(error):
    closed = []

    def endless():
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.current_thread().name)

    assert consume(endless(), error=error) == ([0], error)
    assert closed == ["prefetch"]
    assert not threads()


def test_a_loop_that_breaks_drops_what_was_ahead():
    made = []
    with prefetched(itertools.count(), made.append) as ahead:
        next(ahead)
        while len(made) < 3:  # one of them has been made whole, and waits
            time.sleep(0.001)
    assert list(ahead) == []


def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth is 0"), prefetched([], lambda x: x, 0):
        pass


# A shell starts what runs in the background with interrupts ignored: hence the handler.
WAIT = """
import itertools, signal, sys, time
from spherical_vae.data.prefetch import prefetched
signal.signal(signal.SIGINT, signal.default_int_handler)
def slow():
    for i in itertools.count():
        yield i
        time.sleep(0.2)
with prefetched(slow(), lambda x: x) as ahead:
    for batch in ahead:
        print(batch, flush=True)
"""


def test_interrupt_while_the_loop_waits():
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in error
