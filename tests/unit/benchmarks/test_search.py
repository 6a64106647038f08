"""benchmarks.search: the simulated workers, the peers, and the command."""

import json
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import search, searching
from benchmarks.peers import ASHA, MOASHA, RandomOrder, _configurations
from benchmarks.search_summary import Searches, quantile, summaries, text
from benchmarks.simulation import Task, simulate
from benchmarks.tables import Setting, Table, load
from rtune.config.ranges import Choice, Range, Uniform
from tests.support.recorded import OBJECTIVES, generated, made


class InOrder:
    """Trains settings in order, to their end; notes what it is told."""

    def __init__(self, settings: int) -> None:
        self.log: list[tuple[int, int]] = []
        self._left = list(range(settings))

    def next_task(self) -> Task | None:
        return Task(f"{self._left[0]}", self._left.pop(0)) if self._left else None

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        self.log.append((int(trial), epoch))
        return True

    def diverged(self, trial: str) -> None:
        self.log.append((int(trial), 0))


# Two objectives; the third setting diverges in its second epoch.
CURVES = [[[0.1, 0.1], [0.5, 0.5]], [[0.9, 0.9], [1.0, 0.2]], [[0.9, 0.9]]]


def test_two_workers_train_by_the_recorded_clock() -> None:
    method = InOrder(2)
    # Setting 0 reports at 1 and 2 seconds, setting 1 at 1.5 and 2.5.
    reached = simulate(made(CURVES[:2], [[1, 1], [1.5, 1]]), method, workers=2, budget=6)
    assert method.log == [(0, 1), (1, 1), (0, 2), (1, 2)]
    # 0.5 * 0.5, then 0.5 * 0.2 more; the half-trained (0.9, 0.9) never counts; nothing is left after that.
    assert reached == pytest.approx([0, 0, 0.25, 0.35, 0.35, 0.35])


def test_one_worker_trains_one_after_the_other() -> None:
    method = InOrder(2)
    simulate(made(CURVES[:2], [[1, 1], [1.5, 1]]), method, workers=1, budget=6)
    assert method.log == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_an_epoch_that_diverges_is_spent_and_frees_its_worker() -> None:
    method = InOrder(3)
    reached = simulate(made(CURVES[::-1]), method, workers=1, budget=6)
    assert method.log == [(0, 1), (0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert reached == pytest.approx([0, 0, 0, 0.2, 0.2, 0.35])


def test_the_budget_cuts() -> None:
    method = InOrder(2)
    reached = simulate(made(CURVES[:2]), method, workers=2, budget=3)
    assert reached == pytest.approx([0, 0, 0.25])
    assert len(method.log) == 3


def test_equal_times_are_kept_in_the_order_of_their_start() -> None:
    method = InOrder(2)
    simulate(made(CURVES[:2]), method, workers=2, budget=4)
    assert method.log == [(0, 1), (1, 1), (0, 2), (1, 2)]


class Counting(RandomOrder):
    """Stops trials as it is told to; counts those that run."""

    def __init__(self, table: Table, stops: Sequence[bool]) -> None:
        super().__init__(table, 0)
        self.running, self.most, self.epochs, self._stops = 0, 0, 0, list(stops)

    def next_task(self) -> Task | None:
        task = super().next_task()
        self.running += task is not None
        self.most = max(self.most, self.running)
        return task

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        self.epochs += 1
        goes_on = not (self._stops and self._stops.pop())
        self.running -= not goes_on or epoch == self.table.max_epochs
        return goes_on

    def diverged(self, trial: str) -> None:
        self.epochs += 1
        self.running -= 1


@given(
    lengths=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    workers=st.integers(1, 4),
    budget=st.integers(1, 30),
    stops=st.lists(st.booleans(), max_size=10),
)
def test_no_epoch_and_no_worker_is_lost(
    lengths: list[int], workers: int, budget: int, stops: list[bool]
) -> None:
    rng = np.random.default_rng(budget)
    # One is complete, so that the table's length is known.
    lengths = [3, *lengths]
    table = made(
        [rng.random((n, 2)).tolist() for n in lengths], [rng.random(max(1, n)).tolist() for n in lengths]
    )
    method = Counting(table, stops)
    reached = simulate(table, method, workers, budget)
    assert method.most <= workers
    assert len(reached) == budget
    assert (np.diff(reached) >= 0).all()
    assert reached[-1] <= table.full_hypervolume + 1e-12
    everything = sum(min(n + 1, 3) for n in lengths)
    if stops and any(stops):
        assert method.epochs <= min(budget, everything)
    else:
        assert method.epochs == min(budget, everything)
        if budget >= everything:
            assert method.running == 0
            assert reached[-1] == pytest.approx(table.full_hypervolume)


def nine_epochs() -> Table:
    return made([[[0.1, 0.1]] * 9] * 6)


def test_asha_by_hand() -> None:
    method = ASHA(nine_epochs(), 0, lambda point: float(point[0]))
    names = [task.trial for _ in range(4) if (task := method.next_task())]
    firsts = [
        method.report(name, 1, np.array([s, 0])) for name, s in zip(names, (0.5, 0.4, 0.6, 0.5), strict=True)
    ]
    # The first has no cut to pass. The cuts of the others are the 2/3 quantile of those before: 0.5; 0.467
    # of (0.5, 0.4); 0.533 of (0.5, 0.4, 0.6).
    assert firsts == [True, False, True, False]
    # Between rungs nobody is stopped, however bad.
    assert method.report(names[0], 2, np.array([0.0, 0]))
    assert method.report(names[0], 3, np.array([0.3, 0]))
    assert not method.report(names[2], 3, np.array([0.2, 0]))


@pytest.mark.parametrize("mended", [False, True])
def test_moasha_runs_from_its_package(mended: bool) -> None:
    pytest.importorskip("syne_tune")
    method = MOASHA(nine_epochs(), 0, mended)
    names = [task.trial for _ in range(4) if (task := method.next_task())]
    # (1, 1), (2, 2), (3, 3) and then (0, 0), all minimised.
    points = [np.array([4.0 - x, 4.0 - x]) / 4 for x in (1, 2, 3, 0)]
    *before, newcomer = [method.report(name, 1, p) for name, p in zip(names, points, strict=True)]
    assert before == [True, False, False]
    # The package stops the one that dominates all others: see MOASHA.
    assert newcomer is mended


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return load(generated(tmp_path_factory.mktemp("table") / "generated.csv"), OBJECTIVES)


NAMES = [
    "random, full length",
    *(f"ASHA on {name}" for name in (*OBJECTIVES, "the mean")),
    "Syne Tune MOASHA",
    "MOASHA, ranks mended",
    "Optuna NSGA-II",
    "Optuna TPE",
    "Optuna GP",
    "SMAC ParEGO",
    "rtune",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_method_searches_and_a_seed_says_how(table: Table, name: str) -> None:
    # Enough for the models of the samplers, which start after ten networks.
    budget = 39
    if name not in searching.makers(table, budget):
        pytest.skip("its package is not installed")
    shares, seconds = searching.one(table, name, 3, 2, budget)
    assert shares.shape == (budget,)
    assert 0 < shares[-1] <= 1
    assert seconds > 0
    assert (searching.one(table, name, 3, 2, budget)[0] == shares).all()


def test_a_method_without_early_stopping_has_everything_in_the_end(table: Table) -> None:
    for name in ("random, full length", "Optuna NSGA-II"):
        assert searching.one(table, name, 0, 3, 100)[0][-1] == pytest.approx(1)


def test_all_methods_are_there(table: Table) -> None:
    absent = {name for names in searching.missing().values() for name in names}
    assert list(searching.makers(table, 24)) == [name for name in NAMES if name not in absent]


def test_a_peer_that_fails_is_named(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, trial: str, epoch: int, point: Any) -> bool:
        raise ValueError("not today")

    monkeypatch.setattr(RandomOrder, "report", broken)
    with pytest.raises(searching.SearchError) as failure:
        searching.one(table, "random, full length", 5, 2, 24)
    assert str(failure.value) == "random, full length failed with seed 5: ValueError: not today"


def test_epochs_to_a_share_by_hand() -> None:
    shares = np.array([[0.5, 0.9, 0.95], [0.9, 0.9, 0.99], [0.1, 0.2, 0.3]])
    found = Searches("m", shares, 1.0).summary()
    assert (found["epochs_to_90"], found["epochs_to_95"], found["epochs_to_99"]) == (2, 3, None)
    assert found["epochs_to_90_quartiles"] == [1.5, None]
    assert found["final_hypervolume"] == 0.95
    assert found["final_hypervolume_quartiles"] == [0.625, 0.97]


def test_seeds_that_end_below_rtune_by_hand() -> None:
    def ending(method: str, *shares: float) -> Searches:
        return Searches(method, np.array([[share] for share in shares]), 1.0)

    results = [ending("peer", 0.5, 0.6, 0.7, 0.9), ending("rtune", 0.6, 0.6, 0.8, 0.8)]
    assert [found.get("below_rtune") for found in summaries(results)] == [0.5, None]
    assert [line.split()[-1] for line in text(results).splitlines()[-2:]] == ["50%", "never"]
    assert "below_rtune" not in summaries(results[:1])[0]


def test_with_a_share_each_seed_has_its_own_settings(table: Table) -> None:
    parts = [table.part(0.5, seed) for seed in (0, 1, 0)]
    names = [[id(setting) for setting in part.settings] for part in parts]
    assert names[0] == names[2] != names[1]
    everything = [id(setting) for setting in table.settings]
    assert all(len(n) == round(len(everything) / 2) and set(n) <= set(everything) for n in names)
    assert [n for n in everything if n in names[0]] == names[0]
    assert [id(setting) for setting in table.part(1.0, 5).settings] == everything
    # A search has its part alone, and what it reaches is measured against that.
    for seed in range(3):
        shares, _ = searching.one(table, "random, full length", seed, 3, 100, 0.5)
        assert shares[-1] == pytest.approx(1)
        assert (shares[:-1] <= 1 + 1e-9).all()


@pytest.mark.usefixtures("fast")
def test_the_command_with_a_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, figures = generated(tmp_path / "tiny.csv"), tmp_path / "figures.json"
    common = ["--table", str(file), "--seeds", "2", "--budget", "200", "--processes", "1"]
    assert search.main([*common, "--share", "0.5", "--json", str(figures)]) == 0
    assert "its own random 0.5 of the settings" in capsys.readouterr().out
    random, *_ = json.loads(figures.read_text())
    assert random["final_hypervolume_quartiles"] == [1, 1]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9), st.floats(0, 1))
def test_quantile_is_numpys(values: list[float], q: float) -> None:
    assert quantile(values, q) == pytest.approx(np.quantile(values, q), abs=1e-6)


def test_a_quantile_beside_never_is_never() -> None:
    assert quantile([1, math.inf], 0.5) == math.inf
    assert quantile([1, 3, math.inf], 0.5) == 3
    assert quantile([math.inf, math.inf, math.inf, 1], 0.5) == math.inf


ONES = np.ones(2)
FAST = ("random, full length", "ASHA on the mean", "rtune")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick methods alone; the others have their own test."""
    makers = searching.makers
    monkeypatch.setattr(
        searching, "makers", lambda t, b: {n: m for n, m in makers(t, b).items() if n in FAST}
    )


@pytest.mark.usefixtures("fast")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, figures = generated(tmp_path / "tiny.csv"), tmp_path / "figures.json"
    common = ["--table", str(file), "--seeds", "3", "--workers", "2", "--budget", "30", "--processes", "1"]
    assert search.main([*common, "--json", str(figures)]) == 0
    out, err = capsys.readouterr()
    assert "trained to their end" in out
    assert "reference point" in out
    assert "nearest" in out
    assert "without replacement" in out
    assert [line.split(":")[0] for line in err.splitlines()] == list(FAST)
    records = json.loads(figures.read_text())
    assert [record["method"] for record in records] == list(FAST)
    for record in records:
        low, high = record["final_hypervolume_quartiles"]
        assert 0 < low <= record["final_hypervolume"] <= high <= 1
        for percent in (90, 95, 99):
            epochs = record[f"epochs_to_{percent}"]
            assert epochs is None or 1 <= epochs <= 30
        assert record["seconds"] >= 0
    assert (tmp_path / "tiny-search.png").read_bytes().startswith(b"\x89PNG")
    # Once more, elsewhere: the same figures but for the seconds.
    plot, again = tmp_path / "p.svg", tmp_path / "again.json"
    assert search.main([*common, "--json", str(again), "--plot", str(plot)]) == 0
    assert "<svg" in plot.read_text()
    untimed = [{k: v for k, v in r.items() if k != "seconds"} for r in records]
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in json.loads(again.read_text())] == untimed


@pytest.mark.usefixtures("fast")
def test_a_missing_package_is_said_with_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching.peers, "PACKAGES", {"no_such_package": ("SMAC ParEGO",)})
    file = generated(tmp_path / "tiny.csv")
    assert search.main(["--table", str(file), "--seeds", "1", "--budget", "6", "--processes", "1"]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    sentence = "without SMAC ParEGO: no_such_package is missing, which pip install 'rtune[peers]' installs"
    assert first == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds", "0"], "--seeds is 0; a whole number of at least 1 is expected"),
        (["--workers", "0"], "--workers is 0; a whole number of at least 1 is expected"),
        (["--budget", "0"], "--budget is 0; a whole number of at least 1 is expected"),
        (["--share", "0"], "--share is 0; a number above 0 and at most 1 is expected"),
        (["--share", "most"], "--share is most; a number above 0 and at most 1 is expected"),
        (["--share", "nan"], "--share is nan; a number above 0 and at most 1 is expected"),
        (["--processes", "many"], "--processes is many; a whole number of at least 1 is expected"),
        (["--plot", "plot.txt"], "--plot is plot.txt; a name that ends in .png, .svg, .pdf is expected"),
        (["--json", "nowhere/f.json"], "--json is nowhere/f.json; its folder must exist"),
        (["--objectives", "speed,robust_accuracy"], "--objectives has 'speed'; known are "),
        (["--objectives", "robust_accuracy:up,weight_sparsity"], "a direction is min or max"),
        (["--table", "missing.csv"], "missing.csv cannot be read as a table: No such file or directory"),
        (["--table", "empty.csv"], "empty.csv cannot be read as a table: No columns to parse from file"),
        (["--table", "header.csv"], "header.csv has no rows; one for each epoch of each config is expected"),
        (["--table", "ragged.csv"], "ragged.csv cannot be read as a table: "),
        (["--table", "long.csv"], "long.csv has rows with more cells than its header"),
        (["--table", "lacking.csv"], "lacking.csv lacks the columns epoch, natural_accuracy, "),
        (["--table", "."], "cannot be read as a table: Is a directory"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    good = generated(Path("good.csv")).read_text().splitlines()
    Path("empty.csv").write_text("")
    Path("header.csv").write_text(good[0] + "\n")
    Path("ragged.csv").write_text("\n".join([*good[:3], good[3] + ",1,2", ""]))
    Path("long.csv").write_text("\n".join([good[0], *(line + ",1" for line in good[1:]), ""]))
    Path("lacking.csv").write_text("config,lr\n0,1\n")
    try:
        code = search.main(["--table", "good.csv", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("fast")
def test_a_failure_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, trial: str, epoch: int, point: Any) -> bool:
        raise ValueError("not today")

    monkeypatch.setattr(ASHA, "report", broken)
    file, figures = generated(tmp_path / "tiny.csv"), tmp_path / "figures.json"
    common = ["--table", str(file), "--seeds", "1", "--processes", "1"]
    assert search.main([*common, "--json", str(figures)]) == 1
    sentence = "ASHA on the mean failed with seed 0: ValueError: not today; it is left out"
    assert sentence in capsys.readouterr().err.splitlines()
    assert [record["method"] for record in json.loads(figures.read_text())] == [FAST[0], FAST[2]]
    assert (tmp_path / "tiny-search.png").exists()
    monkeypatch.setattr(searching, "one", lambda *_: (_ for _ in ()).throw(searching.SearchError("no")))
    assert search.main(common) == 1
    assert capsys.readouterr().err.count("no; it is left out") == len(FAST)


@pytest.mark.parametrize("columns", [{"a": ("x", "y", "z")}, {"a": (True, False)}, {"a": (1,), "b": ("u",)}])
def test_smac_ends_where_a_table_has_more_settings_than_its_values_allow(
    columns: dict[str, tuple[Any, ...]],
) -> None:
    if "smac" in searching.missing():
        pytest.skip("its package is not installed")
    settings = [
        Setting({name: each[i % len(each)] for name, each in columns.items()}, np.full((2, 2), 0.1 * i), ONES)
        for i in range(1, 9)
    ]
    ranges: dict[str, Range] = {name: Choice(each) for name, each in columns.items()}
    small = Table(("a", "b"), 2, settings, ranges, {})
    shares, _ = searching.one(small, "SMAC ParEGO", 0, 4, 16)
    assert 0 < shares[-1] <= 1


def test_the_configurations_of_a_small_space_are_counted_as_they_depend_on_each_other() -> None:
    ranges: dict[str, Range] = {"kind": Choice(("x", "y")), "x.size": Choice((1, 2, 3)), "r": Choice((0,))}
    table = Table(("a", "b"), 1, [], ranges, {"x.size": ("kind", ("x",))})
    found = list(_configurations(table, list(ranges), {}))
    assert len(found) == 4
    assert {"kind": "y", "r": 0} in found
    endless = Table(("a", "b"), 1, [], ranges | {"lr": Uniform(0.1, 1)}, table.openers)
    assert len(list(islice(_configurations(endless, list(endless.ranges), {}), 100))) == 100
