"""Simulated searches: networks with known true accuracies, measured on images that they share."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import ndtri  # type: ignore[import-untyped]

NAMES = ("natural_accuracy", "robust_accuracy", "weight_sparsity")


@dataclass(frozen=True)
class World:
    """What a search is like.

    Attributes:
        networks: how many it gives.
        images: of the validation split.
        shared: correlation of two networks' errors on one image, in [0, 1]: of the normal variables behind
            them. 0: independent; 1: of two equally accurate networks both fail on the same images.
        spread: standard deviation of the true accuracies of equally sparse networks.
        accuracy: natural accuracy of a dense network; the robust one is 0.3 lower.
        price: what the sparsest network loses in both.
    """

    networks: int
    images: int
    shared: float = 0.0
    spread: float = 0.05
    accuracy: float = 0.85
    price: float = 0.2

    def of(self, networks: int) -> "World":
        """The same with another number of networks."""
        return replace(self, networks=networks)


def search(world: World, rng: np.random.Generator, test_images: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """The networks of one search, and the truth about them.

    Returns:
        A row a network with the measured objectives `NAMES`, `trial`, `epoch`, `images`, and the accuracies
        on `test_images` others, `natural_test` and `robust_test`; the true objectives (networks, 3).
    """
    sparsity = rng.random(world.networks)
    base = world.accuracy - world.price * sparsity**2
    both = rng.normal(0, world.spread / 2**0.5, world.networks)  # a good network is so in both
    own = rng.normal(0, world.spread / 2**0.5, (2, world.networks))
    natural = (base + both + own[0]).clip(0.02, 0.999)
    robust = np.minimum(base - 0.3 + both + own[1], natural).clip(0.01)
    accuracies = np.stack([natural, robust])
    measured, tested = (_shares(accuracies, world.shared, n, rng) for n in (world.images, test_images))
    table = dict(zip(NAMES, [*measured, sparsity], strict=True))
    trials = [f"t{i:05d}" for i in range(world.networks)]
    frame = pd.DataFrame(table).assign(trial=trials, epoch=1, images=world.images)
    frame = frame.assign(natural_test=tested[0], robust_test=tested[1])
    return frame, np.stack([natural, robust, sparsity], axis=1)


def _shares(accuracies: np.ndarray, shared: float, images: int, rng: np.random.Generator) -> np.ndarray:
    """Shares (2, n) of so many images that are right; what is right under attack is so without it."""
    difficulty = shared**0.5 * rng.standard_normal((1, images))
    difficulty = difficulty + (1 - shared) ** 0.5 * rng.standard_normal((accuracies.shape[1], images))
    return np.stack([(difficulty < ndtri(own)[:, None]).mean(axis=1) for own in accuracies])
