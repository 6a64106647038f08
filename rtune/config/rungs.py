"""Where trials are compared: rungs at grace * eta^k epochs, and who may go on from one."""

from collections.abc import Collection
from itertools import pairwise


def levels(grace: int, eta: int, max_epochs: int) -> list[int]:
    """Epochs of the rungs of a full training, ascending; none for a grace of `max_epochs`.

    Past half of a training there is no rung but the first: what it could save is less than what
    its mistakes cost.
    """
    found: list[int] = []
    level = grace
    while level < max_epochs and (not found or 2 * level <= max_epochs):
        found.append(level)
        level *= eta
    return found


def lengthened(first: list[int], eta: int, ends: list[int]) -> list[int]:
    """Rungs of a search whose full training was made longer: each former end is a rung, and so on from there.

    Args:
        first: the rungs below `ends[0]`; none means no early stopping, which stays so.
        eta: reduction factor.
        ends: lengths of a full training, ascending, today's last.
    """
    further = [level for end, new in pairwise(ends) for level in levels(end, eta, new)]
    return [*first, *further] if first else []


def stride(epoch: int, rungs: Collection[int], end: int) -> int:
    """Every how manieth validation image an epoch's network is measured on.

    All where the trial may end, at a rung and at its end: those figures decide, and stand. Between rungs a
    quarter tells where a trial is heading (`benchmarks.fidelity`).
    """
    return 1 if epoch == end or epoch in rungs else 4


def default_grace(eta: int, max_epochs: int) -> int:
    """Epoch of the first rung: two rungs below the end, which is what `benchmarks.search` likes best."""
    return max(1, max_epochs // eta**2)


def quota(size: int, eta: int, leniency: float = 1.0) -> int:
    """How many of `size` trials recorded at a rung may go on: `leniency` in eta, but at least one."""
    return max(1, int(size * leniency / eta))


def leniency(begun: int, trials: int, eta: int) -> float:
    """How much larger the quota for waiting trials is when `begun` of all `trials` have begun.

    It grows from 1 to sqrt(eta): late in a search a new trial seldom adds to the front, and what early
    figures have hidden is among those who wait (`benchmarks/searching.md`).
    """
    return float(eta ** (0.5 * min(1.0, begun / trials)))


def bracket(trial: str, brackets: int) -> int:
    """The bracket of a trial, from 0: t0001, t0002, ... take turns."""
    return (int(trial[1:]) - 1) % brackets if brackets > 1 else 0
