"""Memory that a step frees and the next one wants again, kept by the process meanwhile.

The C library gives large freed blocks back to the kernel, which clears each page anew when the next
step touches it; `docs/training_speed.md` has what that costs.
"""

import ctypes
import platform

# Of malloc.h: what is freed is not given back, large blocks lie in the heap, and all threads share
# it, since other heaps have no room for large blocks.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Asks the C library to keep what is freed; to be called before threads are started.

    Returns:
      Whether it will: only glibc knows how.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(
        mallopt(option, value) == 1
        for option, value in ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1))
    )
