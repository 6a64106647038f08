"""Rungs of successive halving: epochs grace * eta^k, quotas and brackets (ASHA, arXiv 1810.05934)."""

from collections.abc import Collection
from itertools import pairwise


def levels(grace: int, eta: int, max_epochs: int) -> list[int]:
    """Epochs of the rungs of a full training, ascending; empty if `grace` is `max_epochs` or more.

    Only the first rung may lie in the second half of the training: a stop there saves little, and a wrong
    stop costs more.

    Args:
        grace: epoch of the first rung, at least 1.
        eta: reduction factor, at least 2.
        max_epochs: epochs of a full training.
    """
    found: list[int] = []
    level = grace
    while level < max_epochs and (not found or 2 * level <= max_epochs):
        found.append(level)
        level *= eta
    return found


def lengthened(first: list[int], eta: int, ends: list[int]) -> list[int]:
    """Rungs of a search whose `max_epochs` was raised: each former end starts a new series of rungs.

    Args:
        first: the rungs below `ends[0]`; if empty, there is no early stopping and the result is empty.
        eta: reduction factor.
        ends: all values of `max_epochs` so far, ascending; the last is the current one.
    """
    further = [level for end, new in pairwise(ends) for level in levels(end, eta, new)]
    return [*first, *further] if first else []


def stride(epoch: int, rungs: Collection[int], end: int) -> int:
    """One of how many validation images an epoch's network is measured on: 1 for all, 4 for a quarter.

    At rungs and at the last epoch all images are used: these results decide, and are final. Between rungs a
    quarter is enough to forecast a trial's course (`benchmarks.fidelity`).
    """
    return 1 if epoch == end or epoch in rungs else 4


def default_grace(eta: int, max_epochs: int) -> int:
    """Epoch of the first rung, max_epochs / eta^2: the best choice in `benchmarks.search`."""
    return max(1, max_epochs // eta**2)


def quota(size: int, eta: int, leniency: float = 1.0) -> int:
    """How many of `size` trials recorded at a rung may continue: size * leniency / eta, at least 1."""
    return max(1, int(size * leniency / eta))


def leniency(begun: int, trials: int, eta: int) -> float:
    """Factor on the quota for waiting trials when `begun` of all `trials` have started.

    It grows from 1 to sqrt(eta). Late in a search a new trial rarely improves the front, while trials that
    were underrated by their early results are among the waiting ones (`benchmarks/searching.md`).
    """
    return float(eta ** (0.5 * min(1.0, begun / trials)))


def bracket(trial: str, brackets: int) -> int:
    """Index of a trial's bracket, from 0: t0001, t0002, ... are assigned in turn."""
    return (int(trial[1:]) - 1) % brackets if brackets > 1 else 0
