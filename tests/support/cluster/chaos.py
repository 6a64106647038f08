"""A search under SIGKILL: `python -m tests.support.cluster.chaos --seed 0 --minutes 8` (`make chaos`).

A search is killed at random moments - its driver, a worker, the raylet - and resumed each time it has
ended, until it is done. Then its log is held against what must be true of it, and, with one worker,
against the log of the same search left alone.
"""

import argparse
import collections
import json
import os
import platform
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

import analysis
from rtune.run import schema
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.search.plan import of_spec
from rtune.search.state import Search
from tests.support.cluster.searches import start

TARGETS = ("driver", "worker", "raylet")
TIMES = ["train_seconds", "eval_seconds", "time"]
TINY = ("model.width=4", "attack.steps=1", "evaluation.steps=1")


@dataclass
class Figures:
    """What came of it.

    Attributes:
        kills: by target.
        launches: of the disturbed search.
        rows: epochs in the end.
        rows_lost: epochs that were in the log at a kill and are not, or not the same, in the end.
        rows_doubled: epochs that are in the log twice.
        epochs_repeated: times that an epoch was begun again, all of them under way at a kill.
        saved_repeated: epochs begun again after they had been saved, those of finished trials among them
            (must be none).
        equal: whether the table is that of an undisturbed search; None if not compared.
    """

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TARGETS, 0))
    launches: int = 0
    rows: int = 0
    rows_lost: int = 0
    rows_doubled: int = 0
    epochs_repeated: int = 0
    saved_repeated: int = 0
    equal: bool | None = None


def chaos(
    folder: Path, seed: int, trials: int, epochs: int, workers: int, kills: int, seconds: float
) -> Figures:
    """Runs a search in `folder`, disturbs it, checks its log; raises AssertionError where it is wrong.

    Args:
        folder: an empty folder.
        seed: of the search, and of when and whom the kills hit.
        trials, epochs, workers: size of the search.
        kills: at most so many.
        seconds: no kill after this time.
    """
    draw = random.Random(seed)
    figures = Figures()
    options = [part for value in TINY for part in ("--set", value)]
    sizes = ["--trials", f"{trials}", "--max-epochs", f"{epochs}", "--concurrency", f"{workers}"]
    search = ["search", "digits", "--seed", f"{seed}", *sizes, *options]
    run, trace = folder / "runs" / "hit", folder / "trace"
    seen: list[dict[str, Any]] = []
    begun = time.monotonic()
    targets = draw.sample(TARGETS, len(TARGETS))  # each at least once, if there are as many kills
    while True:
        command = ["resume", str(run)] if (run / "search.yaml").exists() else [*search, "--name", "hit"]
        process = begin(folder, trace, *command)
        figures.launches += 1
        while sum(figures.kills.values()) < kills and time.monotonic() - begun < seconds:
            if wait_for_a_moment(process, trace, draw):
                break
            if run.exists():
                seen += RunFolder(run).read().records
            target = targets.pop() if targets else draw.choice(TARGETS)
            figures.kills[target] += hit(process, target, draw)
        process.wait(timeout=600)
        if process.returncode == 0:
            break
        assert figures.launches < 4 * kills + 4, "it does not come to an end"
    check(run, trace, seen, trials, epochs, workers, figures)
    if workers == 1:
        alone = begin(folder, folder / "alone", *search, "--name", "alone")
        assert alone.wait(timeout=600) == 0
        tables = [analysis.load(folder / "runs" / name).drop(columns=TIMES) for name in ("hit", "alone")]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        figures.equal = True
    return figures


def begin(folder: Path, trace: Path, *args: str) -> "subprocess.Popen[str]":
    with (folder / "output").open("ab") as output:
        return start(
            folder, *args, module="tests.support.cluster.traced", output=output.fileno(), TRACE=str(trace)
        )


def wait_for_a_moment(process: "subprocess.Popen[str]", trace: Path, draw: random.Random) -> bool:
    """Waits for some moment of a launch; True if the process has ended by itself.

    One in four while Ray starts, the others in training.
    """
    size = trace.stat().st_size if trace.exists() else 0
    early = draw.random() < 0.25
    end = time.monotonic() + draw.uniform(0, 10 if early else 3)
    while process.poll() is None:
        if not early and not (trace.exists() and trace.stat().st_size > size):
            end += 0.05
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def hit(process: "subprocess.Popen[str]", target: str, draw: random.Random) -> int:
    """Kills; how many it hit, since there may be no such process yet."""
    if target == "driver":
        process.kill()
        return 1
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        named = {"worker": is_worker, "raylet": is_raylet}
        found = [p for p in family if named[target](p)]
        if not found:
            return 0
        draw.choice(found).send_signal(signal.SIGKILL)
    except psutil.Error:
        return 0
    return 1


def is_worker(process: psutil.Process) -> bool:
    return any("ray::ImplicitFunc" in part for part in process.cmdline())


def is_raylet(process: psutil.Process) -> bool:
    return process.name() == "raylet"


def check(
    run: Path,
    trace: Path,
    seen: list[dict[str, Any]],
    trials: int,
    epochs: int,
    workers: int,
    figures: Figures,
) -> None:
    """Fills in what the log and the trace say, and holds them against the promise."""
    folder = RunFolder(run)
    log = folder.read()
    rows = [r for r in log.records if r["kind"] == "epoch"]
    keys = collections.Counter((r["trial"], r["epoch"]) for r in rows)
    text = [json.dumps(r, sort_keys=True) for r in log.records]
    figures.rows = len(rows)
    figures.rows_doubled = sum(n - 1 for n in keys.values())
    figures.rows_lost = len({json.dumps(r, sort_keys=True) for r in seen} - set(text))
    ledger = fold(log.records)
    assert list(ledger.trials) == [f"t{n:04d}" for n in range(1, trials + 1)]
    assert len([r for r in log.records if r["kind"] == "trial"]) == trials
    for trial in ledger.trials.values():
        assert trial.status in ("stopped", "finished"), trial
        assert [r["epoch"] for r in trial.epochs] == list(range(1, trial.epoch + 1))
        assert trial.status != "finished" or trial.epoch == epochs
    check_trace(trace, figures)
    check_decisions(folder, log.records)
    assert figures.rows_lost == figures.rows_doubled == 0, figures
    assert figures.saved_repeated == 0, figures
    assert figures.epochs_repeated <= workers * sum(figures.kills.values()), figures


def check_trace(trace: Path, figures: Figures) -> None:
    """Counts epochs that were trained more than once."""
    begun: collections.Counter[tuple[str, str]] = collections.Counter()
    saved: set[tuple[str, str]] = set()
    for line in trace.read_text().splitlines():
        what, trial, epoch = line.split()
        if what == "saved":
            saved.add((trial, epoch))
        else:
            figures.saved_repeated += (trial, epoch) in saved
            begun[trial, epoch] += 1
    figures.epochs_repeated = sum(n - 1 for n in begun.values())


def check_decisions(folder: RunFolder, records: list[dict[str, Any]]) -> None:
    """Every verdict in the log is what a search that knows the log so far would say."""
    written: list[dict[str, Any]] = []
    ended: set[str] = set()
    search = Search(of_spec(folder.spec), [], written.append)
    for record in records:
        written.clear()
        if record["kind"] == "epoch":
            assert record["trial"] not in ended, "a trial that had finished was trained"
            search.report(record["trial"], record["epoch"], {n: record[n] for n in schema.EPOCH})
            if record["decision"] == "finish":
                ended.add(record["trial"])
        elif record["kind"] in ("trial", "promote"):
            search.next_trial()
        else:
            continue
        (ours,) = written
        ours, theirs = ({k: v for k, v in r.items() if k != "time"} for r in (ours, record))
        assert json.loads(json.dumps(ours)) == theirs


def main() -> None:
    """Parses the command line, runs with one worker and with two, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=8, help="of killing, about")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    found = []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory(prefix="rtune-chaos-") as folder:
            seconds = options.minutes * 60 / 2
            figures = chaos(Path(folder), options.seed, 12, 6, workers, kills=1000, seconds=seconds)
        print(f"{workers} at once: {asdict(figures)}", flush=True)
        found.append({"workers": workers, "seed": options.seed, **asdict(figures)})
    if options.json is not None:
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        options.json.write_text(json.dumps({"machine": machine, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
