"""Keeps the memory that a step frees in the process, for the next step.

The C library gives large freed blocks back to the kernel, which clears each page again when the
next step touches it; `docs/training_speed.md` has the cost.
"""

import ctypes
import platform

# Of malloc.h. Freed memory is not given back, large blocks lie in the heap, and all threads share
# one heap, since other heaps have no room for large blocks.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Asks the C library to keep freed memory; to be called before threads are started.

    Returns:
      Whether it does: only glibc can.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1))
    return all(mallopt(option, value) == 1 for option, value in options)
