"""What a process does with memory that networks have freed."""

import ctypes
import os

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
LARGEST = 2**30  # bytes that are asked for at once; above it, memory goes back


def keep_freed_memory() -> None:
    """Let the C library keep what was freed, for the next layer to use.

    By default glibc hands every large block back to the kernel, which has to clear its pages before
    the next layer gets them: more than half of the time of a small base on a processor. The peak
    grows by up to half. Does nothing where there is no glibc, or where its variables
    (`MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_`) say something else.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):  # macOS, Windows
        return
    tell(MMAP_THRESHOLD, LARGEST)
    tell(TRIM_THRESHOLD, -1)  # never
