"""The science: robust pruning of small networks, usable on its own in a notebook.

Nothing here knows Ray or Optuna. Method and equations: arXiv 2003.00631.
"""

from rtune.robust.attacks.carlini import CarliniL2
from rtune.robust.attacks.pgd import PGD, Attack, cw, fgsm, ifgsm
from rtune.robust.compaction import Footprint, compact, footprint
from rtune.robust.data import DataError, Split, load, load_test
from rtune.robust.evaluation import Measurement, accuracy, outcomes
from rtune.robust.models import MobileNet, Network, PlainNet, PreActResNet, WideResNet, is_noisy, quiet
from rtune.robust.pruning import ADMM, RGSM, RVSM, Pruner, channel_sparsity, weight_sparsity
from rtune.robust.training import Diverged, Recipe, Trainer, deterministic, seeded

__all__ = [
    "ADMM",
    "PGD",
    "RGSM",
    "RVSM",
    "Attack",
    "CarliniL2",
    "DataError",
    "Diverged",
    "Footprint",
    "Measurement",
    "MobileNet",
    "Network",
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
    "deterministic",
    "fgsm",
    "footprint",
    "ifgsm",
    "is_noisy",
    "load",
    "load_test",
    "outcomes",
    "quiet",
    "seeded",
    "weight_sparsity",
]
