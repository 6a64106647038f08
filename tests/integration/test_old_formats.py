"""Runs of each early format (`tests/assets/formats`) are read, evaluated, exported, reported and resumed."""

import io
import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

import analysis
from rtune.cli.app import main
from rtune.run.folder import RunFolder
from rtune.run.ledger import Ledger, fold
from tests.assets import formats, record
from tests.support.cluster.searches import check_kept, check_whole

HERE = Path(formats.__file__).resolve().parent
NAMES = sorted(path.name for path in HERE.iterdir() if (path / "results").is_dir())
every = pytest.mark.parametrize("name", NAMES)


def every_one_long_but(*short: str) -> pytest.MarkDecorator:
    """All runs; those that are not named in the long suite."""
    return pytest.mark.parametrize(
        "name", [name if name in short else pytest.param(name, marks=pytest.mark.long) for name in NAMES]
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs, to be read only."""
    folder = tmp_path_factory.mktemp("formats") / "runs"
    for name in NAMES:
        shutil.copytree(HERE / name, folder / name)
    return folder


def rtune(*args: str) -> Result:
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    return done


def ledger(run: Path) -> Ledger:
    log = RunFolder(run).read()
    assert log.notes == []
    return fold(log.records)


def finished(run: Path) -> str:
    """A trial that reached its end, and whose checkpoint was kept."""
    trials = [trial.id for trial in ledger(run).own.values() if trial.status == "finished"]
    return next(trial for trial in trials if (run / "trials" / trial).is_dir())


def version(name: str) -> int:
    return int(name.split("-")[1])


def header(file: Path) -> dict[str, Any]:
    """The header of a checkpoint, read without rtune."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["rtune"])


def test_there_is_a_run_of_each_format() -> None:
    assert {version(name) for name in NAMES} == {1, 2, 3, 4}
    found = {name: header(next((HERE / name).glob("trials/*/*.safetensors")))["format"] for name in NAMES}
    assert found == {name: 1 if version(name) == 1 else 2 for name in NAMES}


def test_recorded_runs_name_no_folder_of_their_machine() -> None:
    for file in HERE.rglob("*"):
        if file.is_file() and file.suffix not in (".py", ".pyc"):
            assert not re.search(rb"/(work|tmp|home|root|Users)\b", file.read_bytes()), file


@every
def test_tables_have_the_rows_of_then(runs: Path, name: str) -> None:
    """Read as columns and record by record; what was not recorded then is as it was."""
    then = pd.read_csv(HERE / name / "results.csv")
    now = pd.read_csv(io.StringIO(rtune("results", str(runs / name)).output))
    pd.testing.assert_frame_equal(now[list(then)], then)
    if version(name) < 3:
        assert set(now["images"].dropna()) == {360}
    folder = RunFolder(runs / name)
    assert analysis.read(folder).notes == []
    trials = ledger(runs / name).trials.values()
    figures = [epoch["robust_accuracy"] for trial in trials for epoch in trial.epochs]
    assert figures == then["robust_accuracy"].dropna().tolist()


@every
def test_launches_are_known(runs: Path, name: str) -> None:
    found = ledger(runs / name)
    repeated = any(trial.of for trial in found.trials.values())
    commands = [launch.command for launch in found.launches]
    assert commands == ["search", "replicate"] if repeated else ["search"]
    first = found.launches[0]
    assert (first.max_epochs, first.trials, first.train_images, first.validation_images) == (5, 7, 1077, 360)
    assert {launch.asked for launch in found.launches} == {""}


@every
def test_status_explains_each_rung(runs: Path, name: str) -> None:
    told = json.loads(rtune("status", str(runs / name), "--json").output)
    assert told["notes"] == []
    for trial in ledger(runs / name).own.values():
        lines = rtune("status", str(runs / name), "--explain", trial.id).output
        rungs = sum(epoch["rung"] is not None for epoch in trial.epochs) + len(trial.promotions)
        assert lines.count("rung at epoch") == rungs


@every_one_long_but("schema-1-evaluated")
def test_evaluations_are_read_and_not_repeated(runs: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / name
    shutil.copytree(runs / name, run)
    before = analysis.evaluations(run)
    if name == "schema-1":
        assert before.empty
        return
    assert before["attack"].tolist() == ["natural", "fgsm"]
    assert before["device"].isna().all() == before["torch"].isna().all() == (name == "schema-1-evaluated")
    options = ["--trials", finished(run), "--attacks", "natural,fgsm", "--noise-draws", "2"]
    rtune("evaluate", str(run), *options)
    assert len(analysis.evaluations(run)) == 2


@every_one_long_but("schema-1")
def test_networks_have_the_accuracy_of_the_search(runs: Path, tmp_path: Path, name: str) -> None:
    """Evaluated on the validation split; an export gives the same predictions as the network."""
    run = tmp_path / name
    shutil.copytree(runs / name, run)
    trial = finished(run)
    rtune("evaluate", str(run), "--trials", trial, "--attacks", "natural", "--split", "validation")
    found = analysis.evaluations(run).query("split == 'validation'")["accuracy"].item()
    last = ledger(run).trials[trial].last
    assert last is not None
    assert found == pytest.approx(last["natural_accuracy"], abs=0.02)
    rtune("export", str(run), trial, "--output", str(tmp_path / "network.pt2"))
    assert torch.isfinite(record.logits(tmp_path / "network.pt2")).all()


@every_one_long_but("schema-1")
def test_report_and_best_networks(runs: Path, tmp_path: Path, name: str) -> None:
    rtune("report", str(runs / name), "--output", str(tmp_path / "report"))
    page = (tmp_path / "report" / "index.html").read_text()
    assert "1,077 for training, 360 for validation" in page
    repeated = any(trial.of for trial in ledger(runs / name).trials.values())
    assert ("with options that were not recorded" in page) == repeated
    best: Any = json.loads(rtune("best", str(runs / name), "--json").output)
    assert best[0]["trial"] in ledger(runs / name).trials


@pytest.mark.cluster
@pytest.mark.long
@every
def test_resume_to_the_end_and_beyond(tmp_path: Path, name: str) -> None:
    run = tmp_path / "runs" / name
    shutil.copytree(HERE / name, run)
    before = analysis.load(run)
    saved = {path.parent.name: int(path.stem[-4:]) for path in sorted(run.glob("trials/*/*.safetensors"))}
    done = record.said(tmp_path, "resume", name)
    assert "begins anew" not in done
    for segment in (HERE / name / "results").iterdir():
        assert (run / "results" / segment.name).read_bytes() == segment.read_bytes()
    rows = check_whole(run, 5)
    check_kept(before, rows)
    assert set(rows["status"]) <= {"finished", "stopped"}
    found = ledger(run)
    assert len(found.own) == 7
    assert all(found.trials[trial].epoch >= epoch for trial, epoch in saved.items())
    trial = finished(run)
    record.said(tmp_path, "resume", name, "--trials", "8", "--max-epochs", "6")
    record.said(tmp_path, "replicate", name, "--trials", trial, "--seeds", "3")
    check_kept(before, analysis.load(run))
    record.said(tmp_path, "evaluate", name, "--trials", trial, "--attacks", "natural")
    record.said(tmp_path, "report", name)
    commands = [launch.command for launch in ledger(run).launches]
    assert commands[-3:] == ["resume", "resume", "replicate"]
