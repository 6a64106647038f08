"""The test split is read by the final evaluation and by nothing else."""

import ast
from pathlib import Path

import numpy as np
import pytest

import analysis
from tests.support.command import Rtune
from tests.support.image_files import write_idx
from tests.support.paths import ROOT


def uses(name: str) -> set[str]:
    """Files of the package in which a name is read, imported or looked up."""
    found = set()
    for path in sorted((ROOT / "rtune").rglob("*.py")) + sorted((ROOT / "analysis").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            named = (
                (isinstance(node, ast.Name) and node.id == name)
                or (isinstance(node, ast.Attribute) and node.attr == name)
                or (
                    isinstance(node, ast.Import | ast.ImportFrom)
                    and any(name in alias.name.split(".") for alias in node.names)
                )
            )
            if named:
                found.add(str(path.relative_to(ROOT)))
    return found


def test_only_the_final_evaluation_loads_the_test_split() -> None:
    assert uses("load_test") == {
        "rtune/robust/__init__.py",
        "rtune/robust/data/__init__.py",
        "rtune/evaluate/network.py",
    }
    assert uses("load_split") == {"rtune/evaluate/evaluation.py"}


def test_no_part_of_the_search_reads_evaluations() -> None:
    assert uses("read_evaluations") == {"rtune/evaluate/evaluation.py", "analysis/load.py"}
    allowed = (
        "analysis/",
        "rtune/evaluate/",
        "rtune/cli/actions/networks.py",
        "rtune/cli/commands/networks.py",
        "rtune/cli/app.py",
        "rtune/robust/",
    )
    named = {f for word in ("evaluations", "evaluate", "evaluation_table") for f in uses(word)}
    assert {f for f in named if not f.startswith(allowed)} == set()


@pytest.mark.cluster
def test_search_runs_without_test_images(tmp_path: Path, rtune: Rtune) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10, dtype=np.uint8), 20)
    write_idx(folder / "train-images-idx3-ubyte.gz", rng.integers(0, 256, (200, 28, 28), dtype=np.uint8))
    write_idx(folder / "train-labels-idx1-ubyte.gz", labels)
    settings = ["model.width=1", "model.network=resnet", "attack.steps=1", "evaluation.steps=1"]
    sets = [part for text in [f"data.folder={folder}", *settings] for part in ("--set", text)]
    args = ["--name", "run", "--trials", "2", "--max-epochs", "1", *sets]
    done = rtune("search", "fashion-mnist-rgsm", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "run"
    assert set(analysis.load(run)["status"]) == {"finished"}
    assert "note: the validation split has only 20 images: an accuracy changes by 5 % with one" in done.stdout
    refused = rtune("evaluate", "run", "--attacks", "natural")
    assert refused.returncode == 2
    assert f"is not in {folder} and could not be downloaded" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    allowed = rtune("evaluate", "run", "--trials", "t0001", "--attacks", "natural", "--split", "validation")
    assert allowed.returncode == 0, allowed.stderr
    (figure,) = analysis.evaluations(run).query("trial == 't0001'")["accuracy"]
    searched = analysis.load(run).query("trial == 't0001'")["natural_accuracy"].iloc[-1]
    assert figure == pytest.approx(searched)  # the validation split of the search, no other
