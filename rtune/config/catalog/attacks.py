"""Attacks: `attack.method`, `evaluation.method`, and `rtune evaluate --attacks`."""

from rtune.config.catalog.part import Attack
from rtune.registry import Registry

ATTACKS = Registry(
    "attack",
    "attacks",
    Attack,
    [
        Attack(
            name="natural",
            label="none",
            about="the images as they are",
            build="rtune.robust.attacks:natural",
            norm=None,
        ),
        Attack(
            name="fgsm",
            label="FGSM",
            about="one gradient step of length epsilon (arXiv 1412.6572)",
            build="rtune.robust.attacks:fgsm",
            eot=True,
        ),
        Attack(
            name="ifgsm",
            label="IFGSM",
            about="PGD without a random start (arXiv 1607.02533)",
            build="rtune.robust.attacks:ifgsm",
            steps=20,
            steps_have_length=True,
            eot=True,
        ),
        Attack(
            name="pgd",
            label="PGD",
            about="signed gradient steps from a random start (arXiv 1706.06083)",
            build="rtune.robust.attacks:PGD",
            steps=20,
            steps_have_length=True,
            restarts=True,
            eot=True,
            trains=True,
        ),
        Attack(
            name="cw",
            label="C&W",
            about="PGD on Carlini and Wagner's margin in the l-infinity ball",
            build="rtune.robust.attacks:cw",
            steps=20,
            steps_have_length=True,
            restarts=True,
            eot=True,
        ),
        Attack(
            name="cw-l2",
            label="C&W l2",
            about="Carlini and Wagner's least l2 perturbation (arXiv 1608.04644)",
            build="rtune.robust.attacks:CarliniL2",
            norm="l2",
            steps=200,
            noisy=False,
        ),
        Attack(
            name="autoattack",
            label="AutoAttack",
            about="the ensemble of RobustBench (arXiv 2003.01690); needs the package pyautoattack",
            build="rtune.robust.attacks.autoattack:autoattack_outcomes",
            counts=True,
            package="pyautoattack",
            install="rtune[autoattack]",
        ),
    ],
)
