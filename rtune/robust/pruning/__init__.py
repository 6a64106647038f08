"""Pruning methods that work inside the training loop (arXiv 2003.00631, section 3)."""

from rtune.robust.pruning.admm import ADMM
from rtune.robust.pruning.base import Pruner
from rtune.robust.pruning.rvsm import RGSM, RVSM
from rtune.robust.pruning.sparsity import channel_sparsity, weight_sparsity

__all__ = ["ADMM", "RGSM", "RVSM", "Pruner", "channel_sparsity", "weight_sparsity"]
