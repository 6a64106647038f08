"""What a dry run says: epochs of simulated searches, and what they cost."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import estimates
from benchmarks.search import tables
from rtune.cli.app import main
from rtune.cluster.resources import Room
from rtune.config import spaces, spec
from rtune.config.catalog import ATTACKS, Attack
from rtune.config.sections import EarlyStopping
from rtune.dryrun import estimate, pace
from rtune.pareto.objectives import Objective
from rtune.robust import Split, Trainer
from rtune.search.limits import Limits
from rtune.search.plan import Plan
from tests.support.parts import added
from tests.support.paths import ROOT

CPUS = Room([{"CPU": 2, "GPU": 0}], here=True)


def plan(trials: int, max_epochs: int, early_stopping: EarlyStopping | None, **more: Any) -> Plan:
    return Plan(
        objectives=(Objective("a"), Objective("b"), Objective("c")),
        max_epochs=max_epochs,
        trials=trials,
        ranges={},
        is_active=lambda path, values: True,
        early_stopping=early_stopping,
        **more,
    )


def run(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a dry run prints; it leaves the folder empty."""
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(main, ["search", *shlex.split(line), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert list(folder.iterdir()) == []
    return result.output.splitlines()


def test_without_early_stopping_every_epoch_of_every_trial_counts() -> None:
    for simulated in estimate.searches(plan(7, 5, None), 3, [2.0]):
        # Seven trials of ten seconds on three workers take three turns.
        assert simulated == estimate.Simulated(epochs=35, busy=70.0, wall=30.0)


def test_a_single_worker_is_busy_all_the_time() -> None:
    for simulated in estimate.searches(plan(9, 8, EarlyStopping()), 1, [1.0, 3.0]):
        assert simulated.wall == pytest.approx(simulated.busy)
        assert simulated.epochs < simulated.busy < 3 * simulated.epochs


def test_the_same_seed_estimates_the_same() -> None:
    planned = plan(30, 9, EarlyStopping())
    first, again = (estimate.searches(planned, 4, [1.0, 2.0]) for _ in range(2))
    assert first == again
    assert len({s.epochs for s in first}) > 1  # the seeds within differ


@settings(max_examples=60, deadline=None)
@given(
    trials=st.integers(1, 40),
    max_epochs=st.integers(1, 60),
    eta=st.integers(2, 5),
    workers=st.integers(1, 50),
    brackets=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_epochs_lie_between_the_first_rungs_and_the_unstopped(
    trials: int, max_epochs: int, eta: int, workers: int, brackets: int, seed: int
) -> None:
    early = EarlyStopping(eta=eta)
    levels = early.levels(max_epochs)
    early = EarlyStopping(eta=eta, brackets=min(brackets, max(1, len(levels))))
    done = estimate.simulate(plan(trials, max_epochs, early), workers, [1.0], seed)
    first = levels[0] if levels else max_epochs
    # All get to the first rung, and at least one to the end.
    assert first * (trials - 1) + max_epochs <= done.epochs <= trials * max_epochs
    assert done.busy == done.epochs
    assert done.epochs / min(workers, trials) <= done.wall <= done.epochs


@pytest.mark.parametrize("workers", [2, 16])
@pytest.mark.parametrize(
    ("name", "sparsity"), [("digits", "weight_sparsity"), ("digits-channels", "channel_sparsity")]
)
def test_recorded_searches_take_about_as_many_epochs(name: str, sparsity: str, workers: int) -> None:
    table = tables.load(
        ROOT / "benchmarks" / "tables" / f"{name}.csv", ["natural_accuracy", "robust_accuracy", sparsity]
    )
    recorded = [
        estimates.epochs(estimates.recorded(table, 64, workers, seed, sampler="random")) for seed in range(5)
    ]
    expected = [s.epochs for s in estimate.searches(plan(64, table.max_epochs, EarlyStopping()), workers)]
    assert np.median(expected) == pytest.approx(np.mean(recorded), rel=0.1)
    assert min(expected) <= np.median(recorded) <= max(expected)


def test_a_dry_run_on_a_cpu_measures_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_SECONDS_ALL", 0.0)  # one kind of settings will do
    line = "digits --trials 6 --concurrency 2 --price 3 --set model.width=2 --set attack.steps=1"
    printed = run(line, tmp_path, monkeypatch)
    text = "\n".join(printed)
    assert "6 trials on digits, 2 at once" in printed[0]
    assert "epochs: 48 without early stopping, about " in printed[1]
    found = re.search(r"^seconds an epoch: ([0-9.]+), from a few batches", text, re.MULTILINE)
    hours = re.search(r"^core-hours: about ([0-9.e-]+)", text, re.MULTILINE)
    cost = re.search(r"^cost: about ([0-9.e-]+) .*at 3 for a core-hour$", text, re.MULTILINE)
    assert found, text
    assert hours, text
    assert cost, text
    assert 0 < float(found[1]) * 6 * 2 / 3600 <= float(hours[1]) * 1.02
    assert float(cost[1]) == pytest.approx(3 * float(hours[1]), rel=0.05)


def test_given_seconds_and_a_price_make_money(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "digits --trials 10 --max-epochs 9 --set search.early_stopping=null --gpus-per-trial 0.5 "
        "--address ray://nowhere:1 --concurrency 5 --epoch-seconds 40 --price 2 --time-budget 5m"
    )
    # 90 epochs of 40 seconds are an hour on half a GPU, in two turns of six minutes.
    assert run(line, tmp_path, monkeypatch)[:7] == [
        "dry run, nothing is started or written: 10 trials on digits, 5 at once",
        "epochs: 90, all trials are trained to their end",
        "seconds an epoch: 40, as given",
        "time: about 12:00, and a few seconds for Ray and its workers to start",
        "GPU-hours: about 0.5",
        "cost: about 1.00 at 2 for a GPU-hour",
        "the time budget of 5:00 ends it earlier, after at most 0.208 GPU-hours, 0.42; rtune resume goes on",
    ]


def test_without_the_gpu_that_trials_ask_for_there_are_epochs_and_no_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtune.cluster.resources.local", lambda: CPUS)
    printed = run("digits --gpus-per-trial 0.25 --price 2", tmp_path, monkeypatch)
    first, epochs, seconds, cost, *_ = printed
    assert printed[-1].startswith("note: on this machine the search would not start: a trial needs 1 CPU and")
    assert cost == "cost: unknown without the seconds of an epoch"
    assert first.endswith("18 trials on digits, 4 at once as on one GPU (--concurrency overrides this)")
    assert epochs.startswith("epochs: 144 without early stopping, about ")
    assert seconds.startswith(
        "seconds an epoch: unknown (a trial asks for a GPU and this machine has none); for hours give "
        "--epoch-seconds"
    )


def test_data_that_would_be_fetched_is_not_fetched_by_a_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run fetches data")

    monkeypatch.setattr("rtune.robust.data.download.fetch", fetched)
    monkeypatch.setattr("rtune.robust.data.loading.DEFAULT_FOLDER", tmp_path / "none")
    _, _, seconds, *_ = run("cifar10-rgsm", tmp_path, monkeypatch)
    assert "unknown (cifar10 is not in" in seconds
    assert "rtune search would download it" in seconds


def test_kinds_of_settings_weigh_as_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    search_spec = spec.load(spaces.find("digits"), [("search.trials", 40)])
    members = {"resnet": 1.0, "enresnet": 2.0}
    monkeypatch.setattr(pace, "epoch_seconds", lambda config, *rest: members[config.model.network])
    limits = Limits.of(search_spec.search, 40, search_spec.max_epochs)
    measured = pace.measure(search_spec, limits, CPUS)
    assert len(measured.seconds) == 40
    assert set(measured.seconds) == {1.0, 2.0}
    assert "(1 to 2 over 4 kinds of settings)" in measured.text  # two networks, two methods


def test_an_epoch_is_all_its_images_however_few_were_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def passes(seconds: float) -> None:
        clock[0] += seconds

    def measure(trainer: Trainer, part: Split, attack: Any) -> None:
        asked.append(len(part))
        passes(0.008 * len(part))

    trained: list[int] = []
    asked: list[int] = []
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(
        Trainer, "train_epoch", lambda t: trained.append(len(t.train)) or passes(len(t.train) / 100)
    )
    monkeypatch.setattr(Trainer, "measure", measure)
    monkeypatch.setattr(pace, "footprint", lambda *_: passes(0.5))
    images = Split(torch.zeros(2000, 1, 8, 8, dtype=torch.uint8), torch.zeros(2000, dtype=torch.int64))
    config = spec.load(spaces.find("digits")).trial_config({})
    # 2,000 images of 10 ms, 2,000 of 8 ms, and what is done once.
    assert pace.epoch_seconds(config, images, images, 0) == pytest.approx(20 + 16 + 0.5)
    # On a quarter of the validation images.
    assert pace.epoch_seconds(config, images, images, 0, 0.25) == pytest.approx(20 + 4 + 0.5)
    assert max(trained) < 200
    assert max(asked) < 200


def test_a_dry_run_shows_each_value_as_it_was_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (
        "cifar10-rgsm --epoch-seconds 1 --time-budget 1h30m --trials 10 --set 'attack.epsilon=8 / 255' "
        "--set training.batch_size=1_024 --set 'model.width={int_uniform: [8, 16]}' --set data.flip=yes "
        "--set attack.steps=10 --set training.lr=1/4 --set search.report_timeout=1d"
    )
    printed = run(line, tmp_path, monkeypatch)
    shown = [text.strip() for text in printed if " = " in text]
    for expected in (
        "attack.epsilon = 0.03137254901960784",
        "attack.steps = 10",  # the default, but given
        "training.batch_size = 1024",
        'model.width = {"int_uniform": [8, 16]}',
        "data.flip = true",
        "training.lr = 0.25",
        "search.trials = 10",
        "search.time_budget = 5400.0 seconds (1:30:00)",
        "search.report_timeout = 86400.0 seconds (24:00:00)",
        'pruning.rgsm.beta = {"log_uniform": [0.1, 10]}',
    ):
        assert expected in shown
    assert any(text.startswith('points.0 = {"pruning.rgsm.beta": 1.0, ') for text in shown)
    assert not any(text.startswith(("evaluation.", "pruning.admm", "model.depth")) for text in shown)


def test_a_setting_that_cannot_be_trained_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last stages of a mobilenet see a pixel of each digit, and batch norm needs two values."""
    monkeypatch.chdir(tmp_path)
    sets = ["model.network=mobilenet", "points=[]", "model.width=2", "training.batch_size=1"]
    options = [word for text in [*sets, "pruning.method=rgsm"] for word in ("--set", text)]
    result = CliRunner().invoke(main, ["search", "digits", "--dry-run", *options])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert re.search(r"rtune: a trial with lambda_1.* fails: ValueError: Expected more", result.output)
    assert "seconds an epoch: unknown (no setting that was tried can be trained)" in result.output


def test_a_million_trials_are_estimated_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_SIMULATED_TRIALS", 100)
    few, many = (estimate.searches(plan(n, 9, EarlyStopping()), 4)[0] for n in (100, 10_000))
    assert many.epochs == pytest.approx(100 * few.epochs)
    assert many.wall == pytest.approx(100 * few.wall)


def test_a_dry_run_names_the_points_that_the_command_line_contradicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = run("digits --epoch-seconds 1 --set model.network=mobilenet", tmp_path, monkeypatch)
    (note,) = (line for line in printed if line.startswith("note: "))
    assert note.startswith("note: left out of the file's 4 points, because the command line says otherwise: ")
    assert not any("points." in line for line in printed if line != note)


def test_a_part_that_fails_while_it_trains_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such parts can be built; that they fail is seen where a few batches are trained."""
    monkeypatch.chdir(tmp_path)
    broken = Attack(name="broken", label="b", about="b", build="tests.support.parts:Broken", trains=True)
    with added(ATTACKS, broken):
        line = "search digits --dry-run --set attack.method=broken"
        done = CliRunner().invoke(main, shlex.split(line))
    assert done.exit_code == 1, done.output
    assert all(line.startswith("rtune: a trial with ") for line in done.stderr.splitlines())
    assert "fails: KeyError: 'no such thing'" in done.stderr
