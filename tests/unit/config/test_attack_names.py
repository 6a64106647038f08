"""Names of attacks and their settings: what is taken, and the sentence where it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtune.config import attack_names
from rtune.config.attack_names import AttackName, Settings, of_run, parse
from rtune.config.sections import EvaluationConfig
from rtune.errors import AttackNameError


def test_names_by_hand() -> None:
    found = parse("natural, fgsm,pgd-7,eot-cw,cw-l2-50,cw-l2,autoattack,pgd-7")
    assert [str(name) for name in found] == [
        "natural",
        "fgsm",
        "pgd-7",
        "eot-cw-20",
        "cw-l2-50",
        "cw-l2-200",
        "autoattack",
    ]
    assert found[3] == AttackName("cw", 20, True)


@given(
    st.lists(st.sampled_from(["pgd-3", "eot-pgd-9", "cw", "cw-l2-4", "fgsm", "natural", "ifgsm"]), min_size=1)
)
def test_a_name_printed_is_the_name_read(names: list[str]) -> None:
    found = parse(",".join(names))
    assert parse(",".join(map(str, found))) == found


def test_the_default_names_are_names() -> None:
    assert len(parse(attack_names.DEFAULT)) == len(attack_names.DEFAULT.split(","))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one attack is expected"),
        ("pdg-20", "attack 'pdg-20' is unknown"),
        ("autoatack", "did you mean autoattack?"),
        ("pgd-0", "attack 'pgd-0' has 0 steps; it must be from 1 to 100000"),
        ("cw--3", "attack 'cw--3' has -3 steps"),
        ("fgsm-3", "fgsm takes no number of steps"),
        ("eot-natural", "eot- goes with fgsm, ifgsm, pgd, cw only"),
        ("eot-cw-l2", "eot- goes with"),
        ("pgd-100001", "has 100001 steps; it must be from 1 to 100000"),
        ("pgd-" + "9" * 5000, "is unknown"),
        ("pgd-\u0663", "is unknown"),
        ("eot-autoattack", "eot- goes with"),
    ],
)
def test_bad_names(text: str, message: str) -> None:
    with pytest.raises(AttackNameError) as found:
        parse(text)
    assert message in str(found.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epsilon": 0.0}, "--epsilon is 0.0; it must be from 1e-06 to 1"),
        ({"epsilon": 8.0}, "--epsilon is 8.0; it must be from 1e-06 to 1"),
        ({"epsilon": float("nan")}, "--epsilon is nan"),
        ({"step_size": -1.0}, "--step-size is -1.0"),
        ({"epsilon_l2": 0.0}, "--epsilon-l2 is 0.0"),
        ({"restarts": 0}, "--restarts is 0; it must be from 1 to 10000"),
        ({"eot_draws": 1}, "--eot-draws is 1; it must be from 2 to 10000"),
        ({"noise_draws": 0}, "--noise-draws is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**31}, "--seed is 2147483648; it must be from 0 to 2147483647"),
    ],
)
def test_bad_settings(setting: dict[str, float], message: str) -> None:
    with pytest.raises(AttackNameError) as found:
        Settings(**{"epsilon": 0.1, "step_size": 0.02, **setting})  # type: ignore[arg-type]
    assert message in str(found.value)


def test_what_is_recorded_is_what_decides_the_figure() -> None:
    settings = Settings(0.1, 0.02, epsilon_l2=0.7, restarts=3, eot_draws=8, noise_draws=5, seed=9)

    def of(text: str, noisy: bool = True) -> dict[str, object]:
        return settings.of(parse(text)[0], noisy)

    assert of("natural")["epsilon"] is None
    assert of("natural")["noise_draws"] == 5
    assert of("natural", noisy=False)["noise_draws"] == 1
    assert (of("cw-l2")["norm"], of("cw-l2")["epsilon"]) == ("l2", 0.7)
    assert of("autoattack")["attack"] == "autoattack-rand"
    assert of("autoattack", noisy=False)["attack"] == "autoattack"
    assert of("eot-pgd-7") == {
        "attack": "eot-pgd-7",
        "norm": "linf",
        "epsilon": 0.1,
        "step_size": 0.02,
        "steps": 7,
        "restarts": 3,
        "eot_draws": 8,
        "noise_draws": 5,
        "seed": 9,
    }
    assert of("autoattack")["noise_draws"] == 1


def test_which_attacks_are_not_for_which_networks() -> None:
    left_out = {
        noisy: [str(name) for name in parse("pgd,eot-pgd,eot-cw,cw,cw-l2,autoattack") if name.unfit(noisy)]
        for noisy in (True, False)
    }
    assert left_out == {True: ["cw-l2-200"], False: ["eot-pgd-20", "eot-cw-20"]}


def test_a_value_of_the_search_file_is_named_by_its_field() -> None:
    given = {"epsilon": None, "step_size": None}
    own = EvaluationConfig(epsilon=8.0)
    with pytest.raises(AttackNameError) as found:
        of_run(own, "runs/old/search.yaml", given)
    assert str(found.value) == (
        "runs/old/search.yaml: evaluation.epsilon is 8.0; it must be from 1e-06 to 1, in units of pixels in "
        "[0, 1]; did you mean 8/255?; give --epsilon for this evaluation"
    )
    assert of_run(own, "", given | {"epsilon": 0.1}) == Settings(0.1, 0.025)
    # A quarter of the smallest radius is below the smallest step.
    assert of_run(own, "", given | {"epsilon": 1e-6}).step_size == 1e-6
    with pytest.raises(AttackNameError, match=r"search\.yaml: evaluation\.step_size is 20\.0"):
        of_run(EvaluationConfig(step_size=20.0), "search.yaml", given)
    assert of_run(EvaluationConfig(step_size=20.0), "", given | {"step_size": 0.1}) == Settings(8 / 255, 0.1)
