"""Exceptions with a message for the person at the command line."""


class UserError(ValueError):
    """Bad input, explained in one line that names the offending thing and what is allowed.

    Command lines print the message and exit with status 2 instead of showing a traceback; library
    callers can catch it as a `ValueError`.
    """


class DivergedError(UserError):
    """A training without a result: its loss, or its measure of validation, was not finite.

    Attributes:
      reason: in a few words, without the folders that the message names.
    """

    def __init__(self, message: str, reason: str) -> None:
        """As `UserError`, with a reason."""
        super().__init__(message)
        self.reason = reason


class Interrupted(Exception):
    """A signal asked training to stop; everything is saved.

    Attributes:
      signal: its number.
    """

    def __init__(self, number: int, step: int) -> None:
        """As `Exception`, with the signal."""
        super().__init__(f"stopped by signal {number} after step {step}; the state is saved")
        self.signal = number
