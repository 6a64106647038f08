"""What documents say of the code: its rooms, files, versions and the example of a new network."""

import re
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rtune import __version__
from rtune.robust import footprint
from tests.support.paths import ROOT

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.fixture(scope="module")
def rooms() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "rooms.py"))


def test_architecture_page_lists_exactly_the_rooms(rooms: dict[str, Any]) -> None:
    table = ARCHITECTURE.partition("## The rooms")[2].partition("Beside `rtune/`")[0]
    named = [name.removesuffix(".py") for name in re.findall(r"^\| `([\w.]+)/?` \|", table, re.MULTILINE)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["rtune"]]
    assert sorted(named) == sorted(name.strip() for layer in layers for name in layer.split("|"))
    in_place = {path.stem for path in (ROOT / "rtune").iterdir() if not path.stem.startswith("__")}
    assert set(named) == in_place - {"py"}


def test_picture_of_the_rooms_is_up_to_date(rooms: dict[str, Any]) -> None:
    drawn = (ROOT / "docs" / "rooms.svg").read_text()
    assert rooms["svg"]() == drawn, "run `python docs/rooms.py`"
    for room in rooms["layers"]():
        assert f">{room}</text>" in drawn


def test_files_named_on_the_architecture_page_exist() -> None:
    named = set(re.findall(r"`((?:rtune|analysis|tests|docs)/[\w./]*)`", ARCHITECTURE))
    assert len(named) > 10
    assert not {name for name in named if not (ROOT / name).exists()}


def test_version_numbers_agree() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]


def test_document_index_lists_every_document_once() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    listed = sorted(re.findall(r"\]\((\w[\w-]*\.md)\)", index))
    assert listed == sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md")


def test_pre_commit_hooks_run_the_checks_of_make_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"] for hook in repository["hooks"] if hook["language"] == "system"]
    for entry in entries:
        assert (Path(sys.executable).parent / Path(entry.split()[0]).name).exists()
    recipe = re.findall(
        r"\$\(BIN\)/(.*)", (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    )
    assert {line.removesuffix(" .").removesuffix(" --check") for line in recipe} <= {
        entry.removeprefix(".venv/bin/") for entry in entries
    }


def test_example_network_in_contributing_can_be_compacted() -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code[0], "CONTRIBUTING.md", "exec"), names)
    network = names["SmallNet"](width=4, in_channels=1, members=2, gamma=0.1)
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    with torch.no_grad():
        network.blocks[1].pointwise.weight[:, :4] = 0
    assert footprint(network, (1, 8, 8)).removable_channels > 0
