"""A training through `Trainer` against the equations written out: one w for every term, one pull a batch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust import ADMM, RGSM, RVSM, Pruner, Recipe, Split, Trainer
from rtune.robust.pruning import prox

DECAY, MOMENTUM, STRENGTH = 0.7, 0.9, 0.8  # heavy, so that a term taken at another w shows
RECIPE = Recipe(
    max_epochs=2,
    batch_size=8,
    lr=0.1,
    momentum=MOMENTUM,
    weight_decay=DECAY,
    milestones=(0.5,),
    crop_padding=0,
    flip=False,
)


def data() -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 4, 3, 3), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(3, (24,), generator=generator))


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.Flatten(), nn.Linear(4, 3)).double()


class Equations:
    """The trainer's attack: it changes no image, but follows w through the paper's equations."""

    def __init__(self, conv: nn.Conv2d, sparse: Callable[[Tensor], Tensor], lambda_2: float, dual: bool):
        self.sparse, self.lambda_2, self.dual = sparse, lambda_2, dual
        self.w = conv.weight.detach().clone()
        self.momentum = torch.zeros_like(self.w)
        self.z = torch.zeros_like(self.w)
        self.u = sparse(self.w)
        self.lr = RECIPE.lr

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        images = images.double()
        conv = model[0]
        torch.testing.assert_close(conv.weight.detach(), self.w)
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(images), labels), conv.weight)
        if self.lambda_2:
            norms = self.w.square().sum(dim=(0, 2, 3), keepdim=True).sqrt()
            gradient += self.lambda_2 * torch.where(norms > 0, self.w / norms, 0.0)
        gradient += DECAY * self.w
        self.momentum = MOMENTUM * self.momentum + gradient
        nesterov = gradient + MOMENTUM * self.momentum
        tied = self.w - self.u + self.z
        self.w = self.w - self.lr * nesterov - self.lr * STRENGTH * tied
        self.u = self.sparse(self.w + self.z)
        if self.dual:
            self.z = self.z + self.w - self.u
        return images


def halve(w: Tensor) -> Tensor:
    """The largest half of the entries."""
    return torch.where(w.abs() > w.abs().flatten().sort().values[w.numel() // 2 - 1], w, 0.0)


CASES: dict[str, tuple[Callable[[nn.Module], Pruner], Callable[[Tensor], Tensor], float]] = {
    "rvsm": (lambda m: RVSM(m, STRENGTH, 0.004), lambda w: prox.prox_l0(w, 0.005), 0.0),
    "rvsm-l1": (lambda m: RVSM(m, STRENGTH, 0.04, "l1"), lambda w: prox.prox_l1(w, 0.05), 0.0),
    "rgsm": (lambda m: RGSM(m, STRENGTH, 0.128, 0.05), lambda w: prox.prox_group_l0(w, 0.16), 0.05),
    "admm": (lambda m: ADMM(m, STRENGTH, 0.5), halve, 0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_training_follows_the_equations(name: str) -> None:
    make, sparse, lambda_2 = CASES[name]
    model = network()
    equations = Equations(model[0], sparse, lambda_2, dual=name == "admm")
    pruner = make(model)
    assert 0 < pruner.state()["u"][0].count_nonzero() < pruner.weights[0].numel()
    trainer = Trainer(model, pruner, equations, data(), RECIPE, seed=0)
    for epoch in range(2):
        trainer.train_epoch()
        # The end of an epoch: w is replaced by u. ADMM shows its projection and keeps w.
        shown = halve(equations.w) if name == "admm" else equations.u
        torch.testing.assert_close(model[0].weight.detach(), shown)
        if name != "admm":
            equations.w = shown
        equations.lr = RECIPE.lr_at(epoch + 1)
    if name == "admm":
        assert equations.z.abs().max() > 0.01
        torch.testing.assert_close(pruner.state()["z"][0], equations.z)
