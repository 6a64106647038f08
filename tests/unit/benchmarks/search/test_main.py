"""benchmarks.search: every method on a recorded table, and the command."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.search import __main__ as search
from benchmarks.search import methods
from benchmarks.search.peers import ASHA, RandomOrder
from benchmarks.search.tables import Table, load
from tests.support.recorded import OBJECTIVES, generated


# Two objectives; the third setting diverges in its second epoch.
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
def test_every_method_searches_reproducibly_from_a_seed(table: Table, name: str) -> None:
    # Enough for the models of the samplers, which start after ten networks.
    budget = 39
    if name not in methods.makers(table, budget):
        pytest.skip("its package is not installed")
    shares, seconds = methods.one(table, name, 3, 2, budget)
    assert shares.shape == (budget,)
    assert 0 < shares[-1] <= 1
    assert seconds > 0
    assert (methods.one(table, name, 3, 2, budget)[0] == shares).all()


def test_full_trainings_reach_the_whole_hypervolume(table: Table) -> None:
    for name in ("random, full length", "Optuna NSGA-II"):
        assert methods.one(table, name, 0, 3, 100)[0][-1] == pytest.approx(1)


def test_makers_lists_all_methods_with_installed_packages(table: Table) -> None:
    absent = {name for names in methods.missing().values() for name in names}
    assert list(methods.makers(table, 24)) == [name for name in NAMES if name not in absent]


def test_error_of_a_failed_method_contains_its_name(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, trial: str, epoch: int, point: Any) -> bool:
        raise ValueError("not today")

    monkeypatch.setattr(RandomOrder, "report", broken)
    with pytest.raises(methods.SearchError) as failure:
        methods.one(table, "random, full length", 5, 2, 24)
    assert str(failure.value) == "random, full length failed with seed 5: ValueError: not today"


def test_share_draws_other_settings_for_each_seed(table: Table) -> None:
    parts = [table.part(0.5, seed) for seed in (0, 1, 0)]
    names = [[id(setting) for setting in part.settings] for part in parts]
    assert names[0] == names[2] != names[1]
    everything = [id(setting) for setting in table.settings]
    assert all(len(n) == round(len(everything) / 2) and set(n) <= set(everything) for n in names)
    assert [n for n in everything if n in names[0]] == names[0]
    assert [id(setting) for setting in table.part(1.0, 5).settings] == everything
    # A search has its part alone, and what it reaches is measured against that.
    for seed in range(3):
        shares, _ = methods.one(table, "random, full length", seed, 3, 100, 0.5)
        assert shares[-1] == pytest.approx(1)
        assert (shares[:-1] <= 1 + 1e-9).all()


@pytest.mark.usefixtures("fast")
def test_command_with_share_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, figures = generated(tmp_path / "tiny.csv"), tmp_path / "figures.json"
    common = ["--table", str(file), "--seeds", "2", "--budget", "200", "--processes", "1"]
    assert search.main([*common, "--share", "0.5", "--json", str(figures)]) == 0
    assert "a random fraction 0.5 of the settings" in capsys.readouterr().out
    random, *_ = json.loads(figures.read_text())
    assert random["final_hypervolume_quartiles"] == [1, 1]


FAST = ("random, full length", "ASHA on the mean", "rtune")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick methods alone; the others have their own test."""
    makers = methods.makers
    monkeypatch.setattr(methods, "makers", lambda t, b: {n: m for n, m in makers(t, b).items() if n in FAST})


@pytest.mark.usefixtures("fast")
def test_command_prints_tables_and_writes_json_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, figures = generated(tmp_path / "tiny.csv"), tmp_path / "figures.json"
    common = ["--table", str(file), "--seeds", "3", "--workers", "2", "--budget", "30", "--processes", "1"]
    assert search.main([*common, "--json", str(figures)]) == 0
    out, err = capsys.readouterr()
    assert "Only fully trained networks count" in out
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
def test_missing_package_is_reported_with_the_install_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods.peers, "PACKAGES", {"no_such_package": ("SMAC ParEGO",)})
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
def test_bad_input_gives_one_line_and_exit_code_2(
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
def test_failed_method_is_reported_in_one_line_and_left_out(
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
    monkeypatch.setattr(methods, "one", lambda *_: (_ for _ in ()).throw(methods.SearchError("no")))
    assert search.main(common) == 1
    assert capsys.readouterr().err.count("no; it is left out") == len(FAST)
