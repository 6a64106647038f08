"""Makes the process keep memory that a training step frees, for the next step."""

import ctypes
import functools

# M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Free memory at the end of the heap beyond this is returned to the system (bytes).
_KEPT = 256 * 2**20
# Allocations larger than this are not made on the heap (bytes).
_FROM_HEAP = 32 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Makes the C allocator keep up to 256 MiB of freed memory in this process; returns whether it does.

    Otherwise each training step of an ensemble returns its tensors to the system, which clears every page
    before the next step can use it. Only glibc supports this; with other C libraries nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _FROM_HEAP))
