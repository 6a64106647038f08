"""Reference implementations of adversarial training with pruning: textbook version and authors' version.

Both are written from the description of the method and do not use rtune. `benchmarks.throughput` compares
rtune with them. They are written for readability: a network of standard modules, one call for each member of
an ensemble, an attack that uses autograd, and float32 everywhere.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON, STEP, STEPS = 8 / 255, 2 / 255, 10
LR, BETA, LAMBDA, LAMBDA_1, LAMBDA_2, RHO, SPARSITY = 0.1, 1.0, 1e-4, 0.05, 1e-2, 1e-2, 0.8

Prune = Callable[[], None]


class Block(nn.Module):
    """Twice batch normalisation, ReLU and convolution, plus a shortcut, then noise."""

    def __init__(self, channels: int, out: int, stride: int, gamma: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(out)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, out, 1, stride, bias=False) if stride > 1 else None
        self.gamma = gamma

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, out, H / stride, W / stride)."""
        a = F.relu(self.norm1(x))
        out: Tensor = self.conv2(F.relu(self.norm2(self.conv1(a))))
        out = out + (x if self.shortcut is None else self.shortcut(a))
        return out + self.gamma * out.std() * torch.randn_like(out) if self.gamma else out


class ResNet20(nn.Module):
    """Three stages of three blocks at 16, 32 and 64 channels."""

    def __init__(self, in_channels: int, gamma: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        blocks, channels = [], 16
        for out in (16, 32, 64):
            for _ in range(3):
                blocks.append(Block(channels, out, 1 if channels == out else 2, gamma))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.BatchNorm2d(64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        out: Tensor = self.head(F.relu(self.norm(self.blocks(self.stem(x)))).mean(dim=(2, 3)))
        return out


class Ensemble(nn.Module):
    """Evaluates the members one after the other and averages their logits."""

    def __init__(self, members: int, in_channels: int, gamma: float) -> None:
        super().__init__()
        self.members = nn.ModuleList([ResNet20(in_channels, gamma) for _ in range(members)])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


def network(members: int, in_channels: int) -> nn.Module:
    """ResNet20 for one member, else En_kResNet20 with the paper's noise."""
    return ResNet20(in_channels) if members == 1 else Ensemble(members, in_channels, 0.1)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, prune: Prune) -> Tensor:
    """One batch: PGD-10, an optimizer step on the adversarial images, then `prune`. Returns the loss."""
    model.eval()
    adversarial = (x + torch.empty_like(x).uniform_(-EPSILON, EPSILON)).clamp(0, 1)
    for _ in range(STEPS):
        adversarial.requires_grad_(True)
        loss = F.cross_entropy(model(adversarial), y)
        (gradient,) = torch.autograd.grad(loss, adversarial)
        adversarial = adversarial.detach() + STEP * gradient.sign()
        adversarial = torch.min(torch.max(adversarial, x - EPSILON), x + EPSILON).clamp(0, 1)
    model.train()
    loss = F.cross_entropy(model(adversarial), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    prune()
    return loss.detach()


def _weights(model: nn.Module) -> list[Tensor]:
    return [m.weight.data for m in model.modules() if isinstance(m, nn.Conv2d)]


def textbook_pruning(method: str, model: nn.Module) -> Prune:
    """The pruning after each step, one layer at a time; `method` is none, rvsm, rgsm or admm."""
    weights = _weights(model)
    sparse = [w.clone() for w in weights]
    dual = [torch.zeros_like(w) for w in weights]

    def rvsm() -> None:
        for i, w in enumerate(weights):
            w -= LR * BETA * (w - sparse[i])
            sparse[i] = w * (w.abs() > math.sqrt(2 * LAMBDA / BETA))

    def rgsm() -> None:
        for i, w in enumerate(weights):
            norms = w.square().sum(dim=(0, 2, 3), keepdim=True).sqrt()
            w -= LR * (LAMBDA_2 * w / norms.clamp_min(1e-15) + BETA * (w - sparse[i]))
            norms = w.square().sum(dim=(0, 2, 3), keepdim=True).sqrt()
            sparse[i] = w * (norms > math.sqrt(2 * LAMBDA_1 / BETA))

    def admm() -> None:
        for i, w in enumerate(weights):
            w -= LR * RHO * (w - sparse[i] + dual[i])
        size = torch.cat([(w + z).flatten() for w, z in zip(weights, dual, strict=True)]).abs()
        threshold = size.kthvalue(max(1, round(SPARSITY * len(size)))).values
        for i, w in enumerate(weights):
            moved = w + dual[i]
            sparse[i] = moved * (moved.abs() > threshold)
            dual[i] = moved - sparse[i]

    return {"none": lambda: None, "rvsm": rvsm, "rgsm": rgsm, "admm": admm}[method]


def released_pruning(method: str, model: nn.Module) -> Prune:
    """The same as in the authors' code: one channel at a time, with each norm copied to the host."""
    weights = _weights(model)
    sparse = [w.clone() for w in weights]
    dual = [torch.zeros_like(w) for w in weights]
    threshold = math.sqrt(2 * LAMBDA_1 / BETA)

    def rvsm() -> None:
        for i, w in enumerate(weights):
            w.copy_(w - LR * BETA * (w - sparse[i]))
            kept = w.clone()
            kept[w.abs() <= math.sqrt(2 * LAMBDA / BETA)] = 0
            sparse[i] = kept

    def rgsm() -> None:
        for i, w in enumerate(weights):
            for channel in range(w.shape[1]):
                norm = w[:, channel].norm().item()
                pull = LAMBDA_2 * w[:, channel] / norm if norm > 1e-15 else 0.0
                w[:, channel] -= LR * (pull + BETA * (w[:, channel] - sparse[i][:, channel]))
            kept = w.clone()
            for channel in range(w.shape[1]):
                if kept[:, channel].norm().item() <= threshold:
                    kept[:, channel] = 0
            sparse[i] = kept

    def admm() -> None:
        for i, w in enumerate(weights):
            w.copy_(w - LR * RHO * (w - sparse[i] + dual[i]))
            moved = w + dual[i]
            size = moved.abs().flatten()
            at = size.kthvalue(max(1, round(SPARSITY * len(size)))).values.item()
            kept = moved.clone()
            kept[moved.abs() <= at] = 0
            sparse[i], dual[i] = kept, moved - kept

    return {"none": lambda: None, "rvsm": rvsm, "rgsm": rgsm, "admm": admm}[method]
