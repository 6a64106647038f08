"""Engines that are faster than the plain one, with the same results up to rounding (docs/speed.md)."""

import torch

from rtune.robust.engine import Engine
from rtune.robust.fast.cpu.engine import CPUEngine
from rtune.robust.fast.gpu.captured import obstacle

__all__ = ["engine_for"]


def engine_for(device: torch.device | str) -> Engine:
    """The fastest engine for a device; if a GPU gets the plain engine, its `obstacle` gives the reason."""
    if torch.device(device).type != "cuda":
        return CPUEngine()
    if (reason := obstacle()) is not None:
        return Engine(reason)
    from rtune.robust.fast.gpu.engine import GPUEngine  # needs Triton

    return GPUEngine()
