"""Losses: what training minimises, and what a gradient attack maximises.

A new loss is a class here or anywhere else; both kinds are called as `Loss` and `AttackLoss` say.
"""

from rtune.robust.losses.attack import AttackCrossEntropy, AttackLoss, Margin, margin
from rtune.robust.losses.training import CrossEntropy, Loss

__all__ = ["AttackCrossEntropy", "AttackLoss", "CrossEntropy", "Loss", "Margin", "margin"]
