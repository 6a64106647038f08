"""Help that names parts has those of installed packages, and a sentence if one of these is broken."""

import pytest
from click.testing import CliRunner

from rtune.cli.app import main
from rtune.config.catalog import ATTACKS, SAMPLERS, Attack, Sampler
from rtune.registry import PartError
from tests.support.parts import added

ATTACK = Attack(
    name="square",
    label="Square",
    about="random squares",
    build="a:b",
    norm="l2",
    restarts=True,
    eot=True,
    steps=9,
)


def help_of(command: str) -> str:
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_help_lists_the_attacks_of_other_packages() -> None:
    with added(ATTACKS, ATTACK):
        text = help_of("evaluate")
    assert "square-K random squares" in text
    assert "eot- before fgsm, ifgsm, pgd, cw, square averages" in text
    assert "l2 radius of cw-l2, square." in text
    assert "Number of random starts of pgd, cw, square." in text
    assert "square" not in help_of("evaluate")


def test_help_lists_the_samplers_of_other_packages() -> None:
    with added(SAMPLERS, Sampler(name="sobol", label="Sobol", about="s", build="a:b")):
        assert "Sampler: auto, random, tpe, nsga2, gp, sobol." in help_of("search")


def test_help_with_a_broken_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise PartError("entry point 'x' cannot be imported")

    for registry, command in ((ATTACKS, "evaluate"), (SAMPLERS, "search")):
        monkeypatch.setattr(registry, "_read_entry_points", broken)
        done = CliRunner().invoke(main, [command, "--help"])
        assert done.exit_code == 2
        assert done.stderr == "rtune: entry point 'x' cannot be imported\n"
