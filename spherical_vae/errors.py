"""The one exception whose message is meant for the person at the command line."""


class UserError(ValueError):
    """Bad input, explained in one line that names the offending thing and what is allowed.

    Command lines print the message and exit with status 2 instead of showing a traceback; library
    callers can catch it as a `ValueError`.
    """
