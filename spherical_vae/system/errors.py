"""Exceptions with a message for the user of a command, and their exit status."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any

from spherical_vae.system.standard_error import tell


class UserError(ValueError):
    """Bad input, explained in one line that names the thing and what is allowed.

    Commands print the message and exit with status 2 instead of a traceback.
    """


class DivergedError(UserError):
    """Training without a result: the loss, or the measure of validation, was not finite.

    Attributes:
      reason: the cause in a few words, without the folders that the message names.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Interrupted(Exception):
    """A signal stopped training; the state is saved.

    Attributes:
      signal: number of the signal.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by signal {number} after step {step}; the state is saved")
        self.signal = number


def exit_on_error(action: Callable[[], Any]) -> None:
    """Calls a command; a mistake ends the process with one line and an exit status.

    The status is 2 for a `UserError`, 128 + its number for a signal, 141 if nobody reads the
    output.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the encoding lacks are written as `\\xe9`, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        action()
        sys.stdout.flush()
    except UserError as error:
        # One line, also if the message has several.
        tell(f"error: {' '.join(str(error).split())}")
        sys.exit(2)
    except Interrupted as stop:
        tell(str(stop))
        sys.exit(128 + stop.signal)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python would raise again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
