"""Checks of whether a robust accuracy is too high because the attack is weak.

Noise, a saturated loss or masked gradients can make an attack fail on a network that is not robust. Each
check compares two attacks on the same images. It fails if the difference of their accuracies is larger than
twice its standard error over the images. The checks follow those of AutoAttack (arXiv 2003.01690).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import PGD, Attack, cw, fgsm, ifgsm, input_gradient
from rtune.robust.data import Split, to_float
from rtune.robust.evaluation import Measurement, outcomes
from rtune.robust.models import is_noisy, quiet


@dataclass(frozen=True)
class Diagnosis:
    """Result of the checks.

    Attributes:
        figures: name of the attack -> accuracy under it.
        zero_gradients: number of correctly classified images with a gradient of exactly zero.
        warnings: one sentence for each check that failed; empty if all passed.
    """

    figures: dict[str, Measurement]
    zero_gradients: int
    warnings: list[str] = field(default_factory=list)


def diagnose(
    model: nn.Module,
    split: Split,
    attack: PGD,
    eot_draws: int = 10,
    noise_draws: int = 10,
    on_batch: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Runs several variants of a PGD attack and compares the accuracies under them.

    Args:
        model: the network, with or without noise.
        split: images on the model's device.
        attack: the attack to check; the variants change its epsilon, step size and number of steps.
        eot_draws: noise draws per gradient of the variants with expectation over transformation, at least 2.
        noise_draws: how often a noisy network classifies each adversarial image.
        on_batch: as in `outcomes`; called for all `passes(model)` attacks on the split.
    """
    attack = PGD(attack.epsilon, attack.step_size, attack.steps)
    noisy = is_noisy(model)
    right = {
        name: outcomes(model, split, variant, noise_draws if noisy else 1, on_batch=on_batch)
        for name, variant in _variants(model, attack, eot_draws).items()
    }
    zero = zero_gradients(model, split)
    warnings = [w for w in _failed_checks(right, attack, eot_draws) if w]
    if zero:
        warnings.append(
            f"the gradient at {zero} images is zero: gradient attacks on the cross-entropy cannot change "
            "them; also evaluate with the margin loss (cw) and with autoattack"
        )
    return Diagnosis({name: Measurement.of(r) for name, r in right.items()}, zero, warnings)


def passes(model: nn.Module) -> int:
    """Number of attacks on the split that `diagnose` runs."""
    return 11 if is_noisy(model) else 8


def zero_gradients(model: nn.Module, split: Split, batch_size: int = 512) -> int:
    """Number of correctly classified images at which the gradient of the cross-entropy is exactly zero."""
    mode = model.training
    model.eval()
    count = 0
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        inputs = to_float(images)
        flat = input_gradient(model, inputs, labels).flatten(1)
        with torch.no_grad():
            right = model(inputs).argmax(dim=1) == labels
        count += int((flat.eq(0).all(dim=1) & right).sum())
    model.train(mode)
    return count


def _variants(model: nn.Module, attack: PGD, eot_draws: int) -> dict[str, Attack | None]:
    epsilon, step, k = attack.epsilon, attack.step_size, attack.steps
    variants: dict[str, Attack | None] = {
        "natural": None,
        "fgsm": fgsm(epsilon),
        "ifgsm": ifgsm(epsilon, step, k),
        "pgd": attack,
        "cw": cw(epsilon, step, k),
        "pgd, 5 times the steps": PGD(epsilon, step, 5 * k),
        "pgd, half the epsilon": PGD(epsilon / 2, step / 2, k),
        "pgd, twice the epsilon": PGD(epsilon * 2, step * 2, k),
    }
    if is_noisy(model):
        variants["eot-pgd"] = PGD(epsilon, step, k, eot_draws=eot_draws)
        variants["eot-pgd, 3 times the draws"] = PGD(epsilon, step, k, eot_draws=3 * eot_draws)
        variants["transfer"] = _Transfer(quiet(model), attack)
    return variants


@dataclass(frozen=True)
class _Transfer:
    """A transfer attack: its adversarial images are computed on the network `source`."""

    source: nn.Module
    attack: Attack

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        self.source.train(model.training)
        return self.attack(self.source, images, labels)


def _failed_checks(right: dict[str, Tensor], attack: PGD, eot_draws: int) -> list[str | None]:
    half, whole, twice = (right[n] for n in ("pgd, half the epsilon", "pgd", "pgd, twice the epsilon"))
    k = attack.steps
    checks = [
        _if_lower(half, whole, "robust accuracy rises with epsilon (from half of it to epsilon)"),
        _if_lower(whole, twice, "robust accuracy rises with epsilon (from epsilon to twice of it)"),
        _if_lower(right["fgsm"], whole, f"fgsm beats pgd-{k}: gradients are masked or steps too long"),
        _if_lower(
            right["pgd, 5 times the steps"],
            whole,
            f"pgd-{5 * k} beats pgd-{k}: the attack has not converged, use more steps",
        ),
        _if_lower(
            whole,
            right["ifgsm"],
            f"a random start makes pgd-{k} stronger than ifgsm-{k}: report pgd, with restarts",
        ),
        _if_lower(
            right["cw"], whole, f"cw-{k} beats pgd-{k}: the cross-entropy is the weaker loss here, report cw"
        ),
    ]
    if "transfer" in right:
        eot, more = right["eot-pgd"], right["eot-pgd, 3 times the draws"]
        strongest = min((whole, eot), key=lambda r: r.double().mean().item())
        checks += [
            _if_lower(
                right["transfer"],
                strongest,
                "an attack on the noise-free twin beats the white-box one: the noise hides gradients",
            ),
            _if_lower(eot, whole, f"averaging gradients over {eot_draws} noise draws helps: report eot-pgd"),
            _if_lower(
                whole, eot, f"averaging gradients over {eot_draws} noise draws hurts: report pgd without"
            ),
            _if_lower(more, eot, f"more than {eot_draws} noise draws a gradient help: raise --eot-draws"),
        ]
    return checks


def _if_lower(a: Tensor, b: Tensor, warning: str) -> str | None:
    """The warning with both accuracies, if `a` is below `b` by more than two standard errors; else None."""
    difference, error = paired_difference(b, a)
    if difference <= 2 * error or difference == 0:
        return None
    low, high = (x.double().mean().item() for x in (a, b))
    return f"{warning} ({low:.3f} against {high:.3f}, standard error of the difference {error:.3f})"


def paired_difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Accuracy of `a` minus accuracy of `b` on the same images, and the standard error of the difference.

    The standard error is over the images, after the mean over the noise draws; infinite for one image.

    Args:
        a, b: outcomes, bool (draws, N), of `outcomes`; the numbers of draws may differ.
    """
    by_image = a.double().mean(dim=0) - b.double().mean(dim=0)
    error = by_image.std().item() / math.sqrt(len(by_image)) if len(by_image) > 1 else math.inf
    return by_image.mean().item(), error
