"""The science: robust pruning of small networks, usable on its own in a notebook.

Nothing here knows Ray or Optuna. Method and equations: arXiv 2003.00631.
"""

from rtune.robust.attacks import PGD, fgsm, ifgsm
from rtune.robust.compact import Footprint, compact, footprint
from rtune.robust.data import DataError, Split, load, load_test
from rtune.robust.evaluation import accuracy
from rtune.robust.models import PreActResNet
from rtune.robust.pruning import ADMM, RGSM, RVSM, Pruner, channel_sparsity, weight_sparsity
from rtune.robust.training import Diverged, Recipe, Trainer, seeded

__all__ = [
    "ADMM",
    "PGD",
    "RGSM",
    "RVSM",
    "DataError",
    "Diverged",
    "Footprint",
    "PreActResNet",
    "Pruner",
    "Recipe",
    "Split",
    "Trainer",
    "accuracy",
    "channel_sparsity",
    "compact",
    "fgsm",
    "footprint",
    "ifgsm",
    "load",
    "load_test",
    "seeded",
    "weight_sparsity",
]
