"""A small search space, made-up curves of its trials, and workers that finish epochs in any order."""

import json
from typing import Any

from hypothesis import strategies as st

from rtune.config import spec
from rtune.run import schema
from rtune.search.plan import Plan, of_spec
from rtune.search.state import Search

TREE = {
    "data": {"dataset": "digits"},
    "model": {"network": {"choice": ["resnet", "enresnet"]}, "enresnet": {"gamma": {"uniform": [0, 0.3]}}},
    "pruning": {
        "method": {"choice": ["rvsm", "rgsm"]},
        "rvsm": {"beta": {"log_uniform": [0.01, 1]}, "penalty": {"choice": ["l0", "l1"]}},
        "rgsm": {"lambda_1": {"log_uniform": [0.01, 1]}},
    },
    "training": {"max_epochs": 9, "batch_size": {"int_uniform": [16, 128]}},
    "points": [{"pruning.method": "rgsm", "pruning.rgsm.lambda_1": 0.05, "model.width": 4}],
}


def make_spec(sampler: str = "tpe", trials: int = 12) -> spec.Spec:
    return spec.from_tree({**TREE, "search": {"sampler": sampler, "trials": trials, "seed": 3}}, {}, "test")


def make_plan(sampler: str = "tpe", trials: int = 12) -> Plan:
    return of_spec(make_spec(sampler, trials))


def metrics(trial: str, epoch: int) -> dict[str, Any]:
    """Some curve that differs from trial to trial."""
    level = (int(trial[1:]) * 37 % 11) / 11
    grown = level * epoch / 9
    values = {"natural_accuracy": grown, "robust_accuracy": grown / 2, "weight_sparsity": 1 - level}
    return {name: values.get(name, 1) for name in schema.epoch()}


def drive(search: Search, choices: st.DataObject | None, workers: int = 3, steps: int = 10_000) -> None:
    """Workers that finish epochs in any order; now and then a trial breaks."""
    running: list[str] = []
    for _ in range(steps):
        while len(running) < workers and (trial := search.next_trial()) is not None:
            running.append(trial.id)
        assert sorted(search.under_way()) == sorted(running)
        if not running:
            return
        pick = choices.draw(st.integers(0, len(running) - 1)) if choices else 0
        name = running[pick]
        fate = choices.draw(st.integers(0, 19)) if choices else 9
        if fate < 2:
            search.end(name, ("diverged", "failed")[fate], "why")
            running.remove(name)
        elif not search.report(
            name, search.ledger.trials[name].epoch + 1, metrics(name, search.ledger.trials[name].epoch + 1)
        ):
            running.remove(name)


def picture(search: Search) -> Any:
    trials = {k: (t.values, t.seed, t.status, t.epoch) for k, t in search.ledger.trials.items()}
    told = search.suggester.observations(list(search.ledger.trials.values()))
    study = [(t.state.name, t.params, t.values, t.system_attrs) for t in told]
    rungs = [
        (
            r.level,
            sorted(r.recorded),
            sorted(n for n in r.recorded if r.fronts.is_waiting(n)),
            [sorted(names) for names in r.fronts.ranked()],
        )
        for bracket in search.halving.brackets
        for r in bracket
    ]
    return json.loads(json.dumps([trials, rungs, study]))
