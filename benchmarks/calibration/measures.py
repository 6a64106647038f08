"""How often the statements of the report hold for simulated searches."""

from collections.abc import Sequence

import moocore
import numpy as np
import pandas as pd

from analysis.front import hypervolume
from analysis.statistics.attainment import attainment_test
from analysis.statistics.by_kind import at_equal
from analysis.statistics.compare import compare
from analysis.statistics.optimism import optimism
from analysis.statistics.uncertainty import certainty, wilson
from benchmarks.calibration.simulator import NAMES, World, search

_PAIR = ("weight_sparsity", "robust_accuracy")


def of_front(world: World, searches: int, seed: int = 0) -> dict[str, float]:
    """What is said of the front.

    Returns:
        `members` and `clear`: means over the searches; `wrong`: the share of the networks dominated in truth,
        of all searches, that are called clear (at most 0.05 is claimed); `any`: the share of searches with
        one such network; `true`: the share of members that
        are on the true front; `one` and `chosen`: the coverage of Wilson's interval of natural accuracies, of
        all networks (0.95 is claimed) and of the members; `optimism`: the mean excess of the members'
        measured over their true natural accuracy; `gap`: the share of searches whose interval of validation
        minus test accuracy holds it (at least 0.95 is claimed).
    """
    rows, gaps = [], []
    for number in range(searches):
        frame, truth = search(world, np.random.default_rng((seed, number)), test_images=1000)
        real = moocore.is_nondominated(truth, maximise=True, keep_weakly=True)
        found = certainty(frame, NAMES, world.images)
        at = frame.index[frame["trial"].isin(found["trial"])]
        called = set(found.loc[~found["within_noise"], "trial"])
        natural = frame["natural_accuracy"].to_numpy()
        low, high = wilson(natural, world.images)
        holds = (low <= truth[:, 0]) & (truth[:, 0] <= high)
        told = optimism(frame, _tested(frame), NAMES, world.images)
        assert told is not None
        gaps.append((told.gaps[0].low, told.gaps[0].high))
        rows.append(
            {
                "members": len(found),
                "clear": len(called),
                "wrong": len(called - set(frame.loc[real, "trial"])) / max(1, int((~real).sum())),
                "any": bool(called - set(frame.loc[real, "trial"])),
                "true": real[at].mean(),
                "one": holds.mean(),
                "chosen": holds[at].mean(),
                "optimism": (natural - truth[:, 0])[at].mean(),
            }
        )
    means = pd.DataFrame(rows).astype(float).mean().to_dict()
    low, high = np.array(gaps).T
    means["gap"] = float(np.mean((low <= means["optimism"]) & (means["optimism"] <= high)))
    return {str(name): float(value) for name, value in means.items()}


def _tested(frame: pd.DataFrame) -> pd.DataFrame:
    """The test accuracies as `rtune evaluate` would tell them."""
    return pd.DataFrame(
        {
            "trial": frame["trial"],
            "epoch": 1,
            "split": "test",
            "attack": "natural",
            "accuracy": frame["natural_test"],
            "images": 1000,
            "time": 0,
        }
    )


def of_kinds(sizes: tuple[int, int], world: World, searches: int, seed: int = 0) -> float:
    """The coverage of the difference at equal sparsity of two kinds that are alike; 0.95 is claimed."""
    held = 0
    for number in range(searches):
        left, right = _sides(sizes, world, (seed, number))
        found = at_equal(left, right, *_PAIR, ("a", "b"), draws=100, seed=number)
        held += found.low is None or found.high is None or found.low <= 0 <= found.high
    return held / searches


def of_fronts(sizes: tuple[int, int], world: World, searches: int, seed: int = 0) -> dict[str, float]:
    """What is said of two fronts that are of the same search.

    Returns:
        `ratio`: the coverage of the interval of the ratio of hypervolumes (0.95 is claimed), of the ratio
        that sides of these sizes have on average; `volume` and `epsilon`: the share of p-values up to 0.05
        (at most 0.05 is claimed).
    """
    volumes = [
        [hypervolume(side[list(_PAIR)].to_numpy()) for side in _sides(sizes, world, (seed + 1, number))]
        for number in range(20 * searches)
    ]
    truth = np.divide(*np.mean(volumes, axis=0))
    held, p_values = 0, []
    for number in range(searches):
        left, right = _sides(sizes, world, (seed, number))
        found = compare(left, right, _PAIR, draws=100, seed=number)
        assert found.ratio_low is not None
        assert found.ratio_high is not None
        held += found.ratio_low <= truth <= found.ratio_high
        p_values.append((found.p_value, found.epsilon_p))
    volume, epsilon = np.mean(np.array(p_values, float) <= 0.05, axis=0)
    return {"ratio": held / searches, "volume": float(volume), "epsilon": float(epsilon)}


def of_attainment(runs: int, world: World, searches: int, seed: int = 0) -> float:
    """The share of p-values up to 0.05 of a difference in attainment, so many runs a side (0.05)."""
    small = []
    for number in range(searches):
        rng = np.random.default_rng((seed, number))
        sides = [
            pd.concat([search(world, rng)[0].assign(run=run) for run in range(runs)], ignore_index=True)
            for _ in range(2)
        ]
        tested = attainment_test(sides[0], sides[1], _PAIR, draws=100)
        small.append(tested is not None and tested[2] <= 0.05)
    return float(np.mean(small))


def _sides(sizes: tuple[int, int], world: World, seed: Sequence[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two kinds of networks of one search: they are measured on the same images."""
    frame, _ = search(world.of(sum(sizes)), np.random.default_rng(seed))
    return frame[: sizes[0]], frame[sizes[0] :]
