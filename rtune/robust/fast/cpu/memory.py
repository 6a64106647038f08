"""Memory that a training step frees stays with the process, for the next step to use."""

import ctypes
import functools

# glibc's own numbers, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Free memory at the heap's end beyond this returns to the system.
_KEPT = 256 * 2**20
# Larger pieces than this are not taken from the heap.
_FROM_HEAP = 32 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Makes the C allocator keep up to 256 MiB of freed memory, in the whole process; whether it can.

    Without it each step of an ensemble returns its tensors to the system, which clears every page before
    the next step gets it. Only glibc has this; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _FROM_HEAP))
