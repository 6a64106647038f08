"""Runs of an earlier rtune (`tests.assets`): the commands say the same of them, and go on with them."""

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

from tests.assets import record
from tests.assets.record import EXPECTED, HERE, machine, records, rtune, said
from tests.support.cluster.searches import check_kept, check_whole

TIMES = ["train_seconds", "eval_seconds", "time"]
# Trials of `mixed` without noise, whose networks were last measured on all validation images.
MEASURED = ["t0001", "t0003", "t0005", "t0006", "t0007", "t0008", "t0003r1"]


def expected(name: str) -> Any:
    return json.loads((EXPECTED / f"{name}.json").read_text())


def table(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def text(name: str) -> str:
    """What `rtune results` printed."""
    return (EXPECTED / f"{name}.csv").read_text()


def recorded(name: str) -> pd.DataFrame:
    return table(text(name))


@pytest.fixture(scope="session")
def alike() -> bool:
    """Whether this machine computes what the recorded one did, bit for bit."""
    return machine() == expected("machine")


def copy(folder: Path, *names: str) -> Path:
    """A folder in which `runs/` has recorded runs."""
    for name in names:
        shutil.copytree(HERE / name, folder / "runs" / name)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs, to be read only."""
    return copy(tmp_path_factory.mktemp("old"), "mixed", "interrupted", *record.CONTROLS)


# --- what the commands say ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mixed", "interrupted", "control-nsga2"])
def test_results_of_old_runs_are_unchanged(folder: Path, name: str) -> None:
    assert said(folder, "results", name) == text(name)


@pytest.mark.parametrize("name", ["mixed", "interrupted"])
def test_status_of_old_runs_is_unchanged(folder: Path, name: str) -> None:
    before, now = expected(name)["status"], record.status(folder, name)
    assert now.pop("hypervolume") == pytest.approx(before.pop("hypervolume"))
    assert {key: now[key] for key in before} == before
    assert now["notes"] == []


def test_status_tells_how_to_continue_and_which_trials_diverged(folder: Path) -> None:
    assert "go on with: rtune resume runs/interrupted" in said(folder, "status", "interrupted")
    diverged = "t0004 diverged in epoch 1/4: the training loss is nan in epoch 1"
    assert diverged in said(folder, "status", "mixed").splitlines()


# A worker killed; stopped, then let go on; a replicate.
def facts(line: str) -> list[str]:
    """Trials, places, epochs and figures of a sentence, in order; the words around them may change."""
    return re.findall(r"t\d{4}(?:r\d+)?|\d+(?:\.\d+)?(?:e-?\d+)?", line)


@pytest.mark.parametrize("trial", ["t0001", "t0003", "t0003r1"])
def test_explain_gives_the_same_places_and_figures(folder: Path, trial: str) -> None:
    now = said(folder, "status", "mixed", "--explain", trial).splitlines()
    assert list(map(facts, now)) == list(map(facts, expected("mixed")["explain"][trial]))


@pytest.mark.parametrize(("options", "key"), [([], "best"), (record.CONSTRAINED, "constrained")])
def test_best_networks_are_unchanged(folder: Path, options: list[str], key: str) -> None:
    before = expected("mixed")[key]
    now = json.loads(said(folder, "best", "mixed", "--json", *options))
    assert [{name: row[name] for name in old} for row, old in zip(now, before, strict=True)] == before


def test_report_has_the_same_tables_and_figures(folder: Path, tmp_path: Path) -> None:
    done = said(folder, "report", "mixed", "--output", str(tmp_path / "report"))
    assert str(tmp_path / "report" / "index.html") in done
    for name in ("front", "evaluations"):
        made = (tmp_path / "report" / f"{name}.csv").read_text()
        assert made == (EXPECTED / f"mixed-{name}.csv").read_text()
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("plotly") > 1
    assert all(trial in page for trial in expected("mixed")["explain"])
    for name in ("front.svg", "front.png"):
        assert (tmp_path / "report" / name).stat().st_size > 10_000


# --- its networks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trial",
    [
        trial if trial in ("t0003", "t0006") else pytest.param(trial, marks=pytest.mark.long)
        for trial in record.EXPORTED
    ],
)
def test_exported_network_gives_the_same_logits(
    folder: Path, tmp_path: Path, trial: str, alike: bool
) -> None:
    if trial == "t0002" and not alike:
        pytest.skip("its noise is drawn by another torch")
    said(folder, "export", "mixed", trial, "--output", str(tmp_path / "network.pt2"))
    before, now = torch.tensor(expected("logits")[trial]), record.logits(tmp_path / "network.pt2")
    torch.testing.assert_close(now, before, rtol=0, atol=1e-5)


def evaluations(run: Path) -> list[dict[str, Any]]:
    files = sorted((run / "evaluations").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_evaluation_on_the_validation_split_gives_the_accuracies_of_the_search(
    tmp_path: Path, alike: bool
) -> None:
    run = copy(tmp_path, "mixed") / "runs" / "mixed"
    options = ["--split", "validation", "--attacks", "natural"]
    said(tmp_path, "evaluate", "mixed", "--trials", ",".join(MEASURED), *options)
    found = {r["trial"]: r["accuracy"] for r in evaluations(run) if r["split"] == "validation"}
    searched = recorded("mixed").groupby("trial")["natural_accuracy"].last()
    assert found == pytest.approx(searched[MEASURED].to_dict(), abs=1e-12 if alike else 0.02)


@pytest.mark.parametrize(
    ("command", "figures"), [(record.MIXED[2], 7), pytest.param(record.MIXED[3], 2, marks=pytest.mark.long)]
)
def test_saved_evaluations_are_not_computed_again(tmp_path: Path, command: list[str], figures: int) -> None:
    run = copy(tmp_path, "mixed") / "runs" / "mixed"
    before = evaluations(run)
    assert said(tmp_path, *command).count("already computed") == figures
    assert evaluations(run) == before


@pytest.mark.long
def test_new_evaluation_gives_the_same_figures(tmp_path: Path, alike: bool) -> None:
    run = copy(tmp_path, "mixed") / "runs" / "mixed"
    before = [r for r in evaluations(run) if r["kind"] == "evaluation"]
    shutil.rmtree(run / "evaluations")
    said(tmp_path, *record.MIXED[2])
    tolerance = 1e-12 if alike else 0.05
    for old, new in zip(before, evaluations(run), strict=True):
        assert new["accuracy"] == pytest.approx(old["accuracy"], abs=tolerance)
        assert new["accuracy_std"] == pytest.approx(old["accuracy_std"], abs=tolerance)
        what = [
            key
            for key in old
            if key not in ("accuracy", "accuracy_std", "seconds", "time", "torch", "device")
        ]
        assert {key: new[key] for key in what} == {key: old[key] for key in what}


# --- going on -----------------------------------------------------------------------------------


def history(run: Path, trial: str) -> list[dict[str, Any]]:
    """What a trial's newest checkpoint has of its epochs, read without rtune."""
    data = max((run / "trials" / trial).glob("epoch-*.safetensors")).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["rtune"])["history"]


def check_went_on(name: str, run: Path) -> str:
    """Recorded rows are as they were, none is lacking or double, and no saved epoch was trained again.

    Returns the results as text.
    """
    before, now = HERE / name, run
    for segment in (before / "results").iterdir():
        assert (now / "results" / segment.name).read_bytes() == segment.read_bytes()
    epochs = [(r["trial"], r["epoch"]) for r in records(now) if r["kind"] == "epoch"]
    for trial in {name for name, _ in epochs}:
        own = [epoch for name, epoch in epochs if name == trial]
        assert own == list(range(1, len(own) + 1))
    for trial in sorted(path.name for path in (before / "trials").iterdir()):
        # Seconds that an epoch took are its own: had it been trained again, they would be others.
        saved = history(before, trial)
        assert history(now, trial)[: len(saved)] == saved
    after = said(run.parent.parent, "results", name)
    check_kept(recorded(name), table(after))
    return after


def check_same(now: str, name: str, alike: bool) -> None:
    """All but times is as an earlier rtune left it; on another machine, what no arithmetic decides."""
    before, after = (
        pd.read_csv(io.StringIO(csv), dtype=str).drop(columns=TIMES) for csv in (text(name), now)
    )
    if alike:
        pd.testing.assert_frame_equal(after[list(before)], before)
    assert set(before) <= set(after)
    seeds = [frame.groupby("trial")["seed"].first() for frame in (before, after)]
    pd.testing.assert_series_equal(*seeds)


@pytest.mark.long
@pytest.mark.cluster
def test_killed_search_ends_like_an_uninterrupted_one(tmp_path: Path, alike: bool) -> None:
    run = copy(tmp_path, "interrupted") / "runs" / "interrupted"
    done = rtune(tmp_path, "resume", "interrupted")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "begins anew" not in done.stdout
    after = check_went_on("interrupted", run)
    assert set(check_whole(run, 8)["status"]) == {"finished"}
    check_same(after, "whole", alike)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mixed` after a resume for one trial more and two epochs more."""
    folder = copy(tmp_path_factory.mktemp("longer"), "mixed")
    assert "begins anew" not in said(folder, *record.LONGER)
    return folder


@pytest.mark.cluster
def test_finished_search_continues_with_more_and_longer_trials(longer: Path, alike: bool) -> None:
    results = check_went_on("mixed", longer / "runs" / "mixed")
    own = table(results).query("sampler != 'replicate'")
    assert own["trial"].unique().tolist() == [f"t{number:04d}" for number in range(1, 10)]
    assert own["epoch"].max() == 6
    check_same(results, "longer", alike)


@pytest.mark.long
@pytest.mark.cluster
def test_further_replicates_of_a_replicated_trial(longer: Path, tmp_path: Path, alike: bool) -> None:
    shutil.copytree(longer / "runs", tmp_path / "runs")
    said(tmp_path, *record.MORE_SEEDS)
    run = tmp_path / "runs" / "mixed"
    after = said(tmp_path, "results", "mixed")
    check_kept(table(said(longer, "results", "mixed")), table(after))
    lengths = table(after).groupby("trial")["epoch"].max()
    assert lengths["t0003r1"] == lengths["t0003r2"] == lengths["t0003"]
    saved = history(HERE / "mixed", "t0003r1")
    assert history(run, "t0003r1")[: len(saved)] == saved
    check_same(after, "replicated", alike)


# --- the same search again ----------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.parametrize(
    "name", ["control", *(pytest.param(f"control-{s}", marks=pytest.mark.long) for s in ("gp", "nsga2"))]
)
def test_same_search_gives_the_same_table(tmp_path: Path, name: str, alike: bool) -> None:
    """Settings, seeds, figures and decisions, bit for bit; elsewhere, what no figure decides."""
    shutil.copy(HERE / "control.yaml", tmp_path)
    said(tmp_path, *record.control(name))
    before, now = records(HERE / name), records(tmp_path / "runs" / name)
    if not alike:
        begun = [[r for r in log if r["kind"] == "trial"] for log in (before, now)]
        assert [[r["trial"], r["seed"]] for r in begun[0]] == [[r["trial"], r["seed"]] for r in begun[1]]
        assert [list(r["values"]) for r in begun[0]][:10] == [list(r["values"]) for r in begun[1]][:10]
        pytest.skip("this machine, or a package, computes otherwise than the recorded one")
    assert [r["kind"] for r in now] == [r["kind"] for r in before]
    for old, new in zip(before, now, strict=True):
        kept = [key for key in old if key not in (*TIMES, "search")]
        assert {key: new[key] for key in kept} == {key: old[key] for key in kept}
