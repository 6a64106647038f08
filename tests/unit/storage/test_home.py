"""`~` in a path, which a shell leaves as it is in `--runs=~/runs`."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from rtune.cli.app import main
from rtune.errors import UsageError
from rtune.run.folder import find_run
from rtune.storage.home import expand
from rtune.storage.places import place
from tests.support.run_folders.untrained import make


def test_it_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand("~/runs") == tmp_path / "runs"
    assert expand("~") == tmp_path
    assert expand("a/~/b") == Path("a/~/b")
    assert place("~/runs").local == tmp_path / "runs"


@pytest.mark.parametrize("path", ["~nobody-has-this-name/runs", "~nobody-has-this-name"])
def test_an_unknown_user_is_named(path: str) -> None:
    with pytest.raises(
        UsageError, match=f"^{path} cannot be used: the home of ~nobody-has-this-name is unknown"
    ):
        expand(path)


def test_each_path_of_a_command_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    make(tmp_path, "run")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "there")
    assert find_run("~/run").place.local == tmp_path / "run"
    assert find_run("run", "~").place.local == tmp_path / "run"
    done = CliRunner().invoke(main, ["results", "run", "--runs=~", "--output=~/out.csv"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.csv").exists()
    (tmp_path / "mine.yaml").write_bytes(Path("/dev/null").read_bytes())
    done = CliRunner().invoke(main, ["search", "~/mine.yaml", "--dry-run"])
    assert "does not exist" not in done.output
    assert os.listdir() == []


@pytest.mark.parametrize(
    "words",
    [
        ["status", "~nobody-has-this-name/run"],
        ["status", "run", "--runs=~nobody-has-this-name"],
        ["results", "run", "--output=~nobody-has-this-name/out.csv"],
        ["report", "run", "-o", "~nobody-has-this-name/report"],
        ["export", "run", "t0001", "-o", "~nobody-has-this-name/a.pt2"],
        ["search", "~nobody-has-this-name/mine.yaml"],
        ["search", "digits", "--runs=~nobody-has-this-name/runs"],
        ["search", "digits", "--set", "data.folder=~nobody-has-this-name/data"],
    ],
)
def test_an_unknown_user_is_one_sentence(words: list[str]) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert done.output.startswith("rtune: ")
    assert "~nobody-has-this-name" in done.output
    assert len(done.output.splitlines()) == 1
    assert done.output.endswith("the home of ~nobody-has-this-name is unknown\n")
