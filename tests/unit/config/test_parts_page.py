"""docs/parts.md is what the catalog says."""

from rtune.config.parts_page import page
from tests.support.paths import ROOT


def test_the_page_is_made_anew_with_each_part() -> None:
    made = "run: python -m rtune.config.parts_page > docs/parts.md"
    assert (ROOT / "docs" / "parts.md").read_text() == page(), made
