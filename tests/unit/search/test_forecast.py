"""Where unfinished trials are heading, and what a sampler is told of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtune.config import spec
from rtune.config.ranges import Uniform
from rtune.pareto.objectives import Objective
from rtune.run.ledger import Trial
from rtune.search.forecast import Forecast
from rtune.search.plan import Plan, of_spec
from rtune.search.suggestions import OptunaSuggester


def line(start: float, gain: float) -> np.ndarray:
    """A curve of three epochs in two objectives."""
    return np.array([[start, 0.0], [start + gain / 2, 0.0], [start + gain, 0.5]])


def test_forecast_is_the_last_value_with_few_finished_trials() -> None:
    assert Forecast([line(0.1, 0.2)] * 2)(1, [0.3, 0.2]).tolist() == [0.3, 0.2]


def test_forecast_adds_the_gain_of_similar_finished_trials() -> None:
    """Low starters gain 0.6, high ones 0.1; the average of all has the weight of half a trial."""
    forecast = Forecast([line(0.1, 0.6)] * 20 + [line(0.9, 0.1)] * 20)
    assert forecast(1, [0.1, 0.0])[0] == pytest.approx(0.7, abs=0.02)
    assert forecast(1, [0.9, 0.0])[0] == pytest.approx(1.0, abs=0.02)
    assert forecast(1, [0.1, 0.0])[1] == pytest.approx(0.5)
    far = forecast(1, [0.5, 0.0])
    assert far[0] == pytest.approx(0.5 + 0.35, abs=1e-6)  # close to nobody: the average gain


@given(st.lists(st.floats(0, 1), min_size=3, max_size=9), st.floats(0, 1), st.integers(1, 3))
def test_forecasts_lie_between_the_least_and_the_largest_gain(
    gains: list[float], now: float, epoch: int
) -> None:
    curves = [line(0.2, gain) for gain in gains]
    left = [curve[-1, 0] - curve[epoch - 1, 0] for curve in curves]
    found = Forecast(curves)(epoch, [now, 0.0])[0]
    assert now + min(left) - 1e-9 <= found <= now + max(left) + 1e-9


@pytest.mark.parametrize("sampler", ["auto", "random", "tpe", "nsga2", "gp"])
def test_every_sampler_suggests_from_a_conditional_space_with_all_kinds_of_trials(sampler: str) -> None:
    found = spec.from_tree(
        {
            "data": {"dataset": "digits"},
            "training": {"max_epochs": 2, "batch_size": {"int_uniform": [16, 64]}},
            "pruning": {
                "method": {"choice": ["rvsm", "rgsm"]},
                "rvsm": {"beta": {"log_uniform": [0.01, 1]}},
                "rgsm": {"lambda_1": {"log_uniform": [0.01, 1]}},
            },
            "search": {"sampler": sampler},
        },
        {},
        "test",
    )
    plan = of_spec(found)
    suggest = OptunaSuggester(plan).suggest
    trials: list[Trial] = []
    sources = set()
    rng = np.random.default_rng(0)
    for i in range(14):
        values, facts, source = suggest(trials, {})
        assert suggest(trials, {}) == (values, facts, source)  # the log and the seed decide, nothing else
        assert found.trial_config(values)
        assert all(plan.is_active(path, values) for path in values)
        trial = Trial(f"t{i}", i, values, sampler, facts)
        for epoch in range(1 + (i % 2)):
            record = dict(zip([o.name for o in plan.objectives], rng.random(3), strict=True))
            trial.epochs.append({"epoch": epoch + 1, **record})
        trial.status = ("stopped", "finished", "diverged", "finished", "failed", "finished", "running")[i % 7]
        sources.add(source)
        trials.append(trial)
    assert sources == ({"tpe", "random"} if sampler == "auto" else {sampler})
    told = OptunaSuggester(plan).observations(trials)
    worst = min(min(t.values) for t, k in zip(told, trials, strict=True) if k.status == "finished")
    for frozen, trial in zip(told, trials, strict=True):
        if trial.status == "diverged":
            assert max(frozen.values) < worst
        if trial.status == "failed":
            assert frozen.state.name == "FAIL"


def test_random_suggestions_need_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(
        (Objective("a"), Objective("b")),
        3,
        9,
        {"x": Uniform(0.0, 1.0)},
        lambda path, values: True,
        sampler="random",
    )
    trials = [Trial(f"t{n:04d}", n, {"x": 0.5}, "random") for n in range(1, 5)]
    before = OptunaSuggester(plan).suggest(trials, {})
    monkeypatch.setattr(OptunaSuggester, "observations", lambda *_: pytest.fail("the history is told"))
    assert OptunaSuggester(plan).suggest(trials, {}) == before
    assert OptunaSuggester(plan).suggest(trials[:3], {}) != before  # each trial has a draw of its own
    assert OptunaSuggester(plan).suggest(trials, {"x": 0.25})[0] == {"x": 0.25}
