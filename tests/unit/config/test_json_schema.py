"""The JSON schema takes what the loader takes: fractions, times, and each search file that documents show."""

import re
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rtune.config import spaces, spec, yaml_file
from rtune.config.catalog import NETWORKS, Network
from rtune.config.json_schema import search_file_schema
from rtune.config.sections import TIMES, search_file
from tests.support.parts import added
from tests.support.paths import ROOT

PAGES = [
    page for folder in (ROOT, ROOT / "docs", ROOT / "benchmarks") for page in sorted(folder.glob("*.md"))
]
SECTIONS = "|".join(search_file().model_fields)


def blocks(text: str) -> list[str]:
    """The indented blocks of a page that begin with a section of a search file."""
    found = re.findall(rf"^ {{4}}(?:{SECTIONS}):(?: .*|)\n(?:^ {{4,}}.*\n)*", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


SHOWN = [pytest.param(block, id=page.name) for page in PAGES for block in blocks(page.read_text())]
BUILT_IN = [pytest.param(file.read_text(), id=name) for name, file in spaces.built_in().items()]


def test_the_page_of_the_search_file_is_among_the_examples() -> None:
    assert "search-file.md" in [param.id for param in SHOWN]


@pytest.mark.parametrize("text", SHOWN + BUILT_IN)
def test_search_files_that_are_shown_fit_the_schema(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    tree, _ = yaml_file.read(tmp_path / "s.yaml")
    jsonschema.validate(tree, search_file_schema())


@pytest.mark.parametrize("path", TIMES)
def test_times_may_be_texts(path: str) -> None:
    section, _, name = path.partition(".")
    tree: dict[str, Any] = {section: {name: "1h"}, "training": {"lr": {"uniform": [0.1, 0.2]}}}
    jsonschema.validate(tree, search_file_schema())
    assert getattr(getattr(spec.from_tree(tree, {}, "test").file, section), name) == 3600


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("training", "milestones", ["1/3", "2/3"]),
        ("training", "momentum", "9/10"),
        ("search", "gpus_per_trial", "2/3"),
        ("evaluation", "epsilon", "8/255"),
    ],
)
def test_numbers_may_be_fractions(section: str, name: str, value: Any) -> None:
    tree: dict[str, Any] = {section: {name: value}, "model": {"width": {"choice": [4, 8]}}}
    jsonschema.validate(tree, search_file_schema())
    spec.from_tree(tree, {}, "test")


@pytest.mark.parametrize("text", ["8 by 255", "8/", "eight"])
def test_other_texts_are_no_numbers(text: str) -> None:
    for tree in ({"training": {"milestones": [text]}}, {"search": {"gpus_per_trial": text}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tree, search_file_schema())


def test_the_schema_says_which_networks_take_depth_and_width() -> None:
    takes_none = Network(name="fixed", label="f", about="f", build="a:b", takes=())
    with added(NETWORKS, takes_none):
        (about,) = [
            definition["description"]
            for name, definition in search_file_schema()["$defs"].items()
            if name == "ModelConfig"
        ]
    assert "`depth` applies to resnet, enresnet, plain." in about
    assert "`width` applies to resnet, enresnet, plain, wideresnet, mobilenet." in about
