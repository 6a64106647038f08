"""The final evaluation: right figures, nothing run twice, nothing lost, one sentence where it cannot be."""

import functools
import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save

import analysis
from rtune.cli.app import main
from rtune.robust import PGD, PreActResNet, accuracy, load_test, seeded
from rtune.run import checkpoint_file
from rtune.run.folder import RunFolder
from rtune.worker import checkpoint
from tests.support.evil_pickle import Evil
from tests.support.paths import ROOT

CPU = torch.device("cpu")


def evaluate(run: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", str(run), *args])


def rows(run: Path) -> list[dict[str, Any]]:
    """Evaluations with None where a setting does not apply, so that they compare."""
    found = analysis.evaluations(run).drop(columns="warnings").to_dict("records")
    return [{name: None if pd.isna(value) else value for name, value in row.items()} for row in found]


def test_figures_are_those_of_the_checkpoint_on_the_test_split(run: Path) -> None:
    done = evaluate(run, "--trials", "t0001", "--attacks", "natural,pgd-3")
    assert done.exit_code == 0, done.output
    saved = checkpoint.read(checkpoint_file.path_of(run / "trials" / "t0001", 2))
    model = PreActResNet(20, width=2, in_channels=1)
    model.load_state_dict({k[6:]: v for k, v in saved.tensors.items() if k.startswith("model.")})
    test = load_test("digits")
    natural, attacked = rows(run)
    assert natural["accuracy"] == pytest.approx(accuracy(model, test))
    with seeded(0, CPU):
        assert attacked["accuracy"] == pytest.approx(accuracy(model, test, PGD(0.07, 0.02, 3)))
    assert (natural["images"], natural["split"], natural["epoch"]) == (360, "test", 2)
    assert attacked["epsilon"] == 0.07
    assert attacked["step_size"] == 0.02


def test_a_noisy_network_gets_mean_and_spread_and_eot(run: Path) -> None:
    done = evaluate(
        run, "--trials", "all", "--attacks", "natural,pgd-2,eot-pgd-2,cw-l2-2", "--eot-draws", "2"
    )
    assert done.exit_code == 0, done.output
    assert "t0001 has no noise to average over: eot-pgd-2 skipped" in done.stdout
    found = {(r["trial"], r["attack"]): r for r in rows(run)}
    assert set(found) == {
        *((t, a) for t in ("t0001", "t0002") for a in ("natural", "pgd-2")),
        ("t0002", "eot-pgd-2"),
        ("t0001", "cw-l2-2"),
    }
    assert "t0002 is noisy and so has no least perturbation: cw-l2-2 skipped" in done.stdout
    assert (found["t0001", "cw-l2-2"]["norm"], found["t0001", "cw-l2-2"]["epsilon"]) == ("l2", 0.5)
    assert found["t0002", "natural"]["noise_draws"] == 10
    assert found["t0002", "natural"]["accuracy_std"] > 0
    assert found["t0001", "natural"]["noise_draws"] == 1
    assert found["t0002", "eot-pgd-2"]["eot_draws"] == 2
    assert "±" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "depends on the images beside it" in line]
    assert line.startswith("t0002 is evaluated on batches of 256 images: its noise is scaled over the batch")
    page = (run / "report" / "index.html").read_text()
    assert "Final evaluation, test split" in page
    assert f"{found['t0002', 'eot-pgd-2']['accuracy']:.3f} ±" in page
    assert len((run / "report" / "evaluations.csv").read_text().splitlines()) == 7


def test_what_is_known_is_not_run_again_and_the_rest_goes_on(run: Path) -> None:
    evaluate(run, "--trials", "t0001", "--attacks", "natural")
    before = rows(run)
    again = evaluate(run, "--trials", "t0001,t0002", "--attacks", "natural,fgsm", "--noise-draws", "2")
    assert again.stdout.count("already computed") == 1
    after = rows(run)
    assert after[0] == before[0]
    assert [(r["trial"], r["attack"]) for r in after[1:]] == [
        ("t0001", "fgsm"),
        ("t0002", "natural"),
        ("t0002", "fgsm"),
    ]
    # Another radius, split or seed is another figure.
    for option in (["--epsilon", "16/255"], ["--split", "validation"], ["--seed", "1"]):
        evaluate(run, "--trials", "t0001", "--attacks", "fgsm", *option)
    assert len(rows(run)) == 7
    assert rows(run)[4]["epsilon"] == pytest.approx(16 / 255)
    columns, _, _ = analysis.evaluation_table(run, "test")
    assert "fgsm (epsilon 0.07, seed 0)" in columns
    assert f"fgsm (epsilon {16 / 255:.12g}, seed 0)" in columns
    # So is another number of draws, of a noisy network.
    evaluate(run, "--trials", "t0002", "--attacks", "natural", "--noise-draws", "3")
    columns, cells, _ = analysis.evaluation_table(run, "test", ["t0002"])
    two, three = (columns.index(f"natural (noise_draws {n})") for n in (2, 3))
    assert cells[0][two] != cells[0][three]


def test_which_trials(run: Path) -> None:
    networks = analysis.networks(analysis.load(run))
    best = networks.sort_values("robust_accuracy")["trial"].iloc[-1]
    evaluate(run, "--trials", "best", "--attacks", "natural")
    assert [r["trial"] for r in rows(run)] == [best]
    evaluate(run, "--attacks", "natural")
    objectives = ["natural_accuracy", "robust_accuracy", "channel_sparsity"]
    assert {r["trial"] for r in rows(run)} == set(analysis.front(networks, objectives)["trial"])


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_evaluation_cut_short_goes_on_to_the_same_figures(blow: signal.Signals, run: Path) -> None:
    args = ["--trials", "t0001,t0002", "--attacks", "natural,pgd-20,cw-20,fgsm", "--noise-draws", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rtune", "evaluate", str(run), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        # A shell that starts the tests in the background has them ignore Ctrl-C, and their children too.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while len(rows(run)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(blow)
    _, errors = process.communicate(timeout=60)
    saved = rows(run)
    assert 2 <= len(saved) < 8
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert errors.startswith("rtune: interrupted; all printed results are saved")
        assert "Traceback" not in errors
    with next(iter(sorted((run / "evaluations").glob("*.jsonl")))).open("ab") as log:
        log.write(b'{"kind":"evaluation","tri')  # the record that was being written
    assert evaluate(run, *args).exit_code == 0
    after = rows(run)
    assert after[: len(saved)] == saved
    straight = Path(shutil.copytree(run, run.parent / "straight", ignore=lambda *_: ["evaluations"]))
    evaluate(straight, *args)
    assert [(r["trial"], r["attack"], r["accuracy"], r["accuracy_std"]) for r in rows(straight)] == [
        (r["trial"], r["attack"], r["accuracy"], r["accuracy_std"]) for r in after
    ]


def test_a_diagnosis_is_recorded_and_reported(run: Path) -> None:
    options = ["--trials", "t0001", "--attacks", "natural", "--diagnose"]
    assert evaluate(run, *options).exit_code == 0
    (found,) = analysis.diagnoses(run)
    assert set(found["figures"]) >= {"natural", "fgsm", "pgd", "pgd, 5 times the steps"}
    assert "Can these figures be believed?" in (run / "report" / "index.html").read_text()
    assert evaluate(run, *options).stdout.count("already computed") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilon", "0"], "--epsilon is 0.0; it must be from 1e-06 to 1"),
        (["--epsilon", "8"], "--epsilon is 8.0; it must be from 1e-06 to 1"),
        (["--epsilon", f"1/{'9' * 400}"], "a number such as 0.03 or 8/255 is expected"),
        (["--seed", "99999999999999999999"], "--seed is 99999999999999999999; it must be from 0"),
        (["--epsilon", "-8/255"], "--epsilon is '-8/255'; a number such as 0.03 or 8/255 is expected"),
        (["--epsilon", "nan"], "--epsilon is nan; it must be from 1e-06"),
        (["--step-size", "0"], "--step-size is 0.0"),
        (["--attacks", "pgd-0"], "attack 'pgd-0' has 0 steps; it must be from 1 to 100000"),
        (["--attacks", "pdg"], "attack 'pdg' is unknown"),
        (["--attacks", ","], "at least one attack is expected"),
        (["--restarts", "0"], "--restarts is 0"),
        (["--trials", "t0009"], "--trials names 't0009', which has no network in"),
        (["--trials", ","], "--trials names ''"),
        (["--split", "train"], "'train' is not one of"),
    ],
)
def test_bad_options_are_one_sentence_and_write_nothing(options: list[str], message: str, run: Path) -> None:
    done = evaluate(run, *options)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (run / "evaluations").exists()


def test_autoattack_that_is_not_installed_is_said_before_anything_runs(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    done = evaluate(run, "--attacks", "natural,autoattack")
    assert done.exit_code == 2
    assert "get it with: pip install 'rtune[autoattack]'" in done.stderr
    assert not (run / "evaluations").exists()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(path.parent / "ran")))


def _of(path: Path, config: dict[str, Any] | None = None, **changes: Any) -> None:
    """Rewrites a checkpoint, digest and all, as that of another trial, data set or network."""
    found = checkpoint.read(path)
    tree = json.loads(json.dumps(found.config))
    for section, values in (config or {}).items():
        tree[section] |= values
    tensors = changes.pop("tensors", found.tensors)
    facts = {"trial": found.trial, "history": found.history} | changes
    checkpoint.write(path.parent, checkpoint.Checkpoint(config=tree, tensors=tensors, **facts))


def _not_finite(path: Path) -> None:
    tensors = checkpoint.read(path).tensors
    _of(path, tensors={k: v * float("nan") if v.is_floating_point() else v for k, v in tensors.items()})


def _whole_numbers(path: Path) -> None:
    _of(path, tensors={k: v.int() for k, v in checkpoint.read(path).tensors.items()})


def _strange_header(path: Path) -> None:
    text = json.dumps({"format": checkpoint_file.FORMAT})
    tensors = {"a": torch.zeros(1)}
    digest = checkpoint_file.digest(text, checkpoint._parts(tensors))
    path.write_bytes(save(tensors, {"rtune": text, "digest": digest}))


def _five_classes(path: Path) -> None:
    tensors = checkpoint.read(path).tensors
    cut = {k: v[:, :5].contiguous() if k.startswith("model.head.") else v for k, v in tensors.items()}
    _of(path, tensors=cut)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_truncate, "is not a readable checkpoint"),
        (_pickle, "is not a readable checkpoint"),
        (Path.unlink, "does not exist"),
        (lambda p: _of(p, trial="t0002"), "belongs to another network: it holds t0002 at epoch 2"),
        (
            lambda p: _of(p, {"data": {"dataset": "cifar10"}}),
            "belongs to another network: data.dataset is 'digits' and was 'cifar10'",
        ),
        (lambda p: _of(p, {"training": {"lr": 0.3}}), "training.lr is 0.1 and was 0.3"),
        (_five_classes, "does not fit the network of its settings"),
        (_not_finite, "holds no network"),
        (_whole_numbers, "holds no network"),
        (_strange_header, "is not a readable checkpoint: its trial is no str"),
    ],
)
def test_a_bad_checkpoint_is_one_sentence_and_the_others_are_evaluated(
    harm: Any, message: str, run: Path
) -> None:
    path = checkpoint_file.path_of(run / "trials" / "t0001", 2)
    harm(path)
    done = evaluate(run, "--trials", "t0001,t0002", "--attacks", "natural", "--noise-draws", "1")
    assert done.exit_code == 1, done.output
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [r["trial"] for r in rows(run)] == ["t0002"]
    assert not (path.parent / "ran").exists()


def test_two_evaluations_at_once_are_refused(run: Path) -> None:
    with RunFolder(run).evaluation():
        done = evaluate(run, "--attacks", "natural")
    assert done.exit_code == 2
    assert "is in use: another rtune evaluate is running on it" in done.stderr


def test_figures_of_a_network_that_its_trial_has_left_behind_are_named_not_shown(run: Path) -> None:
    evaluate(run, "--trials", "t0001", "--attacks", "natural")
    segment = run / "evaluations" / "0001.jsonl"
    record = json.loads(segment.read_text())
    segment.write_text(json.dumps(record | {"epoch": 7}) + "\n")
    assert len(rows(run)) == 1
    assert analysis.evaluation_table(run, "test") == ([], [], "")
    assert CliRunner().invoke(main, ["report", str(run), "--format", "html"]).exit_code == 0
    page = (run / "report" / "index.html").read_text()
    assert "networks that have been trained further since: t0001 at epoch 7 (now 2)." in page
    assert "Final evaluation" not in page


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": "0.9"},
        {"accuracy": None},
        {"accuracy": 1.5},
        {"images": 0},
        {"epoch": 2.5},
        {"epoch": True},
        {"warnings": "none"},
        {"warnings": [1]},
        {"attack": ["pgd"]},
        {"seconds": float("nan")},
        {"seed": 10**400},
        {"trial": "t0099"},
        {"trial": ["t0001"]},
        {"kind": "epoch"},
        {"time": "now"},
        {"time": None},
    ],
)
def test_a_foreign_record_is_left_out_with_a_note(change: dict[str, Any], run: Path) -> None:
    evaluate(run, "--trials", "t0001", "--attacks", "natural,fgsm")
    segment = run / "evaluations" / "0001.jsonl"
    good, other = segment.read_text().splitlines()
    segment.write_text(json.dumps(json.loads(good) | change) + "\n" + other + "\n")
    assert [r["attack"] for r in rows(run)] == ["fgsm"]
    done = CliRunner().invoke(main, ["report", str(run)])
    assert done.exit_code == 0, done.output
    assert "left out, the record is incomplete or unknown" in (run / "report" / "index.html").read_text()


def test_the_report_escapes_what_a_record_says(run: Path) -> None:
    evaluate(run, "--trials", "t0001", "--attacks", "natural", "--diagnose")
    segment = run / "evaluations" / "0001.jsonl"
    evil = "<script>alert(1)</script>"
    records = [json.loads(line) for line in segment.read_text().splitlines()]
    changed = [
        record | {"warnings": [evil]} | ({"attack": evil} if "attack" in record else {}) for record in records
    ]
    segment.write_text("".join(json.dumps(record) + "\n" for record in changed))
    assert CliRunner().invoke(main, ["report", str(run)]).exit_code == 0
    page = (run / "report" / "index.html").read_text()
    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)") >= 2


def test_a_deleted_segment_and_idle_calls_leave_no_trap(run: Path) -> None:
    options = ["--trials", "t0001", "--attacks"]
    for attack in ("natural", "fgsm", "fgsm"):
        assert evaluate(run, *options, attack).exit_code == 0
    segments = sorted((run / "evaluations").glob("*.jsonl"))
    assert [s.name for s in segments] == ["0001.jsonl", "0002.jsonl"]  # the third had nothing to say
    segments[0].unlink()
    assert evaluate(run, *options, "natural").exit_code == 0
    assert sorted(r["attack"] for r in rows(run)) == ["fgsm", "natural"]


def test_a_terminal_without_the_sign_gets_a_question_mark(run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rtune", "evaluate", str(run), "--trials", "t0002", "--attacks", "natural"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert " ? 0.0" in done.stdout


def test_names_in_brackets_are_printed_as_they_are(run: Path) -> None:
    named = run.rename(run.parent / "run [red]")
    done = evaluate(named, "--trials", "t0001", "--attacks", "natural")
    assert f"report: {named}/report/index.html" in done.stdout


def test_a_full_disk_is_one_sentence_and_what_was_known_stays(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(run, "--trials", "t0001", "--attacks", "natural")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rtune.run.folder.Writer.append", refuse)
    done = evaluate(run, "--trials", "t0001", "--attacks", "fgsm")
    assert done.exit_code == 1
    assert "the evaluation ended early; what it printed is saved: No space left" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [r["attack"] for r in rows(run)] == ["natural"]
