"""Turns SIGTERM and SIGINT into a flag that the training loop reads between two steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Termination:
    """A context in which the first SIGTERM or SIGINT asks for a stop instead of stopping.

    A second one acts as it does outside, so that a hanging process can still be interrupted.
    Outside of the main thread nothing is changed: Python tells that one alone of signals.

    Attributes:
      signal: the one that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Termination":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGTERM, signal.SIGINT):
            # None: of a program that Python is embedded in, which could not be put back.
            if signal.getsignal(number) is not None:
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
