"""SIGTERM, SIGINT and SIGHUP as a value that the training loop reads between two steps."""

import contextlib
import signal
import threading
from types import FrameType

# The last one, of a terminal that is gone, is not there on every platform.
_SIGNALS = [
    signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
]


class Termination(contextlib.ExitStack):
    """A context in which the first of these signals is recorded instead of ending the process.

    A second signal acts as it does outside, so that a process that hangs can still be interrupted.
    Outside of the main thread, which alone can handle signals, the context does nothing.

    Attributes:
      signal: the signal that was caught, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signal: signal.Signals | None = None

    def __enter__(self) -> "Termination":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                previous = signal.getsignal(number)
                # None: a handler of a program that embeds Python, which could not be restored. What
                # is ignored, as SIGINT in a job in the background or SIGHUP by nohup, stays so.
                if previous not in (None, signal.SIG_IGN):
                    signal.signal(number, self._catch)
                    self.callback(signal.signal, number, previous)
        return self

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self.close()
