"""RVSM and RGSM: relaxed variable splitting for weights and for channels (arXiv 2003.00631, section 3)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rtune.robust.pruning import prox
from rtune.robust.pruning.base import Pruner, choose

_Prox = Callable[[Tensor, int], Tensor]


class _RelaxedSplitting(Pruner):
    """Alternating descent in w and u on the Lagrangian f(w) + lambda_1 * P(u) + beta/2 * |w - u|^2.

    With gradient steps without momentum, a loss f whose gradient is L-Lipschitz, and lr < 2 / (beta + L), the
    Lagrangian decreases in every step, for any penalty P (theorem 1; docs/method.md).
    """

    def __init__(self, model: nn.Module, beta: float, prox_of: _Prox) -> None:
        super().__init__(model)
        self.beta = beta
        self._prox = prox_of
        self.u = self._sparse()

    @torch.no_grad()
    def pull(self, lr: float | Tensor) -> None:
        """w <- w - lr * beta * (w - u)."""
        self._note(self.u, lr * self.beta)

    @torch.no_grad()
    def update(self) -> None:
        """u <- argmin_u lambda_1 * P(u) + beta/2 * |w - u|^2."""
        self._move()
        torch._foreach_copy_(self.u, self._sparse())

    @torch.no_grad()
    def replace(self) -> None:
        """w <- u: without it the weights approach zero but do not become exactly zero (section 3)."""
        torch._foreach_copy_(self.weights, self.u)

    def state(self) -> dict[str, list[Tensor]]:
        return {"u": self.u}

    @torch.no_grad()
    def _sparse(self) -> list[Tensor]:
        return [self._prox(w, g) for w, g in zip(self.weights, self.groups, strict=True)]


class RVSM(_RelaxedSplitting):
    """Relaxed Variable Splitting Method: sparse weights (arXiv 2003.00631, algorithm 1).

    Args:
        model: see `Pruner`.
        beta: weight of the quadratic term that couples w and u, above 0.
        lambda_1: weight of the sparsity penalty (lambda in the paper), at least 0. The threshold is
            sqrt(2 lambda_1 / beta) with `l0` and lambda_1 / beta with `l1`.
        penalty: `l0`, `l1` or `transformed_l1` (with shape parameter a = 1).

    Raises:
        ValueError: `penalty` is unknown.
    """

    def __init__(self, model: nn.Module, beta: float, lambda_1: float, penalty: str = "l0") -> None:
        proxes = {"l0": prox.prox_l0, "l1": prox.prox_l1, "transformed_l1": prox.prox_transformed_l1}
        chosen = choose("penalty", penalty, proxes)
        super().__init__(model, beta, lambda w, _groups: chosen(w, lambda_1 / beta))


class RGSM(_RelaxedSplitting):
    """Relaxed Group-wise Splitting Method: sparse channels (arXiv 2003.00631, algorithm 2).

    A group is an input channel of a convolution; its l2 norm is over output channels and kernel.

    Args:
        model: see `Pruner`.
        beta: weight of the quadratic term that couples w and u, above 0.
        lambda_1: weight of the penalty on u, at least 0: `group_l0` sets channels with a norm of at most
            sqrt(2 lambda_1 / beta) to zero, `group_lasso` reduces all norms by lambda_1 / beta.
        lambda_2: weight of the group lasso sum_g |w_g| that is added to the loss, at least 0.
        penalty: `group_l0` or `group_lasso`.

    Raises:
        ValueError: `penalty` is unknown.
    """

    def __init__(
        self,
        model: nn.Module,
        beta: float,
        lambda_1: float,
        lambda_2: float,
        penalty: str = "group_l0",
    ) -> None:
        proxes = {"group_l0": prox.prox_group_l0, "group_lasso": prox.prox_group_lasso}
        chosen = choose("penalty", penalty, proxes)
        self.lambda_2 = lambda_2
        super().__init__(model, beta, lambda w, groups: chosen(w, lambda_1 / beta, groups))

    @torch.no_grad()
    def pull(self, lr: float | Tensor) -> None:
        """Adds lambda_2 * w_g / |w_g| (0 for a zero group) to the gradients; then as `RVSM`."""
        if self.lambda_2:
            gradients = [w.grad for w in self.weights if w.grad is not None]
            torch._foreach_add_(gradients, self._directions(), alpha=self.lambda_2)
        super().pull(lr)

    def _directions(self) -> list[Tensor]:
        return [
            prox.scale_channels(w, prox.channel_norms(w, g).clamp_min(1e-15).reciprocal(), g)
            for w, g in zip(self.weights, self.groups, strict=True)
        ]
