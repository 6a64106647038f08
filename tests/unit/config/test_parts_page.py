"""docs/parts.md is what the catalog says."""

import pytest

from rtune.config.parts_page import bounds, page
from rtune.metrics import Metric
from tests.support.paths import ROOT


def test_the_page_is_made_anew_with_each_part() -> None:
    made = "run: python -m rtune.config.parts_page > docs/parts.md"
    assert (ROOT / "docs" / "parts.md").read_text() == page(), made


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.0, 1.0, "0 to 1"), (0.0, None, "at least 0"), (None, 0.0, "at most 0"), (None, None, "")],
)
def test_bounds_of_a_metric(low: float | None, high: float | None, text: str) -> None:
    assert bounds(Metric("m", "m", True, low=low, high=high)) == text
