"""Seeds, torch's generators, and computing the same bits each time."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

# Held while torch's global generators are seeded, drawn from or replaced: they are the process's, and
# several trainings may run on threads of one process.
LOCK = threading.RLock()


def epoch_seed(seed: int, epoch: int, stream: Literal["data", "noise", "evaluation"]) -> int:
    """A seed for each use in each epoch; those of different seeds never meet below 4,096 epochs."""
    return (seed << 14) + 4 * epoch + ("data", "noise", "evaluation").index(stream)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Context in which torch's global generators start from `seed`; restored on leaving."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Context in which torch computes the same bits each time, on a GPU too; restored on leaving.

    Only deterministic algorithms run (an operation that has none raises RuntimeError) and cuDNN does
    not choose by timing. cuBLAS reads its workspace setting once, at its first use in a process: the
    first context must be entered before any CUDA work. Settings are the process's, not the thread's.

    Args:
        wanted: False for a context that does nothing.
    """
    if not wanted:
        yield
        return
    mode, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            del os.environ["CUBLAS_WORKSPACE_CONFIG"]
        else:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace
