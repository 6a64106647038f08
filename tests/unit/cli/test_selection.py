"""The commands on top of a report: which network to take, and exporting it; bad input of all of them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import analysis
from analysis.report import text
from rtune.evaluate.evaluation import load_network
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from tests.support.command import Rtune
from tests.support.paths import ROOT
from tests.support.run_folders import fronts, logs

OBJECTIVES = fronts.TREE["search"]["objectives"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["report", "run", "--format", "docx"], "--format names 'docx'; it must be of html, csv"),
        (["report", "run", "--objectives", "beauty"], "objective 'beauty' is none of natural_accuracy"),
        (["report", "run", "--objectives", "macs,macs"], "objective 'macs' is named twice"),
        (["report", "nowhere"], "nowhere"),
        (["best", "run", "--where", "robust_accuracy=0.4"], "is not a metric, one of >="),
        (["best", "run", "--maximize", "beauty"], "objective 'beauty' is none of"),
        (["best", "run", "--maximize", "macs", "--minimize", "macs"], "are both given"),
        (["export", "run", "t0099"], "trial 't0099' has no network"),
        (["export", "run", "t0001", "-o", "x.onnx"], "--output is x.onnx; it must end in .pt2"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, rtune: Rtune, options: list[str], words: str) -> None:
    fronts.make(tmp_path / "runs", trials=3)
    done = rtune(*options)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_best_says_which_network_to_take(tmp_path: Path, rtune: Rtune) -> None:
    folder = fronts.make(tmp_path / "runs")
    networks = analysis.networks(analysis.load(folder))
    kept = networks.query("robust_accuracy >= 0.5").sort_values("channel_sparsity", ascending=False)
    arguments = ["best", "run", "--where", "robust_accuracy>=0.5", "--maximize", "channel_sparsity"]
    first, *rest = rtune(*arguments).stdout.splitlines()
    assert first == (
        f"{kept['trial'].iloc[0]} has the most channel sparsity of {len(kept)} of {len(networks)} networks "
        "of run with robust_accuracy>=0.5:"
    )
    facts = {line.split()[0]: line.split()[1] for line in rest}
    assert float(facts["robust_accuracy"]) == pytest.approx(kept["robust_accuracy"].iloc[0], abs=1e-3)
    found = json.loads(rtune(*arguments, "--json").stdout)
    assert [row["trial"] for row in found] == kept["trial"].tolist()
    none = rtune("best", "run", "--where", "robust_accuracy>=0.99")
    assert none.returncode == 1
    assert none.stdout.startswith(
        f"none of {len(networks)} networks of run with robust_accuracy>=0.99; robust_acc"
    )
    knee = analysis.knee(networks, OBJECTIVES)
    assert knee is not None
    assert f"its knee is {knee['trial']}" in rtune("best", "run").stdout


def cut_short(folder: RunFolder) -> str:
    """Gives a run a trial that is ahead of all others and was measured on a quarter of the images."""
    trial = {"trial": "t0099", "time": 2e9}
    figures = dict.fromkeys(OBJECTIVES, 0.99) | {"images": fronts.IMAGES // 4}
    with folder.launch() as writer:
        last = next(t.last for t in fold(folder.read().records).own.values() if t.last is not None)
        writer.append(logs.trial(99, time=2e9))
        writer.append(last | trial | figures | {"epoch": 1, "decision": "continue", "rung": None})
    return "t0099"


def test_figures_of_fewer_images_are_said_to_be(tmp_path: Path, rtune: Rtune) -> None:
    folder = fronts.make(tmp_path / "runs")
    assert re.search(r"validation images +360\n", rtune("best", "run").stdout)
    networks = analysis.networks(analysis.load(folder))
    assert text.partly(networks, fronts.IMAGES) is None
    trial = cut_short(folder)
    assert "90 of 360; its training was cut short" in rtune("best", "run").stdout
    networks = analysis.networks(analysis.load(folder))
    said = f"cut short: accuracies of {trial} are of 90 validation images instead of 360"
    assert text.partly(networks, fronts.IMAGES) == said
    many = text.partly(networks.assign(images=90), fronts.IMAGES)
    assert many is not None
    assert f" and {len(networks) - 6} more are of 90 " in many


def test_a_run_without_a_network_has_no_best_one(tmp_path: Path, rtune: Rtune) -> None:
    fronts.make(tmp_path / "runs", trials=3, broken=3)
    done = rtune("best", "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rtune: run has no network yet: all 3 trials failed or diverged\n"


def test_an_exported_network_is_the_checkpoints_without_rtune(
    trained: Path, tmp_path: Path, rtune: Rtune
) -> None:
    """In a process of its own that cannot import rtune."""
    folder = RunFolder(trained)
    done = rtune("export", str(trained), "t0001", "-o", "net.pt2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("net.pt2: t0001 at epoch ")
    images = torch.rand(7, 1, 8, 8)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; sys.modules['rtune'] = None\n"
        "network = torch.export.load('net.pt2').module()\n"
        "torch.save(network(torch.load('images.pt', weights_only=True)), 'logits.pt')"
    )
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True)
    expected = load_network(folder, fold(folder.read().records).trials["t0001"])(images)
    torch.testing.assert_close(
        torch.load(tmp_path / "logits.pt", weights_only=True), expected, atol=1e-4, rtol=1e-4
    )


def test_the_library_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fronts.make(tmp_path / "runs", "first")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "report.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, "report.md", "exec"), found)
    assert len(found["front"]) > 1
    assert (found["small"]["robust_accuracy"] >= 0.45).all()
    assert found["small"]["macs"].is_monotonic_increasing
