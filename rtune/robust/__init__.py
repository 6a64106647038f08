"""Adversarial training, pruning and evaluation of small networks; usable alone, for example in a notebook.

The method and its equations are from arXiv 2003.00631. This package imports neither Ray, Optuna nor pydantic.
The faster engines are in `rtune.robust.fast`, which no other module of this package imports.
"""

from rtune.robust.attacks.carlini import CarliniL2
from rtune.robust.attacks.pgd import PGD, Attack, cw, fgsm, ifgsm
from rtune.robust.compaction import Footprint, compact, footprint
from rtune.robust.data import DataError, Split, load, load_test
from rtune.robust.engine import Engine
from rtune.robust.evaluation import Measurement, accuracy, outcomes
from rtune.robust.losses import AttackCrossEntropy, AttackLoss, CrossEntropy, Loss, Margin
from rtune.robust.models import (
    MobileNet,
    Network,
    PlainNet,
    PreActResNet,
    WideResNet,
    depends_on_batch,
    is_noisy,
    quiet,
)
from rtune.robust.path import PenaltyPath, ladder
from rtune.robust.pruning import ADMM, RGSM, RVSM, Pruner, channel_sparsity, weight_sparsity
from rtune.robust.random import deterministic, seeded
from rtune.robust.recipe import Recipe
from rtune.robust.training import Diverged, Trainer

__all__ = [
    "ADMM",
    "PGD",
    "RGSM",
    "RVSM",
    "Attack",
    "AttackCrossEntropy",
    "AttackLoss",
    "CarliniL2",
    "CrossEntropy",
    "DataError",
    "Diverged",
    "Engine",
    "Footprint",
    "Loss",
    "Margin",
    "Measurement",
    "MobileNet",
    "Network",
    "PenaltyPath",
    "PlainNet",
    "PreActResNet",
    "Pruner",
    "Recipe",
    "Split",
    "Trainer",
    "WideResNet",
    "accuracy",
    "channel_sparsity",
    "compact",
    "cw",
    "depends_on_batch",
    "deterministic",
    "fgsm",
    "footprint",
    "ifgsm",
    "is_noisy",
    "ladder",
    "load",
    "load_test",
    "outcomes",
    "quiet",
    "seeded",
    "weight_sparsity",
]
