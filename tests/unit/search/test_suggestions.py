"""Samplers with settings of their own: alone, in a mixture, and where a plan is given another sampler."""

import pytest

from rtune.config.catalog import SAMPLERS, Sampler
from rtune.search.state import Search
from tests.support.parts import ShiftConfig, added
from tests.support.plans import make_plan

BUILD = "tests.support.parts:shifted"
SHIFTED = Sampler(name="shifted", label="s", about="s", build=BUILD, settings=ShiftConfig, informed=False)
MIX = Sampler(name="mix", label="m", about="m", mixes={"shifted": 1.0})


@pytest.mark.parametrize("name", ["shifted", "mix"])
def test_a_sampler_with_settings_suggests_alone_and_in_a_mixture(name: str) -> None:
    with added(SAMPLERS, SHIFTED, MIX):
        search = Search(make_plan(name), [], lambda record: None)
        search.next_trial()  # the point
        trial = search.next_trial()
    assert trial is not None
    assert trial.sampler == "shifted"
    assert trial.values


def test_a_plan_with_another_sampler_leaves_the_settings_of_the_first() -> None:
    with added(SAMPLERS, SHIFTED):
        planned = make_plan("shifted")
        assert planned.sampler_settings == {"shift": 1}
        search = Search(planned.sampled_by("random"), [], lambda record: None)
        search.next_trial()
        trial = search.next_trial()
    assert trial is not None
    assert trial.sampler == "random"
