"""Adversarial training with pruning inside the loop, an epoch at a time (arXiv 2003.00631, section 3)."""

import math

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import Attack
from rtune.robust.data import Split, augmented, epoch_order
from rtune.robust.engine import Engine, Generators, Step
from rtune.robust.losses import CrossEntropy, Loss
from rtune.robust.path import ONE_STEP, PenaltyPath
from rtune.robust.pruning import Pruner
from rtune.robust.random import epoch_seed
from rtune.robust.recipe import Recipe


class Diverged(Exception):
    """The training loss is no longer finite."""


class Trainer:
    """Trains a network on adversarial images and prunes it, epoch after epoch.

    Between epochs the network is the sparse one, ready to be validated and saved. All randomness
    of an epoch comes from (seed, epoch): a training that is saved and continued gives the same
    weights, bit for bit on the CPU, as one that never stopped.

    Args:
        model: the network, on the device of `train`.
        pruner: made for `model`; that of the first step if the training is a path.
        attack: makes the training images.
        train: the training split.
        recipe: see `Recipe`.
        seed: any integer of at most 48 bits.
        loss: what is minimised; see `rtune.robust.losses.training`.
        engine: how the steps are computed, such as `rtune.robust.fast.engine_for(device)`; None for
            plain float32 PyTorch.
        path: the further steps of a penalty path; by default there are none.

    Attributes:
        engine: the one that trains: `engine`, or the plain one if that cannot take the attack.
        pruner: that of the current step.
        epoch: number of epochs trained.

    Raises:
        ValueError: the recipe has too few epochs for the path.
    """

    def __init__(
        self,
        model: nn.Module,
        pruner: Pruner,
        attack: Attack,
        train: Split,
        recipe: Recipe,
        seed: int,
        loss: Loss = CrossEntropy(),
        engine: Engine | None = None,
        path: PenaltyPath = ONE_STEP,
    ) -> None:
        path.first(recipe.max_epochs)  # raises, before anything is built
        self.model = model
        self._first_pruner = self.pruner = pruner
        self.attack = attack
        self.train = train
        self.recipe = recipe
        self.seed = seed
        self.loss = loss
        self.path = path
        self.engine = (engine or Engine()).suited(attack)
        self.epoch = 0
        self.engine.prepare(model)
        self._generators = Generators.on(train.labels.device)
        self._optimizer = self.engine.optimizer(model, recipe.lr, recipe.momentum, recipe.weight_decay)
        self._attack = self.engine.attack(attack, model)
        self._step = self._recorded()
        self._measure = self.engine.measuring(model, self._generators)
        # Made now rather than at the first step, so that a saved state always has them.
        for parameter in self._parameters():
            self._optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def train_epoch(self) -> float:
        """Trains one epoch and leaves the network sparse. Returns the mean loss.

        Raises:
            Diverged: the mean loss or a weight is NaN or infinite; the network is then of no use.
        """
        self._enter_step()
        self.engine.set_lr(self._optimizer, self.path.lr_at(self.recipe, self.epoch))
        self._generators.data.manual_seed(epoch_seed(self.seed, self.epoch, "data"))
        self.pruner.resume()
        total = torch.zeros((), device=self.train.labels.device)
        with self.engine.seeded(self._generators, epoch_seed(self.seed, self.epoch, "noise")):
            for index in epoch_order(self.train, self.recipe.batch_size, self._generators.data):
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

    def measure(self, split: Split, attack: Attack) -> tuple[float, float]:
        """Natural and robust accuracy on a split, each in [0, 1]; see `Engine.measuring`."""
        return self._measure(split, attack, epoch_seed(self.seed, self.epoch, "evaluation"))

    def _enter_step(self) -> None:
        """Makes the pruning stronger if a step of the path begins with the coming epoch."""
        if self.path.starts(self.epoch, self.recipe.max_epochs):
            step = self.path.step(self.epoch, self.recipe.max_epochs)
            self.pruner = self.path.enter(step, self.model, self.pruner, self._momentum())
            self._step = self._recorded()

    def _recorded(self) -> Step:
        return self.engine.recorded(self._batch, lambda: list(self.state_dict().values()), self._generators)

    def _batch(self, index: Tensor) -> Tensor:
        """Trains on the images at `index`; their mean loss."""
        recipe = self.recipe
        natural, labels = augmented(
            self.train, index, self._generators.data, recipe.crop_padding, recipe.flip
        )
        # In evaluation mode the attack sees the network as it is deployed, and does not change its
        # running statistics.
        self.model.eval()
        with self.engine.autocast():
            adversarial = self._attack(self.model, natural, labels)
            self.model.train()
            loss = self.loss(self.model, natural, adversarial, labels)
        self._optimizer.zero_grad()
        loss.backward()
        self.pruner.pull(self._optimizer.param_groups[0]["lr"])
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
        step = self.path.step(epoch - 1, self.recipe.max_epochs)
        self.pruner = self.path.stronger[step - 1](self.model) if step else self._first_pruner
        if self.path.stronger:
            self._step = self._recorded()
        self.pruner.load_state_dict(_under("pruner.", state))
        self.epoch = epoch

    def _parameters(self) -> list[Tensor]:
        return [p for group in self._optimizer.param_groups for p in group["params"]]

    def _momentum(self) -> list[Tensor]:
        return [self._optimizer.state[p]["momentum_buffer"] for p in self._parameters()]


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
