"""What is odd is said, and accepted; the built-in spaces have nothing odd."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rtune.config import spaces, spec


@pytest.mark.parametrize("name", [name for name in spaces.built_in() if name != "cifar10-paper"])
def test_the_built_in_spaces_are_not_odd(name: str) -> None:
    assert spec.load(spaces.built_in()[name]).notes == ()


def notes(tmp_path: Path, *sets: str) -> str:
    file = tmp_path / "s.yaml"
    file.write_text("model: {network: resnet}\ntraining: {momentum: {uniform: [0.8, 0.9]}}")
    pairs = [text.split("=", 1) for text in sets]
    overrides: list[tuple[str, Any]] = [(path, yaml.safe_load(value)) for path, value in pairs]
    return "\n".join(spec.load(file, overrides).notes)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["training.lr=20"], "training.lr is 20"),
        (["training.lr={log_uniform: [0.1, 30]}"], "training.lr is up to 30"),
        (["training.lr={choice: [0.1, 40]}"], "training.lr is up to 40"),
        (["attack.step_size=0.2"], "attack.step_size is 0.2, above attack.epsilon, 0.0314"),
        (
            ["evaluation.steps=2"],
            "evaluation.steps * evaluation.step_size is 0.0157",
        ),
        (
            ["evaluation.epsilon=0.6"],
            "evaluation.epsilon is 0.6: an attack can turn",
        ),
        (["training.max_epochs=1"], "1 of training.milestones round to epoch 0 of 1"),
        (["training.max_epochs=1"], "no rung lies before epoch 1"),
        (["training.milestones=[0.5, 0.501]"], "fall on the same of 200 epochs"),
        (["search.report_timeout=1"], "search.report_timeout is 1 seconds"),
        (["search.time_budget=1"], "search.time_budget is 1 seconds"),
        (
            ["points=[{training.momentum: 0.5}]"],
            "points.0.training.momentum is 0.5, outside its",
        ),
        (
            ["points=[{model.width: 4}, {model.width: 8}]", "search.trials=1"],
            "1 of 2 points will not be trained",
        ),
        (["points=[{training.momentum: 0.85}, {training.momentum: 0.85}]"], "1 of the points repeat"),
        (
            ["training.momentum={choice: [0.8, 0.9]}"],
            "the search space has 2 settings",
        ),
    ],
)
def test_what_is_odd_is_said(tmp_path: Path, sets: list[str], words: str) -> None:
    assert words in notes(tmp_path, *sets)


def test_what_does_not_apply_is_not_said(tmp_path: Path) -> None:
    assert notes(tmp_path) == ""
    # The network has no noise; and a random start helps an attack to the edge.
    assert notes(tmp_path, "attack.steps=2", "evaluation.random_start=true", "evaluation.steps=2") == ""
