"""Engines that train faster than plain PyTorch, to the same result (docs/speed.md)."""

import torch

from rtune.robust.engine import Engine
from rtune.robust.fast.cpu.engine import CPUEngine
from rtune.robust.fast.gpu.captured import obstacle

__all__ = ["engine_for"]


def engine_for(device: torch.device | str) -> Engine:
    """The fastest engine for a device; its `obstacle` says why a GPU gets only the plain one."""
    if torch.device(device).type != "cuda":
        return CPUEngine()
    if (reason := obstacle()) is not None:
        return Engine(reason)
    from rtune.robust.fast.gpu.engine import GPUEngine  # needs Triton

    return GPUEngine()
