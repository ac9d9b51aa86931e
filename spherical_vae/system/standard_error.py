"""Lines on standard error, which nobody has to read."""

import contextlib
import sys

from tqdm import tqdm


def tell(text: str) -> None:
    """Writes a line, above the bar of a training if there is one.

    If standard error is closed, or its reader is gone (a terminal, `2>&1 | head`), work goes on.
    """
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            tqdm.write(text, file=sys.stderr)
