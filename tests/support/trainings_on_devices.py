"""Calls `train` once for each line of arguments on standard input, a JSON list; says what it told.

A program of its own, as devices are counted when JAX starts. Prints a JSON list with the message of
each command that was refused, and None for the others.
"""

import contextlib
import json
import sys

from spherical_vae import train
from spherical_vae.system.errors import UserError


def message(arguments: list[str]) -> str | None:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            train.main(arguments)
    except UserError as error:
        return str(error)
    return None


if __name__ == "__main__":
    print(json.dumps([message(json.loads(line)) for line in sys.stdin]))
