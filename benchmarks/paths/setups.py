"""What `benchmarks.paths` compares: data sets, methods with their ladders, and variants of a path.

Needs only torch, NumPy and scikit-learn, so that it runs on a GPU machine without rtune's dependencies.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from benchmarks.claims.arms import Preset
from benchmarks.claims.presets import PRESETS
from rtune.robust import ADMM, RGSM, RVSM, Pruner

# Makes the pruner of a network.
Maker = Callable[[nn.Module], Pruner]


def _setup(preset: str, max_epochs: int) -> Preset:
    """A preset of `benchmarks.paper` with another length of an independent training and of a first step."""
    found = PRESETS[preset]
    return replace(found, recipe=replace(found.recipe, max_epochs=max_epochs))


SETUPS = {
    "digits": _setup("digits", 12),
    "fashion-mnist-reduced": _setup("fashion-mnist-reduced", 10),
}


@dataclass(frozen=True)
class Method:
    """A pruning method and its ladder, the mildest strength first.

    Attributes:
        sparsity: `weight_sparsity` or `channel_sparsity`: what the method is to reach.
        rungs: the pruner at each strength.
    """

    sparsity: str
    rungs: tuple[Maker, ...]


def _rvsm(lambda_1: float) -> Maker:
    return lambda model: RVSM(model, beta=0.1, lambda_1=lambda_1)


def _rgsm(strength: float) -> Maker:
    return lambda model: RGSM(model, beta=1.0, lambda_1=0.05 * strength, lambda_2=0.01 * strength)


def _admm(sparsity: float, granularity: str) -> Maker:
    # With the paper's rho, 0.01, the weights do not come near their projection in so few steps.
    return lambda model: ADMM(model, rho=1.0, sparsity=sparsity, granularity=granularity)


METHODS = {
    "rvsm": Method("weight_sparsity", tuple(_rvsm(5e-4 * 2**i) for i in range(5))),
    "rgsm": Method("channel_sparsity", tuple(_rgsm(1.4**i) for i in range(5))),
    "admm-weights": Method(
        "weight_sparsity", tuple(_admm(p, "weights") for p in (0.6, 0.8, 0.9, 0.95, 0.975))
    ),
    "admm-channels": Method(
        "channel_sparsity", tuple(_admm(p, "channels") for p in (0.3, 0.5, 0.65, 0.8, 0.9))
    ),
}


@dataclass(frozen=True)
class Walk:
    """How a path is walked.

    Attributes:
        epochs: length of a further step.
        lr: rate at the start of a further step, as a fraction of the recipe's.
        keep_momentum, keep_state: see `rtune.robust.PenaltyPath`.
        skip: 1 for every rung of the ladder, 2 for every second.
        downward: whether it begins with the strongest rung.
    """

    epochs: int = 3
    lr: float = 1.0
    keep_momentum: bool = False
    keep_state: bool = False
    skip: int = 1
    downward: bool = False

    def rungs(self, rungs: tuple[Maker, ...]) -> tuple[Maker, ...]:
        """The rungs in the order in which they are walked."""
        taken = rungs[:: self.skip]
        return taken[::-1] if self.downward else taken


WALKS = {
    "path": Walk(),
    "steps of 2": Walk(epochs=2),
    "steps of 5": Walk(epochs=5),
    "half the steps, of 6": Walk(epochs=6, skip=2),
    "a third of the rate": Walk(lr=1 / 3),
    "momentum kept": Walk(keep_momentum=True),
    "state kept": Walk(keep_state=True),
    "downward": Walk(downward=True),
}
