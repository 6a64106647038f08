"""The comparison of `benchmarks.paths`: hypervolumes, costs and paired intervals, by hand."""

import pandas as pd
import pytest

from benchmarks.paths import summary
from benchmarks.paths.setups import METHODS, WALKS


def row(
    arm: str, seed: int, epochs: int, natural: float, robust: float, sparsity: float
) -> dict[str, object]:
    return {
        "setup": "digits",
        "method": "rgsm",
        "network": "resnet20",
        "arm": arm,
        "seed": seed,
        "epochs": epochs,
        "seconds": float(epochs),
        "natural_accuracy": natural,
        "robust_accuracy": robust,
        "channel_sparsity": sparsity,
    }


def of(rows: list[dict[str, object]]) -> dict[str, summary.Line]:
    ((cell, lines),) = summary.lines(pd.DataFrame(rows))
    assert cell == ("digits", "rgsm", "resnet20")
    return {line.arm: line for line in lines}


def test_volumes_are_measured_from_the_nadir_to_the_ideal_of_all_networks() -> None:
    # Scaled, the path has the corner (1, 1, 1) of the cube, and the independent networks (0, 0, 0) and
    # (0.5, 0.5, 0.5).
    rows = [
        row("independent", 0, 10, 0.5, 0.2, 0.1),
        row("independent", 0, 10, 0.7, 0.5, 0.5),
        row("path", 0, 10, 0.6, 0.3, 0.2),
        row("path", 0, 12, 0.9, 0.8, 0.9),
    ]
    lines = of(rows)
    assert lines["path"].hypervolume == pytest.approx(1)
    assert lines["independent"].hypervolume == pytest.approx(1 / 8)
    assert lines["independent"].difference == pytest.approx(7 / 8)
    assert (lines["path"].epochs, lines["independent"].epochs) == (12, 20)
    # Twelve epochs allow one of the two.
    assert lines[summary.SAME_COST].epochs == 10
    assert lines["path"].robust == pytest.approx((0.8, 0.8, 0.8))
    assert lines["independent"].robust == pytest.approx((0.5, 0, 0))


def test_the_interval_is_students_over_paired_seeds() -> None:
    # The path has volume 1 with each seed; independent networks 0.8**3, 0.6**3 and 0.4**3.
    rows = [row("path", seed, 2, 1.0, 1.0, 1.0) for seed in range(3)]
    rows += [row("independent", 0, 1, 0.0, 0.0, 0.0)]
    rows += [row("independent", s, 1, v, v, v) for s, v in enumerate((0.8, 0.6, 0.4))]
    line = of(rows)["independent"]
    differences = [1 - 0.512, 1 - 0.216, 1 - 0.064]
    mean = sum(differences) / 3
    error = (sum((d - mean) ** 2 for d in differences) / 2 / 3) ** 0.5
    assert line.difference == pytest.approx(mean)
    assert (line.low, line.high) == pytest.approx((mean - 4.302653 * error, mean + 4.302653 * error))


@pytest.mark.parametrize("name", WALKS)
def test_walks_take_rungs_of_the_ladder(name: str) -> None:
    ladder = METHODS["rgsm"].rungs
    taken = WALKS[name].rungs(ladder)
    places = [ladder.index(maker) for maker in taken]
    assert len(taken) >= 3
    assert places == sorted(places, reverse=WALKS[name].downward)
    assert {places[0], places[-1]} == {0, 4}
