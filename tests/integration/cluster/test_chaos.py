"""The short form of `make chaos`: a driver, a worker and a raylet are killed, and nothing is lost."""

from pathlib import Path

import pytest

from tests.support.cluster.chaos import chaos

pytestmark = [pytest.mark.cluster, pytest.mark.long]


def test_search_with_sigkills_ends_with_the_table_of_an_uninterrupted_one(tmp_path: Path) -> None:
    figures = chaos(tmp_path, seed=3, trials=3, epochs=6, workers=1, kills=3, seconds=150)
    assert sum(figures.kills.values()) > 0, figures
    assert figures.launches > 1
    assert figures.equal
