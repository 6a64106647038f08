"""The two sparsities of the paper, both over all convolution weights (section 4)."""

import torch
from torch import nn

from rtune.robust.pruning.prox import channel_norms


@torch.no_grad()
def weight_sparsity(model: nn.Module) -> float:
    """Fraction of convolution weights that are exactly zero, in [0, 1]."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    total = sum(w.numel() for w in weights)
    nonzero = int(torch.stack([w.count_nonzero() for w in weights]).sum())
    return (total - nonzero) / total


@torch.no_grad()
def channel_sparsity(model: nn.Module) -> float:
    """Fraction of input channels whose l2 norm is below 1e-15, in [0, 1]."""
    norms = torch.cat(
        [channel_norms(m.weight, m.groups).flatten() for m in model.modules() if isinstance(m, nn.Conv2d)]
    )
    return int((norms < 1e-15).sum()) / norms.numel()
