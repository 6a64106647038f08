"""The same seed gives the same table, bit for bit on the CPU (docs/determinism.md)."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import analysis
from rtune.config import spec
from rtune.errors import SpecError
from rtune.robust import Trainer, data
from rtune.run import checkpoint_file
from rtune.search.plan import of_spec
from rtune.search.state import Search
from rtune.worker import build, checkpoint, messages, trainable
from rtune.worker.task import Task
from tests.support.command import Rtune
from tests.support.plans import TREE as SEARCHED
from tests.support.plans import metrics

TIMES = ["train_seconds", "eval_seconds", "time"]

# --- whole searches -----------------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.long
def test_equal_seeds_give_equal_tables_and_another_seed_another_table(tmp_path: Path, rtune: Rtune) -> None:
    def table(name: str, seed: int, trials: int) -> pd.DataFrame:
        tiny = ["model.width=2", "training.batch_size=256", "attack.steps=1", "evaluation.steps=1"]
        options = [part for value in [*tiny, "points=[]"] for part in ("--set", value)]
        sizes = ["--trials", str(trials), "--max-epochs", "4", "--concurrency", "1", "--seed", str(seed)]
        done = rtune("search", "digits", "--name", name, *sizes, *options)
        assert done.returncode == 0, done.stderr
        return analysis.load(tmp_path / "runs" / name)

    first, second, other = table("first", 1, 3), table("second", 1, 3), table("other", 2, 1)
    assert first["trial"].nunique() == 3
    assert not first[["natural_accuracy", "robust_accuracy"]].isna().any().any()
    # Times differ, or the second table would be the first one read again.
    assert not first["time"].equals(second["time"])
    pd.testing.assert_frame_equal(first.drop(columns=TIMES), second.drop(columns=TIMES), check_exact=True)
    alike = first[first["trial"] == "t0001"].reset_index(drop=True)
    for column in ("seed", "natural_accuracy", "robust_accuracy"):
        assert not alike[column].equals(other[column])
    searched = [name for name in first if str(name).startswith("pruning.")]
    assert not alike[searched].equals(other.reindex(columns=searched))


# --- one trial ----------------------------------------------------------------------------------

SMALL = {
    "data": {"dataset": "digits"},
    "model": {"network": "enresnet", "width": 2, "enresnet": {"members": 2}},
    "attack": {"steps": 1},
    "evaluation": {"steps": 1},
    "pruning": {"rvsm": {"beta": {"log_uniform": [0.1, 1]}}},
    "training": {"max_epochs": 2, "batch_size": 256},
}


def task(folder: Path, seed: int = 5, beta: float = 0.5, **training: Any) -> Task:
    tree = {**SMALL, "training": {**SMALL["training"], **training}}
    config = spec.from_tree(tree, {}, "test").trial_config(
        {"pruning.rvsm.beta": beta, "pruning.rvsm.lambda_1": 1e-3}
    )
    plain = config.model_dump(mode="json")
    del plain["data"]["folder"]
    return Task("t0001", seed, plain, run=str(folder.parent), folder=str(folder), max_epochs=2)


Run = Callable[[Task], list[messages.Report]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a trial as Ray does; returns its reports without the times."""

    def run(task: Task) -> list[messages.Report]:
        results: list[dict[str, Any]] = []
        monkeypatch.setattr(trainable.tune, "report", results.append)
        trainable.run(task.to_config(), build.pack(*data.load("digits")))
        reports = [messages.from_result(result) for result in results]
        for report in reports:
            if isinstance(report, messages.Epoch):
                for name in TIMES:
                    report.metrics.pop(name, None)
        return reports

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(checkpoint_file.paths(folder)[0]).tensors


def test_trial_does_not_depend_on_earlier_work_of_its_process(tmp_path: Path, run: Run) -> None:
    fresh = run(task(tmp_path / "fresh"))
    assert [report.epoch for report in fresh] == [1, 2]

    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    torch.rand(1000), np.random.rand(1000)
    # Earlier trials of the same worker: another seed, and one that diverges.
    assert run(task(tmp_path / "earlier", seed=6, beta=0.2)) != fresh
    assert isinstance(run(task(tmp_path / "broken", lr=1e20))[-1], messages.Diverged)

    assert run(task(tmp_path / "again")) == fresh
    before, after = weights(tmp_path / "fresh"), weights(tmp_path / "again")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# --- the flag -----------------------------------------------------------------------------------


def settings() -> tuple[bool, bool, str | None]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


ON = (True, False, ":4096:8")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings that held in each epoch of training."""
    seen: list[Any] = []
    original = Trainer.train_epoch

    def watched(self: Trainer) -> float:
        seen.append(settings())
        return original(self)

    monkeypatch.setattr(Trainer, "train_epoch", watched)
    return seen


def test_deterministic_flag_is_set_during_a_trial_only(tmp_path: Path, run: Run, seen: list[Any]) -> None:
    off = settings()
    assert off[0] is False
    plain = run(task(tmp_path / "plain"))
    assert seen == [off, off]
    seen.clear()
    flagged = run(task(tmp_path / "flagged", deterministic=True))
    assert seen == [ON, ON]
    assert settings() == off
    assert flagged == plain  # on the CPU there is nothing for it to change
    seen.clear()
    run(task(tmp_path / "next"))  # the worker's next trial is its own
    assert seen == [off, off]


@pytest.mark.parametrize("end", [SystemExit, ValueError])
def test_deterministic_flag_is_reset_after_a_stop_or_an_error(
    end: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[Any]
) -> None:
    """Ray stops a trial by raising SystemExit where it reports."""

    def report(_: dict[str, Any]) -> None:
        raise end

    monkeypatch.setattr(trainable.tune, "report", report)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with pytest.raises(end):
        trainable.run(task(tmp_path, deterministic=True).to_config(), build.pack(*data.load("digits")))
    assert seen == [ON]
    assert settings() == (False, True, ":16:8")


def test_deterministic_flag_cannot_be_searched() -> None:
    tree = {**SEARCHED, "training": {"max_epochs": 9}}
    assert spec.from_tree(tree, {}, "test").file.training.deterministic is False
    found = spec.from_tree({**tree, "training": {"max_epochs": 9, "deterministic": True}}, {}, "test")
    assert found.trial_config({"pruning.method": "rgsm"}).training.deterministic is True
    searched = {**tree, "training": {"deterministic": {"choice": [True, False]}}}
    with pytest.raises(SpecError, match=r"training.deterministic is .* cannot be searched"):
        spec.from_tree(searched, {}, "test")


# --- trials at once -----------------------------------------------------------------------------


def outcome(workers: int, arrival: Callable[[int], int], **settings: Any) -> dict[str, Any]:
    """Each trial's values and where it ended, when epochs arrive in a given order."""
    tree = {**SEARCHED, "search": {"trials": 14, "seed": 3, **settings}}
    search = Search(of_spec(spec.from_tree(tree, {}, "test")), [], lambda record: None)
    running: list[str] = []
    step = 0
    while True:
        while len(running) < workers and (found := search.next_trial()) is not None:
            running.append(found.id)
        if not running:
            return {t.id: (t.values, t.seed, t.epoch, t.status) for t in search.ledger.trials.values()}
        name = running[arrival(step) % len(running)]
        epoch = search.ledger.trials[name].epoch + 1
        if not search.report(name, epoch, metrics(name, epoch)):
            running.remove(name)
        step += 1


def shuffled(seed: int) -> Callable[[int], int]:
    order = random.Random(seed)
    return lambda step: order.randrange(12)


def test_search_of_one_trial_at_a_time_is_determined_by_the_seed() -> None:
    assert outcome(1, lambda step: 0) == outcome(1, lambda step: step)
    assert outcome(1, lambda step: 0) != outcome(1, lambda step: 0, seed=4)


@pytest.mark.parametrize(
    "settings",
    [
        {"early_stopping": None, "sampler": "tpe"},  # the sampler has seen other trials when it is asked
        {"sampler": "random"},  # a rung has other trials when one arrives
    ],
)
def test_with_two_at_once_the_order_of_arrival_can_change_the_table(settings: dict[str, Any]) -> None:
    tables = [outcome(2, shuffled(seed), **settings) for seed in range(8)]
    assert tables[0] == outcome(2, shuffled(0), **settings)
    assert any(table != tables[0] for table in tables)


def test_random_search_without_early_stopping_does_not_depend_on_arrival() -> None:
    settings = {"early_stopping": None, "sampler": "random"}
    alone = outcome(1, lambda step: 0, **settings)
    assert len(alone) == 14
    for seed in range(4):
        assert outcome(2 + seed % 2, shuffled(seed), **settings) == alone
