"""Compares our attacks with those of foolbox on the same networks and images: `python -m benchmarks.oracles`.

Trains four small networks, with and without noise, on digits and, if its files are available, on
Fashion-MNIST. Prints robust accuracies under the attacks of both libraries. The tests assert that they differ
by at most half a percentage point.
"""

import argparse
import datetime
import functools
import json
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import eagerpy
import foolbox
import torch
from foolbox.attacks.carlini_wagner import best_other_classes
from torch import Tensor, nn

from rtune.robust import (
    PGD,
    Attack,
    CarliniL2,
    PreActResNet,
    Pruner,
    Recipe,
    Split,
    Trainer,
    cw,
    fgsm,
    ifgsm,
    is_noisy,
    load,
    outcomes,
    seeded,
)
from rtune.robust.fast import engine_for

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts it
CPU = torch.device("cpu")
# A trained network, images to attack it on, epsilon.
Case = tuple[nn.Module, Split, float]


@dataclass(frozen=True)
class Row:
    """Robust accuracies, in [0, 1], of one network under one attack of both libraries."""

    attack: str
    ours: float
    foolbox: float
    images: int


class MarginPGD(foolbox.attacks.LinfPGD):  # type: ignore[misc]
    """PGD of foolbox with foolbox's version of the loss of Carlini and Wagner."""

    def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
        def loss(inputs: Any) -> Any:
            logits = model(inputs)
            rows = range(len(logits))
            return (logits[rows, best_other_classes(logits, labels)] - logits[rows, labels]).sum()

        return loss


def compare(model: nn.Module, split: Split, epsilon: float, steps: int, tries: int) -> Iterator[Row]:
    """Compares each of our attacks with that of foolbox at the same settings.

    Args:
        model: an ordinary or a noisy network.
        split: the images.
        epsilon: l-infinity radius; the step size is a quarter of it.
        steps: steps of the iterative attacks.
        tries: number of seeds of a random attack; its accuracy is the mean over them.
    """
    step = epsilon / 4
    noisy = is_noisy(model)
    plain = {"rel_stepsize": None, "abs_stepsize": step, "steps": steps}
    still = foolbox.attacks.LinfPGD(**plain, random_start=False)
    pairs: dict[str, tuple[Attack, Any, int]] = {
        "fgsm": (fgsm(epsilon), foolbox.attacks.LinfFastGradientAttack(), 1),
        f"ifgsm-{steps}": (ifgsm(epsilon, step, steps), still, 1),
        f"pgd-{steps}": (PGD(epsilon, step, steps), foolbox.attacks.LinfPGD(**plain), 1),
        f"cw-{steps}": (cw(epsilon, step, steps), MarginPGD(**plain), 1),
    }
    if noisy:
        draws = 4
        pairs[f"eot-pgd-{steps}"] = (
            PGD(epsilon, step, steps, eot_draws=draws),
            foolbox.attacks.LinfPGD(**plain),
            draws,
        )
    else:
        pairs[f"pgd-{steps}, 3 restarts"] = (
            PGD(epsilon, step, steps, restarts=3),
            foolbox.attacks.LinfPGD(**plain).repeat(3),
            1,
        )
    for name, (ours, theirs, eot) in pairs.items():
        random = noisy or not name.startswith(("fgsm", "ifgsm"))
        mine, other = (
            [_accuracy(model, split, attack, seed) for seed in range(tries if random else 1)]
            for attack in (ours, _Foolbox(theirs, epsilon, eot))
        )
        yield Row(name, sum(mine) / len(mine), sum(other) / len(other), len(split))


def compare_l2_strength(model: nn.Module, split: Split, epsilon: float) -> Row:
    """Compares the default l2 attack of Carlini and Wagner with another l2 attack: PGD-100 of foolbox."""
    theirs = foolbox.attacks.L2PGD(rel_stepsize=0.05, steps=100)
    mine, other = (
        _accuracy(model, split, a, seed=0) for a in (CarliniL2(epsilon), _Foolbox(theirs, epsilon, 1))
    )
    return Row("cw-l2-200 / l2 pgd-100", mine, other, len(split))


def compare_l2(model: nn.Module, split: Split, epsilon: float, steps: int) -> Row:
    """Compares the l2 attacks of Carlini and Wagner of both libraries on an ordinary network."""
    ours = CarliniL2(epsilon, steps, search_steps=4, learning_rate=0.1, initial_constant=0.1)
    theirs = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=4, steps=steps, stepsize=0.1, initial_const=0.1, abort_early=False
    )
    mine, other = (_accuracy(model, split, a, seed=0) for a in (ours, _Foolbox(theirs, epsilon, 1)))
    return Row(f"cw-l2-{steps}", mine, other, len(split))


@dataclass(frozen=True)
class _Foolbox:
    """A foolbox attack with our interface; each forward pass is the mean of `eot` passes."""

    attack: Any
    epsilon: float
    eot: int

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # foolbox warns about networks in training mode
            wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        if self.eot > 1:
            wrapped = foolbox.models.ExpectationOverTransformationWrapper(wrapped, n_steps=self.eot)
        _, clipped, _ = self.attack(
            wrapped, eagerpy.astensor(images), eagerpy.astensor(labels), epsilons=self.epsilon
        )
        found: Tensor = clipped.raw
        return found


def _accuracy(model: nn.Module, split: Split, attack: Attack, seed: int) -> float:
    with seeded(seed, CPU):
        draws = 10 if is_noisy(model) else 1
        return outcomes(model, split, attack, draws).double().mean().item()


def networks(quick: bool = False) -> dict[str, Callable[[], Case]]:
    """Name -> function that trains a network once and keeps it; Fashion-MNIST only if its files exist."""
    found: dict[str, Callable[[], Case]] = {}
    for noisy in (False, True):
        kind = "noisy" if noisy else "ordinary"
        found[f"digits, {kind}"] = functools.cache(functools.partial(_digits, noisy))
        if (FASHION_MNIST / "train-images-idx3-ubyte.gz").is_file():
            found[f"fashion-mnist, {kind}"] = functools.cache(functools.partial(_fashion_mnist, noisy, quick))
    return found


def _digits(noisy: bool) -> Case:
    train, validation = load("digits")
    everything = Split(
        torch.cat([train.images, validation.images]), torch.cat([train.labels, validation.labels])
    )
    return _train(train, noisy, 0.07, 4, 4), everything, 0.07


def _fashion_mnist(noisy: bool, quick: bool) -> Case:
    train, validation = load("fashion-mnist", FASHION_MNIST, download=False)
    small = Split(train.images[:1500], train.labels[:1500])
    images = 400 if quick else 1000
    some = Split(validation.images[:images], validation.labels[:images])
    return _train(small, noisy, 0.05, 3, 2 if quick else 4), some, 0.05


def _train(train: Split, noisy: bool, epsilon: float, epochs: int, width: int) -> nn.Module:
    torch.manual_seed(0)
    size = {"members": 2, "gamma": 0.1} if noisy else {}
    model = PreActResNet(20, width=width, in_channels=1, **size)  # type: ignore[arg-type]
    recipe = Recipe(max_epochs=epochs, batch_size=32, milestones=(0.7,), crop_padding=0, flip=False)
    attack, engine = PGD(epsilon, epsilon, 1), engine_for("cpu")
    trainer = Trainer(model, Pruner(model), attack, train, recipe, seed=0, engine=engine)
    for _ in range(epochs):
        trainer.train_epoch()
    return model


def main() -> None:
    """Prints the table; `--json FILE` writes it with the machine and the date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="the size of the tests: minutes instead of an hour"
    )
    options = parser.parse_args()
    found = []
    steps, tries = (3, 2) if options.quick else (10, 3)
    for name, make in networks(options.quick).items():
        model, split, epsilon = make()
        rows = [*compare(model, split, epsilon, steps, tries)]
        if not is_noisy(model):
            some = Split(split.images[:300], split.labels[:300])
            radius = 0.5 if name.startswith("digits") else 1.0
            rows += [compare_l2(model, split, radius, steps=40), compare_l2_strength(model, some, radius)]
        for row in rows:
            gap = 100 * (row.ours - row.foolbox)
            print(
                f"{name:24} {row.attack:20} ours {row.ours:.4f} foolbox {row.foolbox:.4f}  {gap:+.2f} points",
                flush=True,
            )
            found.append({"network": name, **asdict(row)})
    if options.json:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}"
        command = "python -m benchmarks.oracles" + " --quick" * options.quick
        facts = {"date": f"{datetime.date.today()}", "command": command, "machine": machine, "rows": found}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
