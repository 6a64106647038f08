"""The command line on bad input: one sentence, exit code 2, nothing written."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from rtune.cli.app import main
from rtune.config import spaces
from tests.support.image_files import write_fashion_mnist

BAD = {
    "search digits --set model.widht=8": "unknown field; did you mean width?",
    "search digits --set model.width": "must be PATH=VALUE, such as model.width=8",
    "search digits --set model.width={": "is not a YAML value",
    "search digits --set model.width.x=1": "model.width.x is not a field; width is a plain value",
    "search digits --set data.x.y=1": "data.x is an unknown field",
    "search cifar10-wideresnet --set model.wideresnet.depth=35": "depth is 35; it must be 6 m + 4",
    "search digits --trials 0": "search.trials is 0; it must be greater than or equal to 1",
    "search digits --trials many": "Invalid value for '--trials'",
    "search digits --max-epochs 0": "training.max_epochs is 0",
    "search digits --sampler best": "search.sampler is 'best'; it must be 'auto', 'random', 'tpe', ",
    "search digits --set attack.method=fgsm": "is 'fgsm'; it must be 'pgd'; fgsm is for rtune evaluate only",
    "search digits --set evaluation.method=autoattack": "autoattack is for rtune evaluate only",
    "search digits --set search.early_stopping.eta=1": "early_stopping.eta is 1; it must be greater than",
    "search digits --set search.early_stopping.grace=9": "is 9; it must not be above training.max_epochs, 8",
    "search digits --set search.early_stopping.brackets=3": "brackets is 3; each needs a rung to start with, "
    "and there are 2 (epochs 2, 4)",
    "search digits --set search.objectives=[robust_accuracy,speed]": "objectives.1 is 'speed'; it must be",
    "search digits --set search.objectives=['robust_accuracy:up',macs]": "search.objectives.0 is 'robust_acc",
    "search digits --seed -1": "search.seed is -1",
    "search digits --time-budget soon": "--time-budget is 'soon'; a time is a number with s, m, h or d",
    "search digits --concurrency 0": "search.concurrency is 0",
    "search digits --gpus-per-trial 1.5": "above 1 it must be a whole number",
    "search digits --name a/b": "run name 'a/b' must be letters",
    "search digits --name taken": "run name 'taken' is taken",
    "search digits --price 2": "--price is 2; it needs --dry-run",
    "search digits --epoch-seconds 2": "--epoch-seconds is 2; it needs --dry-run",
    "search digits --dry-run --price -1": "--price is -1; it must be a number of at least 0",
    "search digits --dry-run --price nan": "--price is nan; it must be a number of at least 0",
    "search digits --dry-run --price much": "'much' is not a valid float",
    "search digits --dry-run --epoch-seconds 0": "--epoch-seconds is 0; it must be a number above 0",
    "search digits --dry-run --epoch-seconds inf": "--epoch-seconds is inf; it must be a number above 0",
    "search digits --dry-run --name taken": "run name 'taken' is taken",
    "search digits --dry-run --trials 0": "search.trials is 0",
    "search digits --dry-run --concurrency 9999": "--concurrency is 9999 and a trial needs 1 CPU",
    "search fashion-mnist-rgsm --dry-run --set data.folder=nowhere": "nowhere does not exist",
    "search digit": "did you mean digits?",
    "search digits --no-such-option": "No such option",
    "search": "Missing argument 'SPACE'",
    "find": "No such command 'find'",
    "search digits --set model.width=&a [*a]": "is not a YAML value: a value contains itself",
    f"search {'x' * 300}": "xxx... (300 characters)' is none of the built-in ones",
    f"status {'x' * 300}": "xxx... (300 characters) cannot be read: File name too long",
    "search missing.yaml": "search file missing.yaml does not exist",
    "search fashion-mnist-rgsm --set data.folder=nowhere": "nowhere does not exist",
    "resume nowhere": "nowhere is not a run folder: it does not exist",
    "resume runs": "runs is not a run folder: it has no search.yaml",
    "replicate nowhere": "nowhere is not a run folder: it does not exist",
    "replicate nowhere --seeds 1": "--seeds is 1; it must be 2 to 1000",
    "status nowhere": "nowhere is not a run folder",
    "results nowhere": "nowhere is not a run folder",
    "results nowhere --format xml": "'xml' is not one of",
    "report nowhere": "nowhere is not a run folder",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_sentence_and_exit_2(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Where the data set is asked for, no server of the world is.
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    Path("runs/taken").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(main, shlex.split(line.replace("&a [", "'&a [").replace("*a]", "*a]'")))
    assert result.exit_code == 2, result.output
    assert BAD[line] in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.output
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert left == []


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_torn_data_is_one_sentence_and_exit_2_and_nothing_starts(
    dry: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_fashion_mnist(tmp_path / "images" / "FashionMNIST" / "raw", "")
    file = tmp_path / "images" / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    before = sorted(tmp_path.rglob("*"))
    arguments = ["search", "fashion-mnist-rgsm", "--set", "data.folder=images", *dry]
    for content in (b"", file.read_bytes()[:-1]):
        file.write_bytes(content)
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, result.output
        assert str(file) in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert sorted(tmp_path.rglob("*")) == before


def test_spaces_and_schema_are_printed() -> None:
    listed = CliRunner().invoke(main, ["spaces"])
    assert [line.split()[0] for line in listed.output.splitlines()] == list(spaces.built_in())
    assert '"Range"' in CliRunner().invoke(main, ["schema"]).output
