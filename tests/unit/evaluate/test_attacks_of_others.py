"""Attacks of other packages: the arguments they are built with, and those that cannot be built."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import analysis
from rtune.cli.app import main
from rtune.config.catalog import ATTACKS, Attack
from rtune.config.sections import trial_config
from rtune.worker import build
from tests.support.parts import StrictConfig, added


def evaluate(run: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", str(run), *args])


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (
            {"build": "rtune.robust.attacks:natural"},
            "attack 'odd' cannot be built: rtune.robust.attacks:natural is called with (epsilon=) and raises "
            "TypeError",
        ),
        ({"build": "builtins:dict"}, "attack 'odd' cannot be used: builtins:dict gives a dict; an object"),
        ({"build": "no.such:attack"}, "attack 'odd' cannot be imported from no.such:attack"),
    ],
)
def test_an_attack_that_cannot_be_built_is_said_before_anything_runs(
    part: dict[str, str], sentence: str, run: Path
) -> None:
    with added(ATTACKS, Attack(name="odd", label="o", about="o", **part)):
        done = evaluate(run, "--attacks", "natural,odd")
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (run / "evaluations").exists()


def test_an_attack_of_the_training_gets_the_same_arguments_in_an_evaluation(run: Path) -> None:
    own = {"steps": 4, "steps_have_length": True, "restarts": True, "eot": True, "trains": True}
    strict = Attack(
        name="strict", label="s", about="s", build="tests.support.parts:Strict", settings=StrictConfig, **own
    )
    given = ("epsilon", "step_size", "steps", "restarts", "eot_draws", "random_start", "loss", "strength")
    with added(ATTACKS, strict):
        tree = {"attack": {"method": "strict"}, "evaluation": {"method": "strict"}}
        trial = trial_config().model_validate(tree)
        for config in (trial.attack, trial.evaluation):
            assert tuple(build.attack(config).given) == given
        done = evaluate(run, "--trials", "t0002", "--attacks", "strict,eot-strict-2", "--noise-draws", "1")
    assert done.exit_code == 0, done.output
    assert list(analysis.evaluations(run)["attack"]) == ["strict-4(strength=2)", "eot-strict-2(strength=2)"]
