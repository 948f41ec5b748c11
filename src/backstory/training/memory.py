"""How the process holds its memory."""

import ctypes
import sys

# Of <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Let this process keep freed memory for itself, and whether that could be arranged.

    By default glibc gives large blocks back to the system when they are freed, and every step of training
    then has its pages handed out and cleared anew. This holds for the whole process and for good, so it is
    for the program to decide: the command `fit` does it, the library never by itself.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
