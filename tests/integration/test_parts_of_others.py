"""A package that adds a part of each kind: its parts are searched, resumed, evaluated, exported and reported.

The package lies in tests/support/toy: one file and one entry for each part, and entry points. No file of
rtune names it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.support.paths import ROOT

TOY = ROOT / "tests" / "support" / "toy"
FILE = """
description: parts of somebody else's package
data: {dataset: stripes}
model: {network: two-stage, width: 4, two-stage: {blocks: 1}}
attack: {method: noise, noise: {share: 0.5}, loss: squares, squares: {scale: 2}, epsilon: 0.1}
evaluation: {method: pgd, loss: squares, epsilon: 0.1, step_size: 0.05, steps: 2}
pruning: {method: magnitude, magnitude: {sparsity: {uniform: [0.1, 0.9]}}}
training: {loss: smoothed, smoothed: {smoothing: {uniform: [0, 0.2]}}, max_epochs: 3, batch_size: 16}
search: {objectives: [robust_accuracy, weight_norm, "macs:min"], sampler: shifted, trials: 4,
         early_stopping: {grace: 1, eta: 2}}
"""


def rtune(folder: Path, *args: str, code: int = 0, toy: bool = True) -> str:
    """What a command prints, in an environment in which the package is installed, or is not."""
    path = os.pathsep.join([str(ROOT), *([str(TOY)] if toy else [])])
    done = subprocess.run(
        [sys.executable, "-m", "rtune", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of the package's parts in `runs/toys`."""
    found = tmp_path_factory.mktemp("others")
    (found / "space.yaml").write_text(FILE)
    rtune(found, "search", "space.yaml", "--name", "toys", "--seed", "1")
    return found


@pytest.mark.cluster
def test_parts_of_every_kind_work_in_all_commands(folder: Path) -> None:
    assert "weight" in rtune(folder, "resume", "toys", "--trials", "5")
    rtune(folder, "results", "toys", "--output", "rows.csv")
    rows = pd.read_csv(folder / "rows.csv")
    assert rows["trial"].nunique() == 5
    assert (rows["weight_norm"] > 0).all()
    assert rows["sampler"].unique().tolist() == ["shifted"]
    # The pruner did its work, to the weight.
    ended = rows.groupby("trial").last()
    asked = ended["pruning.magnitude.sparsity"]
    assert ((ended["weight_sparsity"] - asked).abs() < 0.01).all()
    facts = json.loads(rtune(folder, "status", "toys", "--json"))
    assert facts["objectives"] == ["robust_accuracy", "weight_norm", "macs"]
    assert facts["hypervolume"] >= 0
    assert "reference: robust accuracy 0.000, weight norm" in rtune(folder, "status", "toys")
    trial = rows["trial"].iloc[0]
    assert "suggested by: shifted" in rtune(folder, "status", "toys", "--explain", trial)
    evaluated = rtune(
        folder, "evaluate", "toys", "--trials", "all", "--attacks", "natural,noise,pgd-2", "--split", "test"
    )
    assert "noise" in evaluated
    assert "pgd-2" in evaluated
    exported = rtune(folder, "export", "toys", trial, "--output", "net.pt2")
    assert "MACs" in exported
    logits = torch.export.load(folder / "net.pt2").module()(torch.rand(3, 1, 8, 8))
    assert logits.shape == (3, 2)
    best = rtune(folder, "best", "toys", "--minimize", "weight_norm", "--json")
    assert json.loads(best)[0]["weight_norm"] == pytest.approx(ended["weight_norm"].min())
    rtune(folder, "report", "toys")
    page = (folder / "runs" / "toys" / "report" / "index.html").read_text()
    assert "weight norm" in page
    assert "stripes" in page


def test_dry_run_of_parts_of_others(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(FILE)
    said = rtune(tmp_path, "search", "space.yaml", "--dry-run")
    assert "4 trials on stripes" in said
    assert "seconds an epoch: " in said


def test_contract_tests_take_the_parts_of_an_installed_package(tmp_path: Path) -> None:
    names = ("two-stage", "stripes", "magnitude", "smoothed", "squares", "noise", "shifted", "weight_norm")
    tests = str(ROOT / "tests" / "unit" / "worker" / "test_catalog_contract.py")
    options = ["-q", "-p", "no:cacheprovider", "-k", " or ".join(names), "--rootdir", str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tests],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TOY)])},
    )
    assert done.returncode == 0, done.stdout
    # An entry each (metrics have none here), and what their kind must do.
    assert "14 passed" in done.stdout


@pytest.mark.cluster
def test_error_names_the_part_of_a_missing_package(folder: Path) -> None:
    said = rtune(folder, "status", "toys", code=2, toy=False)
    assert "data.dataset is 'stripes'" in said


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (
            "pruning.method=picky",
            "pruning.method is 'picky', a pruner that needs scores, and model.network is 'two-stage'",
        ),
        ("model.two-stage.blocks=0", "model.two-stage.blocks is 0; it must be greater than or equal to 1"),
        (
            "attack.method=fgsm",
            "attack.method is 'fgsm'; it must be 'pgd' or 'noise'; fgsm is for rtune evaluate only",
        ),
        ("search.sampler=shiftd", "search.sampler is 'shiftd'; it must be"),
        (
            "search.objectives=[robust_accuracy, weight_norms]",
            "search.objectives.1 is 'weight_norms'; it must be",
        ),
    ],
)
def test_bad_parts_give_one_line_before_ray_starts(tmp_path: Path, setting: str, sentence: str) -> None:
    (tmp_path / "space.yaml").write_text(FILE)
    said = rtune(tmp_path, "search", "space.yaml", "--set", setting, code=2)
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        (
            "toy_parts/pruner.py",
            "import a_library_that_is_not_there\n",
            "pruner 'magnitude' cannot be imported from toy_parts.pruner:Magnitude: ModuleNotFoundError",
        ),
        (
            "toy_parts/metric.py",
            "",
            "metric 'weight_norm' cannot be imported from toy_parts.metric:weight_norm",
        ),
        (
            "toy_parts-0.1.dist-info/entry_points.txt",
            "[rtune.networks]\none = toy_parts.entries:NETWORK\ntwo = toy_parts.entries:NETWORK\n",
            "two parts are called 'two-stage': a network of toy_parts and one of toy_parts",
        ),
        (
            "toy_parts-0.1.dist-info/entry_points.txt",
            "[rtune.pruners]\none = toy_parts.entries:NETWORK\n",
            "entry point 'one' of rtune.pruners (toy_parts.entries:NETWORK) is a Network; a",
        ),
    ],
)
def test_broken_package_gives_one_line(tmp_path: Path, file: str, text: str, sentence: str) -> None:
    (tmp_path / "space.yaml").write_text(FILE)
    package = Path(shutil.copytree(TOY, tmp_path / "path"))
    (package / file).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "rtune", "search", "space.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(package)])},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"rtune: {sentence}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
