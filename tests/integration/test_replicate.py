"""`rtune replicate`: what it writes, what it refuses, and that it can be cut and repeated."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

import analysis
from rtune.cli.app import main
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.search import plan
from rtune.worker import build, loop
from rtune.worker.task import Task
from tests.support.cluster.searches import TINY, check_kept, kill, logged, start
from tests.support.command import Rtune
from tests.support.launches import picture_of
from tests.support.run_folders.untrained import RECORDS, make
from tests.support.waiting import wait_for

Records = list[dict[str, Any]]

# --- the log ------------------------------------------------------------------------------------

REPLICATE = RECORDS[0] | {
    "trial": "t0001r1", "sampler": "replicate", "seed": 9, "facts": {"of": "t0001", "epochs": 3},
}  # fmt: skip
LENGTHEN = {"kind": "lengthen", "trial": "t0001r1", "epochs": 4, "time": 1.0}


@pytest.mark.parametrize(
    "foreign",
    [
        [REPLICATE | {"facts": {}}],
        [REPLICATE | {"facts": {"of": "t0001", "epochs": 0}}],
        [REPLICATE | {"facts": {"of": "t0001", "epochs": True}}],
        [REPLICATE | {"facts": {"of": "t0002", "epochs": 3}}],
        [REPLICATE | {"trial": "t0007r1", "facts": {"of": "t0007", "epochs": 3}}],  # there is no such trial
        [REPLICATE | {"trial": "t0007"}],
        [REPLICATE | {"sampler": "tpe"}],
        [REPLICATE | {"trial": "t0001r1/../.."}],
        [LENGTHEN],
        [LENGTHEN | {"trial": "t0001"}],
        [LENGTHEN | {"epochs": 0}],
    ],
)
def test_invalid_replicate_records_are_left_out(tmp_path: Path, foreign: Records) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in [*RECORDS, *foreign]:
            writer.append(record)
    log = folder.read()
    assert log.records == RECORDS
    assert len(log.notes) == len(foreign)


def test_replicate_records_are_read_back(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in [*RECORDS, REPLICATE, LENGTHEN]:
            writer.append(record)
    assert folder.read().notes == []
    found = fold(folder.read().records).trials["t0001r1"]
    assert (found.of, found.length, found.status) == ("t0001", 4, "running")


# --- the command --------------------------------------------------------------------------------


def replicate(run: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["replicate", str(run), *args])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", "1"), "--seeds is 1; it must be 2 to 1000"),
        (("--seeds", "-3"), "--seeds is -3; it must be 2 to 1000"),
        (("--seeds", str(10**20)), "it must be 2 to 1000"),
        (("--seeds", "few"), "Invalid value for '--seeds'"),
        (("--trials", "t0009"), "--trials names 't0009', which has no network in "),
        (("--trials", "t0001,"), None),
        (("--trials", ""), "--trials names '', which has no network in "),
        (("--trials", "t0001r1"), "--trials names 't0001r1', which has no network in "),
        (("--concurrency", "0"), "search.concurrency is 0"),
        (("--max-epochs", "9"), "No such option"),
        (("--address", "127.0.0.1:9"), "no Ray cluster can be used at 127.0.0.1:9"),
    ],
)
def test_invalid_replicate_requests_are_refused(
    run: Path, options: tuple[str, ...], message: str | None
) -> None:
    if message is None:
        options, message = (*options, "--gpus-per-trial", "1"), "a trial needs 1 CPU and 1 GPU"
    refused(run, options, message)


def refused(run: Path, options: tuple[str, ...], message: str) -> None:
    before = picture_of(run)
    done = replicate(run, *options)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert picture_of(run) == before


def rewrite(run: Path, change: Any) -> None:
    segment = run / "results" / "0001.jsonl"
    records = [json.loads(line) for line in segment.read_text().splitlines()]
    segment.write_text("".join(json.dumps(record) + "\n" for record in change(records)))


def broken(name: str) -> dict[str, Any]:
    return {"kind": "end", "trial": name, "status": "diverged", "epoch": 3, "error": "nan", "time": 1.0}


def test_trials_without_a_network_cannot_be_replicated(run: Path) -> None:
    rewrite(run, lambda records: [*records, broken("t0002")])
    refused(run, ("--trials", "t0002"), "--trials names 't0002', which has no network in ")
    rewrite(run, lambda records: [*records, broken("t0001")])
    refused(run, (), "has no network yet: every trial has failed or has not finished an epoch")
    rewrite(run, lambda records: [])
    refused(run, (), "has no network yet")


def test_replicate_refuses_a_changed_search_or_a_running_launch(run: Path) -> None:
    with RunFolder(run).launch():
        refused(run, (), "is in use: a launch is running on it")
    tree = yaml.safe_load((run / "search.yaml").read_text())
    tree["model"]["width"] = 3
    (run / "search.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    refused(run, (), "search.yaml has been changed since the search began: model.width is 3 and was 2")


@pytest.mark.cluster
@pytest.mark.long
def test_replicate_interrupted_killed_and_resumed_trains_all_requested_seeds(
    tmp_path: Path, rtune: Rtune
) -> None:
    sizes = ["--trials", "3", "--max-epochs", "4", "--concurrency", "1"]
    early = ["--set", "search.early_stopping={grace: 1, eta: 2}"]
    assert rtune("search", "digits", "--name", "run", *sizes, *early, *TINY).returncode == 0
    run, command = tmp_path / "runs" / "run", ["replicate", "run", "--trials", "all", "--seeds", "2"]
    searched = analysis.load(run)
    process = start(tmp_path, *command)
    wait_for(logged(run, len(searched) + 1))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "3 replicates on digits, 1 at once" in output
    assert "Go on with: rtune replicate runs/run --trials all --seeds 2" in output
    interrupted = analysis.load(run)
    process = start(tmp_path, *command)
    wait_for(logged(run, len(interrupted) + 1))
    kill(process)
    killed = analysis.load(run)
    assert "3 replicates: " in rtune("status", "run").stdout
    done = rtune("resume", "run")
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("front: ") for line in done.stdout.splitlines())
    assert done.stdout.splitlines()[-1].startswith("report: ")
    again = rtune(*command)
    assert again.returncode == 0
    assert "each of the 3 settings has already been trained with 2 seeds" in again.stdout
    rows = analysis.load(run)
    for before in (searched, interrupted, killed):
        check_kept(before, rows)
    assert set(rows[rows["trial"].str.contains("r")]["sampler"]) == {"replicate"}
    check_replicates(RunFolder(run), seeds=2)


def check_replicates(folder: RunFolder, seeds: int) -> None:
    """As many of each trial as there must be, as long, and each the same experiment with its own seed."""
    ledger = fold(folder.read().records)
    assert len({t.seed for t in ledger.trials.values()}) == len(ledger.own) * seeds
    for original in ledger.own.values():
        again = [t for t in ledger.trials.values() if t.of == original.id]
        assert [(t.epoch, t.status) for t in again] == [(original.epoch, "finished")] * (seeds - 1)
    # Bit for bit: a stopped trial's too, whose learning rates are those of a full training.
    found = min((t for t in ledger.trials.values() if t.of is not None), key=lambda t: t.epoch)
    splits = build.splits(folder.spec.file.data, folder.spec.search.seed, torch.device("cpu"), download=False)
    of_splits = tuple(map(len, splits))
    assert {(begun.train_images, begun.validation_images) for begun in ledger.launches} == {of_splits}
    task = Task(
        trial=found.id,
        seed=found.seed,
        config=folder.spec.identity(found.values),
        run=folder.place.absolute,
        folder=str(folder.place.local.parent / "elsewhere"),
        max_epochs=found.epoch,
        rungs=tuple(plan.of_spec(folder.spec).rungs()),
    )
    alone = [figures["robust_accuracy"] for _, figures in loop.epochs(task, *splits)]
    assert alone == [record["robust_accuracy"] for record in found.epochs]
