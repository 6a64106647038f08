"""What a training frees it takes again in the next step: memory that stays with the process."""

import ctypes
import functools

# glibc's own numbers, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# What is freed at the heap's end goes back to the system above this.
_KEPT = 256 * 2**20
# The most that glibc takes from its heap.
_FROM_HEAP = 32 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Has C's allocator keep up to 256 MiB of what is freed, for the whole process; whether it can.

    Without it each step of an ensemble gives its tensors back to the system and has every page of them zeroed
    anew. Only glibc has this; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _FROM_HEAP))
