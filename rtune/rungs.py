"""Where trials are compared: rungs at grace * eta^k epochs."""


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


def default_grace(eta: int, max_epochs: int) -> int:
    """Epoch of the first rung: two rungs below the end, which is what `benchmarks.search` likes best."""
    return max(1, max_epochs // eta**2)
