"""Losses: training minimises `training.loss`; attacks maximise `attack.loss` and `evaluation.loss`."""

from rtune.config.catalog.part import AttackLoss, Loss
from rtune.registry import Registry

LOSSES = Registry(
    "loss",
    "losses",
    Loss,
    [
        Loss(
            name="cross_entropy",
            label="cross-entropy",
            about="cross-entropy of the adversarial images alone (Madry et al., arXiv 1706.06083)",
            build="rtune.robust.losses:CrossEntropy",
        ),
    ],
)
ATTACK_LOSSES = Registry(
    "attack loss",
    "attack_losses",
    AttackLoss,
    [
        AttackLoss(
            name="cross_entropy",
            label="cross-entropy",
            about="cross-entropy of the true class",
            build="rtune.robust.losses:AttackCrossEntropy",
        ),
        AttackLoss(
            name="margin",
            label="margin",
            about="largest other logit minus the true class's (Carlini and Wagner, arXiv 1608.04644)",
            build="rtune.robust.losses:Margin",
        ),
    ],
)
