"""Our attacks against foolbox's: same network, same images, robust accuracy within half a point."""

from collections.abc import Callable

import pytest

from benchmarks import oracles
from rtune.robust import Split, accuracy, is_noisy

HALF_A_POINT = 0.005
Networks = dict[str, Callable[[], oracles.Case]]


@pytest.fixture(scope="module")
def networks() -> Networks:
    """By name what trains a network, the first time it is asked."""
    return oracles.networks(quick=True)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("digits", "ordinary"),
        pytest.param("digits", "noisy", marks=pytest.mark.long),
        pytest.param("fashion-mnist", "ordinary", marks=pytest.mark.long),
        pytest.param("fashion-mnist", "noisy", marks=pytest.mark.long),
    ],
)
def test_robust_accuracy_agrees_with_foolbox(data: str, kind: str, networks: Networks) -> None:
    if f"{data}, {kind}" not in networks:
        pytest.skip(f"no files of {data} in {oracles.FASHION_MNIST}: apt-get install dataset-fashion-mnist")
    model, split, epsilon = networks[f"{data}, {kind}"]()
    natural = accuracy(model, split)
    rows = list(oracles.compare(model, split, epsilon, steps=3, tries=2 if is_noisy(model) else 1))
    assert len(rows) == 5
    for row in rows:
        assert row.ours < natural - 0.03, row  # the attack does something
        assert abs(row.ours - row.foolbox) <= HALF_A_POINT, row


@pytest.mark.long
def test_carlini_l2_attack_agrees_with_foolbox(networks: Networks) -> None:
    model, split, _ = networks["digits, ordinary"]()
    row = oracles.compare_l2(model, split, 0.4, steps=40)
    assert row.ours < accuracy(model, split) - 0.05
    assert abs(row.ours - row.foolbox) <= HALF_A_POINT, row


@pytest.mark.parametrize("radius", [pytest.param(0.5, marks=pytest.mark.long), 1.0])
def test_carlini_l2_attack_is_as_strong_as_l2_pgd(radius: float, networks: Networks) -> None:
    """By default, that is: foolbox has the same algorithm, which only shows that ours is that."""
    model, split, _ = networks["digits, ordinary"]()
    some = Split(split.images[:100], split.labels[:100])
    row = oracles.compare_l2_strength(model, some, radius)
    assert row.ours <= row.foolbox + 0.02, row
