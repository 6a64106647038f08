"""Adversarial training with pruning inside the loop, an epoch at a time."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.attacks import PGD
from rtune.robust.data import Split, batches
from rtune.robust.pruning import Pruner


class Diverged(Exception):
    """The training loss is no longer finite."""


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the paper's for CIFAR (section 4).

    Attributes:
        max_epochs: length of the whole training, which the learning-rate steps refer to.
        batch_size: images a batch, at most.
        lr: initial learning rate of SGD with Nesterov momentum.
        momentum: in (0, 1).
        weight_decay: at least 0; on all parameters.
        milestones: fractions of `max_epochs` at which the learning rate is divided by 10.
        crop_padding: see `rtune.robust.data.batches`.
        flip: likewise.
    """

    max_epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.4, 0.6, 0.8)
    crop_padding: int = 4
    flip: bool = True

    def lr_at(self, epoch: int) -> float:
        """Learning rate of epoch `epoch`, counted from 0."""
        passed = sum(epoch >= round(fraction * self.max_epochs) for fraction in self.milestones)
        return self.lr * 0.1**passed


class Trainer:
    """Trains a network on adversarial images and prunes it, epoch after epoch.

    Between epochs the network is the sparse one, ready to be validated and saved. All randomness
    of an epoch comes from (seed, epoch): a training that is saved and continued gives the same
    weights, bit for bit on the CPU, as one that never stopped.

    Args:
        model: the network, on the device of `train`.
        pruner: made for `model`.
        attack: makes the training images; the loss is taken on them alone.
        train: the training split.
        recipe: see `Recipe`.
        seed: any integer of at most 48 bits.
    """

    def __init__(
        self, model: nn.Module, pruner: Pruner, attack: PGD, train: Split, recipe: Recipe, seed: int
    ) -> None:
        self.model = model
        self.pruner = pruner
        self.attack = attack
        self.train = train
        self.recipe = recipe
        self.seed = seed
        self.epoch = 0
        self._optimizer = torch.optim.SGD(
            model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=True,
        )
        # Made now rather than at the first step, so that a saved state always has them.
        for parameter in self._parameters():
            self._optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def train_epoch(self) -> float:
        """Trains one epoch and leaves the network sparse. Returns the mean loss.

        Raises:
            Diverged: the mean loss or a weight is NaN or infinite; the network is then of no use.
        """
        lr = self.recipe.lr_at(self.epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        device = self.train.labels.device
        generator = torch.Generator(device).manual_seed(epoch_seed(self.seed, self.epoch, "data"))
        self.pruner.resume()
        total = torch.zeros((), device=device)
        with seeded(epoch_seed(self.seed, self.epoch, "noise"), device):
            for images, labels in batches(
                self.train,
                self.recipe.batch_size,
                generator,
                self.recipe.crop_padding,
                self.recipe.flip,
            ):
                total += self._step(images, labels, lr) * len(labels)
        self.pruner.replace()
        self.epoch += 1
        loss = total.item() / len(self.train)
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {self.epoch}")
        # The last step comes after the last loss.
        if not torch.stack([p.isfinite().all() for p in self._parameters()]).all():
            raise Diverged(f"a weight is not finite after epoch {self.epoch}")
        return loss

    def _step(self, images: Tensor, labels: Tensor, lr: float) -> Tensor:
        # In evaluation mode the attack meets the network as it is deployed, and leaves the
        # running statistics to the adversarial batch alone.
        self.model.eval()
        adversarial = self.attack(self.model, images, labels)
        self.model.train()
        loss = F.cross_entropy(self.model(adversarial), labels)
        self._optimizer.zero_grad()
        loss.backward()
        self.pruner.pull(lr)
        self._optimizer.step()
        self.pruner.update()
        return loss.detach()

    def state_dict(self) -> dict[str, Tensor]:
        """Flat tensors: `model.*`, `momentum.*`, `pruner.*`; with `epoch`, all there is to save."""
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"momentum.{i}": b for i, b in enumerate(self._momentum())}
        state |= {f"pruner.{k}": v for k, v in self.pruner.state_dict().items()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor], epoch: int) -> None:
        """Continues after `epoch` epochs. Raises KeyError or RuntimeError on a foreign state."""
        self.model.load_state_dict(_under("model.", state))
        for i, buffer in enumerate(self._momentum()):
            buffer.copy_(state[f"momentum.{i}"])
        self.pruner.load_state_dict(_under("pruner.", state))
        self.epoch = epoch

    def _parameters(self) -> list[Tensor]:
        return [p for group in self._optimizer.param_groups for p in group["params"]]

    def _momentum(self) -> list[Tensor]:
        return [self._optimizer.state[p]["momentum_buffer"] for p in self._parameters()]


def epoch_seed(seed: int, epoch: int, stream: Literal["data", "noise", "evaluation"]) -> int:
    """A seed for each use in each epoch; those of different seeds never meet below 4,096 epochs."""
    return (seed << 14) + 4 * epoch + ("data", "noise", "evaluation").index(stream)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Context in which torch's global generators start from `seed`; restored on leaving."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Context in which torch computes the same bits each time, on a GPU too; restored on leaving.

    Only deterministic algorithms run (an operation that has none raises RuntimeError) and cuDNN does
    not choose by timing. cuBLAS reads its workspace setting once, at its first use in a process: the
    first context must be entered before any CUDA work. Settings are the process's, not the thread's.

    Args:
        wanted: False for a context that does nothing.
    """
    if not wanted:
        yield
        return
    mode, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            del os.environ["CUBLAS_WORKSPACE_CONFIG"]
        else:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
