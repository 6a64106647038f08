"""The built-in search spaces, and search files by name or path."""

import pytest

from rtune.config import spaces
from rtune.errors import SpecError
from tests.support.paths import ROOT


def test_the_built_in_spaces_are_the_files_in_search_spaces() -> None:
    assert list(spaces.built_in().values()) == sorted((ROOT / "search_spaces").glob("*.yaml"))


def test_unknown_space_names_the_near_one() -> None:
    with pytest.raises(SpecError, match="did you mean digits"):
        spaces.find("digit")
    with pytest.raises(SpecError, match=r"nowhere/x\.yaml does not exist"):
        spaces.find("nowhere/x.yaml")
