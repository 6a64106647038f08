"""Lists in documents that are written by hand have all that the code has; the examples of parts work."""

import re
import runpy
import sys
import textwrap
import types
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.report.page import page
from analysis.report.run_set import RunSet
from analysis.report.sections import SECTIONS
from rtune.cli.app import main
from rtune.config import spec
from rtune.config.catalog import (
    ATTACK_LOSSES,
    ATTACKS,
    DATASETS,
    LOSSES,
    PRUNERS,
    SAMPLERS,
)
from rtune.config.fields import section_type
from rtune.config.section import Section
from rtune.config.sections import SLOTS, search_file
from rtune.metrics import METRICS
from rtune.robust import data
from rtune.search.plan import of_spec
from rtune.search.state import Search
from rtune.worker import build, measures
from rtune.worker.check import check_parts
from tests.support.parts import added
from tests.support.paths import ROOT
from tests.support.run_folders import fronts

DOCS = ROOT / "docs"


def test_page_of_commands_has_all_commands() -> None:
    text = (DOCS / "commands.md").read_text()
    assert [name for name in main.commands if f"| `rtune {name}" not in text] == []


def test_page_of_the_report_has_all_sections_in_their_order() -> None:
    named = re.findall(r"^\d+\. \*\*(.*?)\*\*", (DOCS / "report.md").read_text(), re.MULTILINE)
    assert named == [section.heading for section in SECTIONS]


def test_page_of_the_evaluation_has_all_attacks_with_their_norms() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\S*) ?\|$", (DOCS / "evaluation.md").read_text(), re.MULTILINE)
    norms = {None: "", "linf": "l∞", "l2": "l2"}
    assert rows == [(part.name + "-K" * (part.steps is not None), norms[part.norm]) for part in ATTACKS.own()]


def fields(model: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all fields of a section, and of those in it."""
    for name, field in model.model_fields.items():
        inner = section_type(field.annotation)
        yield from [f"{prefix}{name}"] if inner is None else fields(inner, f"{prefix}{name}.")


def paths(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield from paths(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


def test_page_of_the_search_file_has_all_fields_and_parts() -> None:
    text = (DOCS / "search-file.md").read_text()
    (block,) = re.findall(r"^    data:\n(?: {4,}.*\n)*", text, re.MULTILINE)
    shown = set(paths(yaml.safe_load(block)))
    assert shown == set(fields(search_file())) - {"description", "provenance"}
    for slot in SLOTS:
        own = {part.name for part in slot.parts.own()} & set(slot.choices())
        assert [name for name in own if not re.search(rf"\b{re.escape(name)}\b", block)] == []


def test_example_of_a_section_is_shown(tmp_path: Path) -> None:
    text = (DOCS / "adding-parts.md").read_text().partition("## A section")[2].partition("\n## ")[0]
    code, template, script = re.findall(r"(?:^ {4}.*\n(?:\n+(?= {4}))?)+", text, re.MULTILINE)
    for suffix, content in ((".py", code), (".html.j2", template), (".js", script)):
        (tmp_path / f"images{suffix}").write_text(textwrap.dedent(content).lstrip())
    section = runpy.run_path(str(tmp_path / "images.py"))["SECTION"]
    html = page(RunSet.of([fronts.make(tmp_path, trials=6)]), sections=[section])
    assert "How many images" in html
    assert "<p>At most " in html
    assert "Plots.data.sections.images" in html


def test_examples_of_parts_are_searched_and_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_parts")
    monkeypatch.setitem(sys.modules, "my_parts", module)
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "adding-parts.md").read_text(), re.DOTALL):
        exec(compile(block, "adding-parts.md", "exec"), module.__dict__)
    entries = {
        "DATASET": DATASETS,
        "LOSS": LOSSES,
        "ATTACK_LOSS": ATTACK_LOSSES,
        "PRUNER": PRUNERS,
        "ATTACK": ATTACKS,
        "SAMPLER": SAMPLERS,
        "METRIC": METRICS,
    }
    tree = {
        "data": {"dataset": "stripes"},
        "model": {"width": 2},
        "attack": {"method": "noise", "loss": "squares", "noise": {"share": {"uniform": [0.5, 1]}}},
        "evaluation": {"steps": 1, "loss": "squares"},
        "pruning": {"method": "magnitude", "magnitude": {"sparsity": 0.25}},
        "training": {"loss": "smoothed", "max_epochs": 1},
        "search": {"sampler": "patient", "objectives": ["robust_accuracy", "weight_norm"]},
    }
    with ExitStack() as stack:
        for name, registry in entries.items():
            stack.enter_context(added(registry, getattr(module, name)))
        found = spec.from_tree(tree, {}, "the example")
        check_parts(found)
        trial = Search(of_spec(found), [], lambda record: None).next_trial()
        assert trial is not None
        config = found.trial_config(trial.values)
        train, validation = data.load(build.source(config.data))
        figures = measures.measure_epoch(build.trainer(config, train, seed=0), validation, config)
    assert 0.5 <= trial.values["attack.noise.share"] <= 1
    assert figures["weight_sparsity"] == pytest.approx(0.25, abs=0.01)
    assert figures["weight_norm"] > 0
