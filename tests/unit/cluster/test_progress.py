"""The live view of a large search: it fits the screen, and drawing leaves the driver its time."""

import io
from typing import Any

import pytest
from rich.console import Console

from rtune.cluster import progress
from rtune.cluster.progress import Progress
from rtune.search.plan import Plan
from rtune.search.state import Search

METRICS = ("a", "b", "train_seconds", "eval_seconds")


class Blank:
    def suggest(self, known: Any, point: Any) -> tuple[dict[str, Any], dict[str, Any], str]:
        return {}, {}, "random"


def search(running: int) -> Search:
    """A search with a stopped trial and many that run."""
    planned = Plan(("a", "b"), 9, running + 2, {}, lambda path, values: True, metrics=METRICS)
    found = Search(planned, [], lambda record: None, Blank())
    for level in (0.9, 0.1):
        trial = found.next_trial()
        assert trial is not None
        found.report(trial.id, 1, dict.fromkeys(METRICS, level))
    for _ in range(running - 1):
        found.next_trial()
    return found


def drawn(running: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=100, height=height, force_terminal=True)
    shown, found = Progress(console), search(running)
    with shown.showing(found, running):
        shown._ended["t0002", 1] = None
        view = shown._draw()
    plain = Console(file=io.StringIO(), width=100, height=height)
    with plain.capture() as capture:
        plain.print(view)
    return capture.get().splitlines()


def test_more_running_trials_than_lines_are_counted() -> None:
    lines = drawn(running=1000, height=30)
    assert len(lines) <= 30
    rows = [line for line in lines if line.startswith("t0") and "running" in line]
    assert f"and {1000 - len(rows)} more running" in [line.strip() for line in lines]
    assert len(rows) >= 15
    assert any(line.startswith("t0002") and "stopped" in line for line in lines)


def test_all_running_trials_that_fit_are_shown() -> None:
    lines = drawn(running=12, height=30)
    assert sum(line.startswith("t0") and "running" in line for line in lines) == 12
    assert not any("more running" in line for line in lines)


def test_a_picture_that_takes_long_is_made_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now, made = [100.0], []

    def draw(self: Progress) -> str:
        now[0] += 0.5
        made.append(now[0])
        return f"picture {len(made)}"

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Progress, "_draw", draw)
    shown = Progress(Console(file=io.StringIO()))
    pictures = []
    for _ in range(41):  # a picture four times a second, for ten seconds
        pictures.append(shown._view())
        now[0] += 0.25
    assert pictures[0] == pictures[1] == "picture 1"
    assert len(made) == 3  # half a second each, every five seconds
