"""What the README shows is there: its Python runs, its commands and links exist."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rtune.cli.app import main
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_notebook_example_runs_and_prunes(capsys: pytest.CaptureFixture[str]) -> None:
    code = next(c for c in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "rtune.robust" in c)
    exec(compile(code, "README.md", "exec"), {})
    natural, robust, channels = map(float, capsys.readouterr().out.split())
    assert natural > 0.9
    assert robust > 0.7
    assert channels > 0.5


def test_every_command_and_option_named_exists() -> None:
    named = set(re.findall(r"`(?:\.venv/bin/)?rtune ([\w-]+)", README))
    assert named <= set(main.commands)
    assert {"search", "resume", "status", "results", "report"} <= named
    helped = "".join(CliRunner().invoke(main, [c, "--help"]).output for c in main.commands)
    for option in set(re.findall(r"`(--[a-z-]+)[` ]", README)):
        assert option in helped, option


PAGES = [page for folder in (".", "docs", "benchmarks") for page in sorted((ROOT / folder).glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, target


def test_every_make_target_named_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^ {4}make (\w+)", README, re.MULTILINE)) <= set(targets)
