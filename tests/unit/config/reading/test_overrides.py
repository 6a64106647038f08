"""What is set on the command line holds in every trial."""

import contextlib
import itertools
from typing import Any

import pytest
import yaml

from rtune.config import ranges, spaces, spec
from rtune.errors import SpecError
from rtune.search.plan import of_spec
from rtune.search.state import Search


def load(name: str, *sets: str) -> spec.Spec:
    pairs = (text.split("=", 1) for text in sets)
    return spec.load(spaces.built_in()[name], [(path, yaml.safe_load(value)) for path, value in pairs])


def trials(found: spec.Spec, number: int) -> list[dict[str, Any]]:
    """Settings of the first trials of a search, flat: dotted path -> value."""
    search = Search(of_spec(found, number), [], lambda record: None)
    values = [trial.values for trial in itertools.islice(iter(search.next_trial, None), number)]
    return [{**flat(found.trial_config(v).model_dump()), **v} for v in values]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        found |= inner
    return found


POINTED = [
    (name, path, value)
    for name in spaces.built_in()
    for points in [spec.load(spaces.built_in()[name]).points]
    for path in sorted({path for point in points for path in point})
    for value in sorted({point[path] for point in points if path in point}, key=repr)[:1]
]


@pytest.mark.parametrize(("name", "path", "value"), POINTED, ids=str)
def test_a_value_of_the_command_line_holds_in_every_trial(name: str, path: str, value: Any) -> None:
    """Each path of the points of each built-in space, with the value of a point and with another."""
    other: Any = {"model.network": "wideresnet", "pruning.method": "none", "model.depth": 44}.get(path)
    other = (
        other
        or {"pruning.admm.granularity": "channels"}.get(path)
        or (value + 1 if isinstance(value, int) else value * 1.01 if isinstance(value, float) else value)
    )
    points = spec.load(spaces.built_in()[name]).points
    for given in dict.fromkeys((value, other)):
        more = [("search.sampler", "random"), ("training.momentum", {"uniform": [0.8, 0.9]})]
        found = None
        with contextlib.suppress(SpecError):
            found = spec.load(spaces.built_in()[name], [*more, (path, given)])
        if found is None:  # no trial could use it, as no point is left that names its part
            assert not any(point.get(path) == given for point in points)
            continue
        assert all(trial[path] == given for trial in trials(found, len(points) + 3))
        agreeing = [p for p in points if p.get(path, given) == given]
        assert all(point in agreeing for point in found.points)
        assert bool(found.notes) == (len(found.points) < len(points))


def test_points_that_contradict_the_command_line_are_left_out_and_named_once() -> None:
    found = load("digits", "model.network=mobilenet")
    assert found.points == []
    assert {t["model.network"] for t in trials(found, 3)} == {"mobilenet"}
    found = load("digits", "pruning.method=rgsm", "pruning.rgsm.lambda_1=0.2")
    assert found.points == [
        {"model.network": "resnet", "pruning.method": "rgsm", "pruning.rgsm.lambda_1": 0.2}
        | {"pruning.rgsm.lambda_2": 0.02}
    ]
    assert found.notes == (
        "left out of the file's 4 points, because the command line says otherwise: points.0 "
        "(pruning.rgsm.lambda_1 is 0.07); points.2 (pruning.method is 'rvsm'); points.3 "
        "(pruning.rgsm.lambda_1 is 0.05)",
    )
    # A saved search file has the points that are left, so a resume says nothing and agrees.
    again = spec.from_tree(found.to_tree(), {}, "again")
    assert (again.points, again.notes) == (found.points, ())


def test_a_point_that_does_not_name_the_path_stays() -> None:
    found = load("digits", "pruning.rgsm.lambda_1=0.123")
    assert [point["pruning.method"] for point in found.points] == ["rvsm"]


def test_a_range_of_the_command_line_holds_too() -> None:
    found = load("digits", "pruning.rgsm.lambda_1={uniform: [0.1, 0.3]}", "model.network={choice: [resnet]}")
    assert [point.get("pruning.rgsm.lambda_1") for point in found.points] == [0.2, None]
    assert isinstance(found.ranges["pruning.rgsm.lambda_1"], ranges.Uniform)


def test_a_part_of_the_command_line_closes_the_settings_of_the_others(tmp_path: Any) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "model: {network: resnet}\npruning: {method: rgsm, rgsm: {beta: {uniform: [0.1, 1]}}}\n"
        "points: [{pruning.rgsm.beta: 0.3}, {model.depth: 38}, {model.width: 8}]"
    )
    found = spec.load(file, [("pruning.method", "rvsm"), ("pruning.rvsm.beta", {"uniform": [0.1, 1]})])
    assert found.points == [{"model.depth": 38}, {"model.width": 8}]
    found = spec.load(file, [("model.network", "mobilenet")])
    assert found.points == [{"pruning.rgsm.beta": 0.3}, {"model.width": 8}]
    assert "points.1 (model.depth is given, but model.network is mobilenet)" in found.notes[0]


def test_sections_that_only_points_used_do_not_stand_in_the_way() -> None:
    found = load("cifar10-paper", "model.depth=38")
    assert {point["model.depth"] for point in found.points} == {38}
    assert "admm" not in found.to_tree()["pruning"]


@pytest.mark.parametrize("order", [1, -1])
def test_overlapping_paths_hold_in_either_order(order: int) -> None:
    sets = ["pruning={method: rgsm}", "pruning.rgsm.lambda_1=0.2"][::order]
    found = load("digits", *sets)
    assert (found.file.pruning.method, found.file.pruning.rgsm.lambda_1) == ("rgsm", 0.2)
    assert [point.get("pruning.rgsm.lambda_1") for point in found.points] == [0.2]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["model.width=4", "model.width=8"], "model.width is given twice"),
        (["model={width: 4}", "model.width=8"], "model.width is given twice"),
        (["search.early_stopping=null", "search.early_stopping.eta=3"], "so is search.early_stopping"),
        (["model.width=4", "model.width.x=8"], "model.width.x is given, and so is model.width"),
        (["model.network=resnet", "points=[{model.network: mobilenet}]"], "points.0 is given, and the"),
        (["points=[{model.width: 4}]", "model.width={choice: [8, 16]}"], "model.width is 4"),
        (["pruning.method=rvsm", "points=[{pruning.rgsm.lambda_1: 0.1}]"], "pruning.method is rvsm"),
        (["points=[]", "points=[{model.width: 4}]"], "points is given twice"),
    ],
)
def test_a_command_line_that_contradicts_itself_is_refused(sets: list[str], words: str) -> None:
    for given in (sets, sets[::-1]):
        with pytest.raises(SpecError, match=r"^command line: ") as error:
            load("digits", *given)
        assert words in str(error.value)


def test_the_same_value_may_be_given_twice() -> None:
    assert load("digits", "attack.epsilon=8/255", "attack={epsilon: 8/255}").file.attack.epsilon == 8 / 255


def test_a_grid_of_which_nothing_is_left_says_why() -> None:
    with pytest.raises(SpecError, match=r"nothing is searched; .*left out of the file's 20 points"):
        load("cifar10-paper", "model.network=mobilenet")
