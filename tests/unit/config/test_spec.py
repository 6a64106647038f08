"""Search files: what is accepted, and one clear sentence for what is not."""

import contextlib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rtune.config import ranges, spaces, spec
from rtune.config.json_schema import search_file_schema
from rtune.config.reading import texts
from rtune.errors import SpecError

GOOD = """\
data: {dataset: digits}
model:
  network: {choice: [resnet, enresnet]}
  enresnet:
    gamma: {uniform: [0, 0.2]}
attack:
  epsilon: 8/255
pruning:
  method: {choice: [none, rvsm]}
  rvsm:
    beta: {log_uniform: [1e-3, 1]}
training: {max_epochs: 9}
"""


def load(tmp_path: Path, text: str, *overrides: tuple[str, Any]) -> spec.Spec:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    return spec.load(file, overrides)


def test_a_file_becomes_settings_and_ranges(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert found.file.attack.epsilon == 8 / 255
    assert found.ranges["pruning.rvsm.beta"] == ranges.Uniform(1e-3, 1, log=True)
    # Selectors come first, so that a sampler knows what they open.
    assert list(found.ranges)[:2] == ["model.network", "pruning.method"]
    assert found.search.early_stopping.levels(found.max_epochs) == [1, 3]


def test_a_method_opens_its_own_parameters(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert found.is_active("pruning.rvsm.beta", {"pruning.method": "rvsm"})
    assert not found.is_active("pruning.rvsm.beta", {"pruning.method": "none"})
    assert found.is_active("model.network", {})
    config = found.trial_config(
        {"pruning.method": "rvsm", "pruning.rvsm.beta": 0.5, "model.network": "resnet"}
    )
    assert config.pruning.rvsm.beta == 0.5


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    config = load(tmp_path, "pruning: {rvsm: {beta: {log_uniform: [0.01, 1]}}}").file
    assert (config.data.dataset, config.model.depth, config.model.width) == ("cifar10", 20, 16)
    assert (config.attack.steps, config.attack.epsilon, config.attack.step_size) == (10, 8 / 255, 2 / 255)
    assert (config.evaluation.steps, config.evaluation.random_start) == (20, False)
    training = config.training
    assert (training.max_epochs, training.batch_size, training.lr) == (200, 128, 0.1)
    assert (training.momentum, training.weight_decay, training.milestones) == (0.9, 5e-4, [0.4, 0.6, 0.8])


@pytest.mark.parametrize("name", spaces.built_in())
def test_built_in_spaces_are_valid_and_round_trip(name: str) -> None:
    found = spec.load(spaces.built_in()[name])
    again = spec.from_tree(yaml.safe_load(yaml.safe_dump(found.to_tree())), {}, "again")
    assert again.file == found.file
    assert again.ranges == found.ranges
    assert found.file.description
    jsonschema.validate(
        yaml.safe_load(spaces.built_in()[name].read_text().replace("1e-", "1.0e-")), search_file_schema()
    )


def test_depth_counts_only_where_the_network_has_it(tmp_path: Path) -> None:
    text = "model: {network: {choice: [plain, mobilenet]}, depth: {choice: [20, 32]}}"
    found = load(tmp_path, text)
    assert found.is_active("model.depth", {"model.network": "plain"})
    assert not found.is_active("model.depth", {"model.network": "mobilenet"})
    with pytest.raises(
        SpecError,
        match=r"s\.yaml:1: model\.depth is given, but model\.network is mobilenet, "
        r"never resnet or enresnet or plain$",
    ):
        load(tmp_path, "model: {network: mobilenet, depth: 20}")
    # Named on the command line, a network without it drops it; a run folder's own file stays readable.
    fixed = load(tmp_path, text + "\nattack: {steps: {choice: [1, 2]}}", ("model.network", "mobilenet"))
    assert list(fixed.ranges) == ["attack.steps"]
    tree = fixed.to_tree()
    assert set(tree["model"]) == {"network", "width", "mobilenet"}
    again = load(tmp_path, yaml.safe_dump(tree))
    assert again.file == fixed.file.model_copy(update={"model": again.file.model})
    assert again.file.model.mobilenet == fixed.file.model.mobilenet


def test_the_spaces_hold_the_papers_settings() -> None:
    for name in ("cifar10-rvsm", "cifar10-rgsm", "cifar10-admm", "cifar10-enresnet", "cifar100-rgsm"):
        found = spec.load(spaces.built_in()[name])
        for point in found.points:
            for path, value in point.items():
                assert found.ranges[path].holds(value), (name, path)
    paper = spec.load(spaces.built_in()["cifar10-paper"])
    assert not paper.ranges
    assert paper.trials == len(paper.points) == 20
    assert paper.search.early_stopping is None


WRONG = {
    "model.widht=8": "model.widht is an unknown field; did you mean width?",
    "model.width='8'": "model.width is '8'; it must be a",
    "model.width=0": "model.width is 0; it must be greater than or equal to 1",
    "model.depth=21": "model.depth is 21; it must be 20, 32, 38, 44, 56 or 110",
    "model={network: wideresnet, wideresnet: {depth: 35}}": "model.wideresnet.depth is 35; it must be "
    "6 m + 4 with a whole m, such as 10, 28, 34 or 40",
    "model={network: wideresnet, wideresnet: {depth: 4}}": "depth is 4; it must be greater than or",
    "model={network: wideresnet, wideresnet: {depth: {choice: [28, 30]}}}": "depth is 30; it must be 6 m + 4",
    "model={network: wideresnet, wideresnet: {depth: {int_uniform: [28, 40]}}}": "depth is 29; it must be 6",
    "points=[{model.network: mobilenet, model.depth: 20}]": "points.0.model.depth is given, but "
    "model.network is mobilenet",
    "model.network=vgg": "model.network is 'vgg'; it must be 'resnet', 'enresnet', 'plain', 'wideresnet' or",
    "attack.epsilon=.nan": "attack.epsilon is nan; it must be",
    "data.dataset=mnist": "data.dataset is 'mnist'; it must be 'digits', 'fashion-mnist',",
    "pruning.method=rvms": "pruning.method is 'rvms'; it must be 'none', 'rvsm', 'rgsm' or 'admm'",
    "pruning.method={choice: [rvsm, x]}": "pruning.method is 'x'; it must be",
    "pruning.method={choice: []}": "pruning.method has an empty choice",
    "pruning.method={choice: [rvsm, rvsm]}": "each value may be listed once",
    "pruning.rvsm.beta={uniform: [1, 0.1]}": "which is reversed; low must be below high",
    "pruning.rvsm.beta={uniform: [1, 1]}": "which is empty; low must be below high",
    "pruning.rvsm.beta={log_uniform: [0, 1]}": "low must be above 0 on a logarithmic scale",
    "pruning.rvsm.beta={uniform: [-1, 1]}": "pruning.rvsm.beta is -1.0; it must be greater than 0",
    "pruning.rvsm.beta={uniform: 3}": "a list is expected",
    "pruning.rvsm.beta={uniform: [1]}": "two numbers are expected, low and high",
    "pruning.rvsm.beta={range: [1, 2]}": "a range is one of uniform, log_uniform",
    "model.width={int_uniform: [1, 2.5]}": "two whole numbers are expected",
    "model.width={uniform: [2, 5]}": "it must be a whole number",
    "model.depth={int_uniform: [20, 38]}": "model.depth is 21; it must be 20, 32, 38, 44, 56 or 110",
    "pruning.admm.rho=0.1": "pruning.admm is given, but pruning.method is none or rvsm, never admm",
    "search.trials={choice: [1, 2]}": "cannot be searched, a plain value is expected",
    "training.max_epochs={choice: [1, 2]}": "cannot be searched",
    "search.trials=0": "search.trials is 0; it must be greater than or equal to 1",
    "search.early_stopping={grace: 30}": "grace is 30; it must not be above training.max_epochs, 9",
    "search.early_stopping={eta: 1}": "search.early_stopping.eta is 1; it must be greater than or equal to 2",
    "search.objectives=[natural_accuracy]": "search.objectives is ['natural_accuracy']; it must",
    "search.objectives=[natural_accuracy, speed]": "search.objectives.1 is 'speed'; it must be",
    "search.objectives=[natural_accuracy, natural_accuracy]": "each objective may be listed once",
    "search.time_budget=3x": "search.time_budget is '3x'; a time is a number with s, m, h or d, such as 30m",
    "search.gpus_per_trial=1.5": "above 1 it must be a whole number",
    "search=null": "search is None; it must be a mapping of fields",
    "training=[1]": "training is [1]; it must be a mapping of fields",
    "points=[{pruning.method: none, pruning.rvsm.beta: 0.1}]": "is given, but pruning.method is none",
    "points=[{model.widht: 1}]": "model.widht is not a field that can be searched; did you mean width?",
    "points=[{model.width: -1}]": "points.0.model.width is -1; it must be",
    "attack.epsilon=8": "it must be from 1e-06 to 1, in units of pixels in [0, 1]; did you mean 8/255?",
    "evaluation.epsilon=8": "evaluation.epsilon is 8; it must be from 1e-06 to 1",
    "evaluation.steps=100001": "evaluation.steps is 100001; it must be from 1 to 100000",
    "attack.step_size=20": "attack.step_size is 20; it must be from 1e-06 to 1",
    "attack.epsilon={uniform: [0.1, 8]}": "attack.epsilon is 8.0; it must be from 1e-06 to 1",
    "points=[{attack.epsilon: 8}]": "points.0.attack.epsilon is 8; it must be from 1e-06 to 1",
    "points=[{model.network: [1]}]": "model.network is [1]; it must be a number, a text, true or false",
    "attack.epsilon='0,07'": "attack.epsilon is '0,07'; it must be a number; did you mean 0.07?",
    "training.max_epochs='010'": "training.max_epochs is '010'; it must be a whole number; did you mean 10?",
    "training.max_epochs='0x10'": "training.max_epochs is '0x10'; it must be a whole number; write a decimal",
    "training.max_epochs=1000000000": "training.max_epochs is 1000000000; it must be from 1 to 1000000",
    "training.milestones=[0.9, 0.5]": "is [0.9, 0.5]; it must be ascending fractions between 0 and 1",
    "training.milestones=[0.5, 0.5]": "it must be ascending fractions between 0 and 1",
    "training.milestones=[1.0]": "it must be ascending fractions between 0 and 1",
    "training.weight_decay=5": "training.weight_decay is 5; it must be from 0 to 1",
    "training.lr={choice: [1, 1.0]}": "two are the same",
    "training.lr={uniform: [1, .inf]}": "a bound is too large, or no number",
    "model.width={log_int_uniform: [1, 99999999999999999999]}": "a bound is too large, or no number",
    "model.width={int_uniform: [-99999999999999999999, 5]}": "a bound is too large, or no number",
    "model.width=99999999999999999999": "model.width is 99999999999999999999; it must be less than",
    "data.flip=maybe": "data.flip is 'maybe'; it must be true or false",
    "data.folder=''": "data.folder is ''; it must be the path of a folder, or null",
    "search.time_budget=1h 30": "a time is a number with s, m, h or d, such as 30m or 1h30m",
    "search.time_budget=99999d": "search.time_budget is 8639913600.0; it must be from 0 to 315360000",
    "search.gpus_per_trial=1.0e-300": "it must be 0, or from 0.001 to 10000",
    "1=2": "1 is an unknown field",
    "points=[{search.trials: 1}]": "search.trials is not a field that can be searched",
}


@pytest.mark.parametrize("override", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, override: str) -> None:
    path, _, value = override.partition("=")
    with pytest.raises(SpecError) as error:
        load(tmp_path, GOOD, (path, yaml.safe_load(value)))
    assert WRONG[override] in str(error.value)
    assert "\n" not in str(error.value)


def test_errors_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"s\.yaml:5: model\.enresnet\.gamma is -1"):
        load(tmp_path, GOOD.replace("gamma: {uniform: [0, 0.2]}", "gamma: -1"))
    with pytest.raises(SpecError, match=r"s\.yaml:14: training is given twice"):
        load(tmp_path, GOOD + "\ntraining: {lr: 1}")
    with pytest.raises(SpecError, match=r"s\.yaml:2: not valid YAML"):
        load(tmp_path, "a: 1\n  b: 2")
    with pytest.raises(SpecError, match="a mapping of fields is expected"):
        load(tmp_path, "- 1")
    with pytest.raises(SpecError, match="nothing is searched"):
        load(tmp_path, "data: {dataset: digits}")


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not valid YAML"):
        load(tmp_path, "data: !!python/object/apply:os.system ['true']")


def test_the_json_schema_takes_what_the_docs_show_and_no_more() -> None:
    good = {
        "attack": {"epsilon": "8/255"},
        "evaluation": {"epsilon": "8/255"},
        "search": {"time_budget": "30m"},
        "model": {"network": {"choice": ["plain", "mobilenet"]}, "wideresnet": {"depth": {"choice": [28]}}},
    }
    jsonschema.validate(good, search_file_schema())
    for bad in (
        {"model": {"widht": 8}},
        {"model": {"mobilenet": {"depth": 20}}},
        {"model": {"wideresnet": {"depth": 4}}},
        {"attack": {"epsilon": "big"}},
        {"training": {"max_epochs": {"choice": [1]}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, search_file_schema())


def test_setting_the_method_drops_the_others_parameters(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD, ("pruning.method", "none"))
    assert "pruning.rvsm.beta" not in found.ranges
    with pytest.raises(SpecError, match=r"pruning\.rvsm is given, but pruning\.method is none"):
        load(tmp_path, GOOD, ("pruning.method", "none"), ("pruning.rvsm.beta", 0.5))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_no_content_gives_a_traceback(value: Any) -> None:
    for tree in (
        {"model": value},
        {"pruning": {"rvsm": {"beta": value}}},
        {"points": value},
        {"search": {"time_budget": value}},
    ):
        with contextlib.suppress(SpecError):
            spec.from_tree(tree, {}, "file")


def test_texts_are_read_as_the_field_means_them(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "description: 8/255\nmodel: {depth: {choice: [20, 32]}}\n"
        "attack: {epsilon: 8 / 255, random_start: off}\n"
        "training: {lr: {uniform: [1/10, 1 / 2]}, max_epochs: 1_000}\n"
        "data: {flip: yes, folder: no}\npoints: [{training.lr: 1/4, attack.random_start: On}]",
    )
    assert (found.file.description, found.file.attack.epsilon, found.max_epochs) == ("8/255", 8 / 255, 1000)
    assert found.ranges["training.lr"] == ranges.Uniform(0.1, 0.5)
    assert (found.file.attack.random_start, found.file.data.flip) == (False, True)
    assert Path(found.file.data.folder).name == "no"
    assert found.points == [{"training.lr": 0.25, "attack.random_start": True}]


def test_a_saved_search_file_that_breaks_a_newer_rule_is_read() -> None:
    tree = {
        "attack": {"epsilon": 8.0, "step_size": 20.0},
        "evaluation": {"epsilon": 8.0},
        "training": {"milestones": [0.9, 0.5, 1.0], "lr": {"uniform": [0.1, 1e40]}, "weight_decay": 5.0},
        "points": [{"attack.epsilon": 9.0}],
    }
    found = spec.from_tree(tree, {}, "saved")
    assert (found.file.attack.epsilon, found.trial_config({}).training.milestones) == (8.0, [0.9, 0.5, 1.0])


def test_times() -> None:
    assert [texts.seconds(t) for t in ("90", "90s", "1.5m", "2h", "1d")] == [90, 90, 90, 7200, 86400]
    assert [texts.seconds(t) for t in ("1h30m", "1d 2h", " 1h 0.5m 3s ")] == [5400, 93600, 3633]
    for wrong in ("", " ", "30m1h", "1h30", "12:30", "1h1h", "h", "-3s", "1e3", "٣"):
        with pytest.raises(ValueError, match="a time is a number"):
            texts.seconds(wrong)


def test_names_agree_with_the_science() -> None:
    from typing import get_args

    from rtune.config.catalog import DATASETS
    from rtune.config.sections import ModelConfig
    from rtune.robust.data import SOURCES
    from rtune.robust.models import DEPTHS

    assert tuple(part.name for part in DATASETS.own()) == tuple(SOURCES)
    assert get_args(ModelConfig.model_fields["depth"].annotation) == DEPTHS
