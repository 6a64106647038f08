"""What a report says of certainty, held to simulated searches whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.calibration.measures import of_attainment, of_front, of_fronts, of_kinds
from benchmarks.calibration.simulator import World, search


def at_most(share: float, searches: int) -> float:
    """What a share of this size is not above, in so many searches, but for one case in 10,000."""
    return float(stats.binom.ppf(1 - 1e-4, searches, share)) / searches


def test_networks_are_as_accurate_as_simulated_and_fail_on_the_same_images() -> None:
    rng = np.random.default_rng(0)
    for shared in (0.0, 0.9):
        frame, truth = search(World(400, 2000, shared, spread=0.0, price=0.0), rng)
        off = frame["natural_accuracy"] - truth[:, 0]
        assert abs(off.mean()) < 0.03
        # Of one search, what all networks share does not make them differ.
        error = np.sqrt(0.85 * 0.15 / 2000)
        assert off.std() < 0.6 * error if shared else off.std() == pytest.approx(error, rel=0.15)


def test_few_searches_hold_what_the_report_says() -> None:
    found = of_front(World(40, 200, spread=0.0, price=0.0), 20)
    assert found["wrong"] <= 0.05
    assert found["one"] == pytest.approx(0.95, abs=0.02)
    assert found["chosen"] < found["one"]
    assert found["optimism"] > 0.01
    assert found["gap"] >= 1 - at_most(0.05, 20)


@pytest.mark.long
@pytest.mark.parametrize(("networks", "images"), [(10, 50), (100, 90), (300, 400)])
@pytest.mark.parametrize("shared", [0.0, 0.4, 0.95])
@pytest.mark.parametrize(("spread", "price"), [(0.0, 0.0), (0.0, 0.2), (0.015, 0.05), (0.1, 0.3)])
@pytest.mark.parametrize("accuracy", [0.7, 0.98])
def test_what_is_said_of_the_front_holds(
    networks: int, images: int, shared: float, spread: float, price: float, accuracy: float
) -> None:
    searches = 40
    found = of_front(World(networks, images, shared, spread, accuracy, price), searches, seed=1)
    assert found["wrong"] <= 0.05
    # Wrongly clear members are few enough that hardly a search has one.
    assert found["any"] <= at_most(0.08, searches)
    assert found["gap"] >= 1 - at_most(0.05, searches)


@pytest.mark.long
@pytest.mark.parametrize("sizes", [(6, 6), (30, 30), (6, 40), (90, 15)])
@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_what_is_said_of_two_kinds_holds(sizes: tuple[int, int], spread: float) -> None:
    """The interval at equal sparsity is approximate; the p-values are as rare as they say."""
    world, searches = World(0, 360, 0.5, spread), 100
    covered = of_kinds(sizes, world, searches, seed=1)
    assert covered >= 1 - at_most(0.15, searches)
    if sizes[0] != sizes[1]:  # it was so wide as to cover always
        assert covered < 1.0
    both = of_fronts(sizes, world, searches, seed=1)
    assert both["ratio"] >= 1 - at_most(0.1, searches)
    assert max(both["volume"], both["epsilon"]) <= at_most(0.05, searches)


@pytest.mark.long
@pytest.mark.parametrize("runs", [4, 7])
def test_what_is_said_of_attainment_holds(runs: int) -> None:
    assert of_attainment(runs, World(15, 200, 0.5), 100, seed=1) <= at_most(0.05, 100)
