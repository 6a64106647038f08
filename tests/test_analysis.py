"""Fronts and hypervolume against brute force, and what the report holds."""

import itertools
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis import figures, report
from rtune import schema, spec
from rtune.runfolder import RunFolder

OBJECTIVES = ["natural_accuracy", "robust_accuracy", "weight_sparsity"]
POINTS = st.lists(st.tuples(*[st.integers(0, 4).map(lambda v: v / 4)] * 3), max_size=12)


def frame(points: list[tuple[float, ...]]) -> pd.DataFrame:
    rows = pd.DataFrame(points, columns=OBJECTIVES, dtype=float)
    return rows.assign(trial=[f"t{i}" for i in range(len(rows))])


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, ...]]) -> None:
    def dominated(p: tuple[float, ...]) -> bool:
        return any(q != p and all(a >= b for a, b in zip(q, p, strict=True)) for q in points)

    expected = {f"t{i}" for i, p in enumerate(points) if not dominated(p)}
    assert set(analysis.front(frame(points), OBJECTIVES)["trial"]) == expected


@given(POINTS)
def test_hypervolume_counts_the_dominated_cells(points: list[tuple[float, ...]]) -> None:
    """On a grid of quarters the volume is the number of dominated cells / 64."""
    cells = sum(
        any(all(c < 4 * v for c, v in zip(cell, p, strict=True)) for p in points)
        for cell in itertools.product(range(4), repeat=3)
    )
    assert analysis.hypervolume(np.array(points).reshape(-1, 3)) == pytest.approx(cells / 64)


def test_rows_without_an_objective_are_left_out() -> None:
    rows = frame([(0.5, 0.5, 0.5), (0.9, 0.9, 0.9)])
    rows.loc[1, "robust_accuracy"] = np.nan
    assert analysis.front(rows, OBJECTIVES)["trial"].tolist() == ["t0"]


def test_the_staircase_bounds_what_the_pair_dominates() -> None:
    rows = frame([(0.2, 0.9, 0), (0.6, 0.5, 0), (0.5, 0.4, 0), (0.8, 0.1, 0), (0.8, 0.1, 0)])
    stairs = figures._staircase(rows, "natural_accuracy", "robust_accuracy").tolist()
    assert stairs == [[0.2, 0.9], [0.2, 0.5], [0.6, 0.5], [0.6, 0.1], [0.8, 0.1]]


TREE: dict[str, Any] = {
    "description": "<script>alert(1)</script> & more",
    "data": {"dataset": "digits"},
    "pruning": {
        "method": {"choice": ["rvsm", "rgsm"]},
        "rvsm": {"beta": {"log_uniform": [0.01, 1]}},
        "rgsm": {"lambda_1": {"log_uniform": [0.01, 1]}},
    },
    "training": {"max_epochs": 3},
}


def run_with(tmp_path: Path, trials: int, broken: bool = False) -> RunFolder:
    folder = RunFolder.create(tmp_path, "run", spec.from_tree(TREE, {}, "test"), {})
    rng = np.random.default_rng(0)
    with folder.launch() as writer:
        for i in range(trials):
            name = f"t{i + 1:04d}"
            values = [
                {"pruning.method": "rvsm", "pruning.rvsm.beta": 0.1},
                {"pruning.method": "rgsm", "pruning.rgsm.lambda_1": 0.2},
            ]
            writer.append(
                {
                    "kind": "trial",
                    "trial": name,
                    "seed": i,
                    "values": values[i % 2],
                    "sampler": "tpe",
                    "facts": {},
                    "time": 1.0,
                }
            )
            if broken:
                writer.append(
                    {
                        "kind": "end",
                        "trial": name,
                        "status": "failed",
                        "epoch": 1,
                        "error": "<b>bad</b>",
                        "time": 2.0,
                    }
                )
                continue
            for epoch in range(1, 4):
                metrics = {m: float(rng.random()) for m in schema.METRICS} | {"macs": 1000, "parameters": 100}
                decision = "finish" if epoch == 3 else "continue"
                writer.append(
                    {
                        "kind": "epoch",
                        "trial": name,
                        "epoch": epoch,
                        "decision": decision,
                        "time": 2.0,
                        **metrics,
                    }
                )
    return folder


class Page(HTMLParser):
    """What a page refers to, and its text outside scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self.script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.script = tag in ("script", "style")
        self.links += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.script = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self.script else data


def write(folder: RunFolder, output: Path | None = None) -> list[Path]:
    return [Path(where) for where in report.write(folder, output)]


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def test_the_report_shows_the_front_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    folder = run_with(tmp_path, trials=12)
    page, table, svg, png = write(folder)
    members = analysis.front(analysis.networks(analysis.load(folder)), OBJECTIVES)
    found = read(page)
    assert found.links == []
    for name in members["trial"]:
        assert name in found.text
    assert pd.read_csv(table)["trial"].tolist() == members["trial"].tolist()
    assert svg.read_text().startswith("<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert page.stat().st_size < 8_000_000


def test_the_report_escapes_what_it_shows(tmp_path: Path) -> None:
    page = write(run_with(tmp_path, trials=2))[0]
    assert "<script>alert(1)</script>" not in page.read_text()
    assert "<script>alert(1)</script> & more" in read(page).text


@pytest.mark.parametrize(("trials", "broken"), [(0, False), (3, True), (1, False)])
def test_poor_runs_get_a_useful_page(tmp_path: Path, trials: int, broken: bool) -> None:
    found = read(write(run_with(tmp_path, trials, broken))[0])
    if broken or not trials:
        assert "no front to show" in found.text
    if broken:
        assert "failed: <b>bad</b>" in found.text
    if trials == 1:
        assert "1 of 1 networks are on the front" in " ".join(found.text.split())


def test_the_reports_search_file_can_be_run_again(tmp_path: Path) -> None:
    folder = run_with(tmp_path, trials=1)
    text = (folder.place.local / "search.yaml").read_text()
    again = spec.from_tree(yaml.safe_load(text), {}, "again")
    assert again.ranges == folder.spec.ranges
    assert text.strip() in read(write(folder)[0]).text


def test_the_report_goes_where_it_is_told(tmp_path: Path) -> None:
    paths = write(run_with(tmp_path, trials=2), tmp_path / "else" / "where")
    assert all(path.parent == tmp_path / "else" / "where" for path in paths)
