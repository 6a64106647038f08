"""ADMM pruning, the baseline of arXiv 2003.00631."""

import torch
from torch import Tensor, nn

from rtune.robust.pruning import prox
from rtune.robust.pruning.base import Pruner, choose, copies


class ADMM(Pruner):
    """Alternating Direction Method of Multipliers with a fixed sparsity (arXiv 2003.00631, section 3).

    Each batch: w <- w - lr * rho * (w - u + z), then u <- projection of w + z, and z <- z + w - u. The dual
    variables z are kept over the whole training; the authors' code resets them in each epoch. At the end of
    an epoch the network is the projection of w itself, so that it has the requested sparsity; the next epoch
    continues from the dense w.

    Of n weights (or channels), the projection sets exactly round(sparsity * n) to zero, also if there are
    ties. If more than these are zero already, the result has more zeros.

    Args:
        model: see `Pruner`.
        rho: weight of the quadratic term that couples w and u, above 0; 1e-2 in the paper.
        sparsity: fraction to prune, in [0, 1); 0.8 in the paper.
        granularity: `weights`, ranked by absolute value, or `channels`, input channels ranked by l2 norm. All
            layers are ranked together.

    Raises:
        ValueError: `sparsity` is outside [0, 1), or `granularity` is unknown.
    """

    def __init__(self, model: nn.Module, rho: float, sparsity: float, granularity: str = "weights") -> None:
        super().__init__(model)
        if not 0 <= sparsity < 1:
            raise ValueError(f"sparsity is {sparsity}; it is a fraction, at least 0 and below 1")
        self.rho = rho
        self.sparsity = sparsity
        self._project = choose(
            "granularity", granularity, {"weights": self._top_weights, "channels": self._top_channels}
        )
        self.dense = copies(self.weights)
        self.z = [torch.zeros_like(w) for w in self.weights]
        with torch.no_grad():
            self.u: list[Tensor] = self._project(self.weights)

    @torch.no_grad()
    def pull(self, lr: float | Tensor) -> None:
        self._note(list(torch._foreach_sub(self.u, self.z)), lr * self.rho)

    @torch.no_grad()
    def update(self) -> None:
        self._move()
        shifted = torch._foreach_add(self.weights, self.z)
        torch._foreach_copy_(self.u, self._project(shifted))
        torch._foreach_copy_(self.z, torch._foreach_sub(shifted, self.u))

    @torch.no_grad()
    def replace(self) -> None:
        torch._foreach_copy_(self.dense, self.weights)
        torch._foreach_copy_(self.weights, self._project(self.weights))

    @torch.no_grad()
    def resume(self) -> None:
        torch._foreach_copy_(self.weights, self.dense)

    def state(self) -> dict[str, list[Tensor]]:
        return {"u": self.u, "z": self.z, "dense": self.dense}

    def _top_weights(self, tensors: list[Tensor]) -> list[Tensor]:
        flat = torch.cat([t.flatten() for t in tensors])
        keep = _largest(flat.abs(), self.sparsity).split([t.numel() for t in tensors])
        return [t * k.view_as(t) for t, k in zip(tensors, keep, strict=True)]

    def _top_channels(self, tensors: list[Tensor]) -> list[Tensor]:
        pairs = list(zip(tensors, self.groups, strict=True))
        norms = [prox.channel_norms(t, g) for t, g in pairs]
        keep = _largest(torch.cat([n.flatten() for n in norms]), self.sparsity)
        parts = keep.split([n.numel() for n in norms])
        return [
            prox.scale_channels(t, k.view_as(n), g) for (t, g), n, k in zip(pairs, norms, parts, strict=True)
        ]


def _largest(scores: Tensor, sparsity: float) -> Tensor:
    """1 for the largest scores, 0 for the round(sparsity * n) others, (n,); exact in number with ties too."""
    kept = scores.numel() - round(sparsity * scores.numel())
    return torch.zeros_like(scores).index_fill_(0, scores.topk(kept, sorted=False).indices, 1)
