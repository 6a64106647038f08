"""The catalog of all parts that a search file can name: one entry per part (`Part`), one registry per kind.

A new part is one file with its code and one entry here. Other packages add parts through entry points of
the groups `rtune.networks`, `rtune.datasets`, `rtune.losses`, `rtune.attack_losses`, `rtune.pruners`,
`rtune.attacks`, `rtune.samplers` and `rtune.metrics` (`rtune.metrics.METRICS`).
"""

from rtune.config.catalog.attacks import ATTACKS
from rtune.config.catalog.datasets import DATASETS
from rtune.config.catalog.losses import ATTACK_LOSSES, LOSSES
from rtune.config.catalog.networks import NETWORKS
from rtune.config.catalog.part import Attack, AttackLoss, Dataset, Loss, Network, Part, Pruner, Sampler
from rtune.config.catalog.pruners import PRUNERS
from rtune.config.catalog.samplers import SAMPLERS

__all__ = [
    "ATTACKS",
    "ATTACK_LOSSES",
    "DATASETS",
    "LOSSES",
    "NETWORKS",
    "PRUNERS",
    "SAMPLERS",
    "Attack",
    "AttackLoss",
    "Dataset",
    "Loss",
    "Network",
    "Part",
    "Pruner",
    "Sampler",
]
