"""The short form of `make chaos`: a fault of each kind in each scene, and nothing is lost."""

from pathlib import Path

import pytest

from tests.support.cluster import hosts
from tests.support.cluster.chaos.disturb import Size
from tests.support.cluster.chaos.everywhere import chaos, table
from tests.support.cluster.chaos.faults import KINDS
from tests.support.cluster.chaos.scenes import SCENES

pytestmark = [pytest.mark.cluster, pytest.mark.long]


@pytest.mark.parametrize("scene", SCENES)
def test_disturbed_search_loses_nothing(scene: str, tmp_path: Path) -> None:
    if scene == "cluster" and (lacking := hosts.missing()) is not None:
        pytest.skip(f"no hosts on this machine: {lacking}")
    kinds = [name for name, kind in KINDS.items() if scene in kind.scenes]
    figures = chaos(tmp_path, seed=3, faults=len(kinds), scenes=[scene], size=Size(trials=6, epochs=6))
    assert figures.problems == [], table(figures)
    assert sum(count.injected for count in figures.kinds.values()) == len(kinds)
    assert sum(count.lost + count.changed + count.doubled for count in figures.kinds.values()) == 0
    assert figures.launches > figures.searches > 0
    assert figures.compared > 0 or scene == "cluster"
