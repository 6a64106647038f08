"""Weight and channel sparsity over all convolutions (arXiv 2003.00631, section 4)."""

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
    """Fraction of the convolutions' input channels whose l2 norm is below 1e-15, in [0, 1].

    The norm is over output channels and kernel; with groups, over those of the group.
    """
    norms = torch.cat(
        [channel_norms(m.weight, m.groups).flatten() for m in model.modules() if isinstance(m, nn.Conv2d)]
    )
    return int((norms < 1e-15).sum()) / norms.numel()
