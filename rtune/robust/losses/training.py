"""Losses that training minimises.

A loss is called as `loss(model, natural, adversarial, labels)` and gives a scalar, the mean over the
batch:

- model: the network in training mode; each forward pass moves its running statistics.
- natural: float images (N, C, H, W) in [0, 1], as augmented.
- adversarial: the images that the attack made of them, of the same shape.
- labels: (N,) int64.

On a GPU the call is recorded as a CUDA graph: a loss there must not read a tensor's value in Python
(`.item()`, `if tensor:`), and its numbers must not change between batches.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

Loss = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of the adversarial images alone (Madry et al., arXiv 1706.06083, section 2).

    The loss of arXiv 2003.00631 too.
    """

    def __call__(self, model: nn.Module, natural: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        """Scalar; arguments as in the module's description."""
        return F.cross_entropy(model(adversarial), labels)
