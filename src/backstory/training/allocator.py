"""Settings of the C library's memory allocator."""

import ctypes
import sys

# From glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Make this process keep the memory that it frees, for its own later use.

    By default glibc returns large blocks to the operating system when they are freed, so every training step
    asks for its pages again and the system clears them again. The setting holds for the whole process until
    it ends. Therefore a program decides about it, as the command `fit` does; the library never calls this
    itself.

    Returns:
        Whether the allocator took the settings; false where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
