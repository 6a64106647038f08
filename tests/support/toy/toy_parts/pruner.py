"""The smallest weights of all layers go at the end of each epoch; training goes on from the dense ones."""

import torch
from torch import Tensor, nn

from rtune.robust import Pruner


class Magnitude(Pruner):
    def __init__(self, model: nn.Module, sparsity: float = 0.5):
        super().__init__(model)
        self.sparsity = sparsity
        self.dense = [w.detach().clone() for w in self.weights]

    @torch.no_grad()
    def replace(self) -> None:
        sizes = torch.cat([w.abs().flatten() for w in self.weights])
        threshold = sizes.kthvalue(max(1, round(self.sparsity * len(sizes)))).values
        for kept, weight in zip(self.dense, self.weights, strict=True):
            kept.copy_(weight)
            weight.mul_(weight.abs() > threshold)

    @torch.no_grad()
    def resume(self) -> None:
        for kept, weight in zip(self.dense, self.weights, strict=True):
            weight.copy_(kept)

    def state(self) -> dict[str, list[Tensor]]:
        return {"dense": self.dense}
