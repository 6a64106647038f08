"""Adversarial training with pruning inside the loop, an epoch at a time."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.attacks.pgd import PGD, Attack
from rtune.robust.data import Split, augmented, epoch_order, to_float
from rtune.robust.evaluation import accuracy, right
from rtune.robust.fast.chain import fits
from rtune.robust.fast.cpu.folded import FoldedPGD
from rtune.robust.fast.cpu.memory import keep_freed_memory
from rtune.robust.fast.gpu import captured
from rtune.robust.fast.gpu.captured import Captured
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
        fast: whether to train the fast way: where it can be, with the attack's gradient written out and in
            channels-last memory (`rtune.robust.fast.chain`); on a GPU as a CUDA graph that multiplies in
            bfloat16, where weights, statistics, pruning and sums stay float32. False for plain float32
            PyTorch.

    Attributes:
        slow: why a GPU trains the plain way although `fast`; None if it does not.
    """

    def __init__(
        self,
        model: nn.Module,
        pruner: Pruner,
        attack: PGD,
        train: Split,
        recipe: Recipe,
        seed: int,
        fast: bool = True,
    ) -> None:
        self.model = model
        self.pruner = pruner
        self.attack = attack
        self.train = train
        self.recipe = recipe
        self.seed = seed
        self.epoch = 0
        device = train.labels.device
        on_gpu = device.type == "cuda"
        self.slow = captured.obstacle() if fast and on_gpu else None
        self._fast = fast and self.slow is None
        if self._fast and not on_gpu:
            keep_freed_memory()
        self._recorded = self._fast and on_gpu
        self._data = torch.Generator(device)
        # What is recorded reads the learning rate from a tensor; else a number does.
        self._lr: float | Tensor = torch.tensor(recipe.lr, device=device) if self._recorded else recipe.lr
        self._optimizer = torch.optim.SGD(
            model.parameters(),
            lr=self._lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=True,
            fused=self._recorded or None,
        )
        self._noise = torch.Generator(device)
        self._attack = self._chained(attack)
        self._step: Callable[[Tensor], Tensor] = self._batch
        if self._recorded:
            self._step = self._captured(self._batch, lambda: list(self.state_dict().values()))
        self._examinations: dict[PGD, Captured] = {}
        # Made now rather than at the first step, so that a saved state always has them.
        for parameter in self._parameters():
            self._optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def train_epoch(self) -> float:
        """Trains one epoch and leaves the network sparse. Returns the mean loss.

        Raises:
            Diverged: the mean loss or a weight is NaN or infinite; the network is then of no use.
        """
        self._set_lr(self.recipe.lr_at(self.epoch))
        device = self.train.labels.device
        self._data.manual_seed(epoch_seed(self.seed, self.epoch, "data"))
        self.pruner.resume()
        total = torch.zeros((), device=device)
        with self._seeded("noise"):
            for index in epoch_order(self.train, self.recipe.batch_size, self._data):
                total += self._step(index) * len(index)
        self.pruner.replace()
        self.epoch += 1
        loss = total.item() / len(self.train)
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {self.epoch}")
        # The last step comes after the last loss.
        if not torch.stack([p.isfinite().all() for p in self._parameters()]).all():
            raise Diverged(f"a weight is not finite after epoch {self.epoch}")
        return loss

    def measure(self, split: Split, attack: PGD) -> tuple[float, float]:
        """Natural and robust accuracy on a split, each in [0, 1]; a noisy network is asked once.

        The attack is as in training, `fast` or not; what it made is classified in float32.
        """
        with self._seeded("evaluation"):
            if not self._recorded:
                chained = self._chained(attack)
                return accuracy(self.model, split), accuracy(self.model, split, chained)
            asked = self._examinations.get(attack) or self._captured(self._examination(attack), tuple)
            self._examinations[attack] = asked
            self.model.eval()
            counts = torch.zeros(2, dtype=torch.long, device=split.labels.device)
            for part in zip(split.images.split(512), split.labels.split(512), strict=True):
                counts += asked(*part)
            natural, robust = (counts.double() / len(split)).tolist()
            return natural, robust

    def _batch(self, index: Tensor) -> Tensor:
        """Trains on the images at `index`; their mean loss."""
        recipe = self.recipe
        images, labels = augmented(self.train, index, self._data, recipe.crop_padding, recipe.flip)
        # In evaluation mode the attack meets the network as it is deployed, and leaves the
        # running statistics to the adversarial batch alone.
        self.model.eval()
        with self._mixed_precision():
            adversarial = self._attack(self.model, images, labels)
            self.model.train()
            loss = F.cross_entropy(self.model(adversarial), labels)
        self._optimizer.zero_grad()
        loss.backward()
        self.pruner.pull(self._lr)
        self._optimizer.step()
        self.pruner.update()
        return loss.detach()

    def _examination(self, attack: PGD) -> Callable[[Tensor, Tensor], Tensor]:
        chained = self._chained(attack)

        def examine(images: Tensor, labels: Tensor) -> Tensor:
            """How many of the images are classified rightly, as they are and attacked: (2,)."""
            inputs = to_float(images)
            with self._mixed_precision():
                adversarial = chained(self.model, inputs, labels)
            with torch.no_grad():
                return torch.stack([right(self.model(x), labels).sum() for x in (inputs, adversarial)])

        return examine

    def _chained(self, attack: PGD) -> Attack:
        """The attack with its gradient written out, where that is possible."""
        if self._recorded:
            from rtune.robust.fast.gpu import fused  # needs Triton

            return fused.FusedPGD(self.model, attack) if fused.fits(self.model, attack) else attack
        return FoldedPGD(self.model, attack) if self._fast and fits(self.model, attack) else attack

    def _captured(self, function: Callable[..., Tensor], changed: Callable[[], Sequence[Tensor]]) -> Captured:
        return Captured(function, changed, self._noise, [self._data])

    def _mixed_precision(self) -> torch.autocast:
        # Weights cast once may not be kept: what is recorded must cast them anew.
        return torch.autocast("cuda", torch.bfloat16, enabled=self._recorded, cache_enabled=False)

    def _set_lr(self, lr: float) -> None:
        if isinstance(self._lr, Tensor):
            self._lr.fill_(lr)
        else:
            self._lr = lr
            for group in self._optimizer.param_groups:
                group["lr"] = lr

    @contextmanager
    def _seeded(self, stream: Literal["noise", "evaluation"]) -> Iterator[None]:
        """Context in which the noise of the current epoch starts from its seed."""
        seed = epoch_seed(self.seed, self.epoch, stream)
        if self._recorded:  # torch's global generators are not asked: other threads may use them
            self._noise.manual_seed(seed)
            yield
        else:
            with captured.LOCK, seeded(seed, self.train.labels.device):
                yield

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
