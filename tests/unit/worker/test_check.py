"""Parts that cannot be used are named, with the rule, before anything starts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from rtune.cli.app import main
from rtune.config import spec
from rtune.config.catalog import (
    ATTACK_LOSSES,
    ATTACKS,
    LOSSES,
    NETWORKS,
    PRUNERS,
    SAMPLERS,
    Attack,
    AttackLoss,
    Loss,
    Network,
    Part,
    Pruner,
    Sampler,
)
from rtune.metrics import METRICS, Metric
from rtune.registry import PartError, Registry
from rtune.worker.check import check_parts
from tests.support.parts import ShiftConfig, added

HERE = "tests.support.parts"
FIELDS: dict[type[Part], tuple[Registry[Any], str]] = {
    Network: (NETWORKS, "model.network"),
    Pruner: (PRUNERS, "pruning.method"),
    Attack: (ATTACKS, "attack.method"),
    AttackLoss: (ATTACK_LOSSES, "evaluation.loss"),
    Loss: (LOSSES, "training.loss"),
    Sampler: (SAMPLERS, "search.sampler"),
}


def search_file(path: str = "", name: str = "", **more: Any) -> spec.Spec:
    tree: dict[str, Any] = {
        "data": {"dataset": "digits"},
        "model": {"width": 2},
        "training": {"lr": {"uniform": [0.1, 0.2]}},
        **more,
    }
    section, _, field = path.partition(".")
    if section:
        tree[section] = tree.get(section, {}) | {field: name}
    return spec.from_tree(tree, {}, "test")


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        (
            Network,
            {"build": "rtune.robust:PlainNet", "settings": ShiftConfig},
            r"network 'odd' cannot be built: rtune.robust:PlainNet is called with \(in_channels=, classes=, "
            r"width=, shift=\) and raises TypeError: .*unexpected keyword argument 'shift'",
        ),
        (
            Network,
            {"build": f"{HERE}:plain_module"},
            "network 'odd' cannot be used: .* gives a Linear; a rtune.robust.models.parts.Network is expect",
        ),
        (
            Network,
            {"build": f"{HERE}:NoRule"},
            "network 'odd' cannot be used: .* has no compaction: a Sequential cannot be compacted: it has no",
        ),
        (
            Network,
            {"build": f"{HERE}:NoMembers"},
            "has no compaction: .* unexpected keyword argument 'members'",
        ),
        (
            Network,
            {"build": f"{HERE}:TooFewClasses"},
            r"output of shape \(2, 9\); logits of shape \(2, 10\) are",
        ),
        (
            Network,
            {"build": f"{HERE}:TooManyChannels"},
            r"called with images of shape \(1, 8, 8\) and raises Runtime",
        ),
        (
            Pruner,
            {"build": f"{HERE}:Fixed", "settings": ShiftConfig},
            r"called with \(network, shift=\) and raises",
        ),
        (Pruner, {"build": "builtins:id"}, "gives a int; a rtune.robust.pruning.base.Pruner is expected"),
        (
            Attack,
            {"build": "rtune.robust:PGD", "trains": True},
            "attack 'odd' cannot be built: .* raises TypeError",
        ),
        (
            Loss,
            {"build": "rtune.robust:CrossEntropy", "settings": ShiftConfig},
            r"with \(shift=\) and raises",
        ),
        (Loss, {"build": "builtins:dict"}, "gives a dict; an object that can be called is expected"),
        (
            AttackLoss,
            {"build": f"{HERE}:Unhashable"},
            "attack loss 'odd' cannot be used: it must be hashable",
        ),
        (
            AttackLoss,
            {"build": f"{HERE}:unclean_loss"},
            "attack loss 'odd' .* it has no attribute needs_clean",
        ),
        (
            Sampler,
            {"build": f"{HERE}:shifted"},
            r"sampler 'odd' cannot be built: .* \(seed=\) and raises TypeError",
        ),
        (
            Sampler,
            {"build": "builtins:dict"},
            "gives a dict; a optuna.samplers._base.BaseSampler is expected",
        ),
        (
            Sampler,
            {"mixes": {"tpee": 1.0}},
            "sampler 'odd' mixes 'tpee'; a sampler can mix random, tpe, nsga2, gp",
        ),
        (Sampler, {"mixes": {"auto": 1.0}}, "sampler 'odd' mixes 'auto'; a sampler can mix random"),
        (Loss, {"build": "a:b", "package": "timm_x"}, "odd needs the package timm_x, which is not installed"),
        (Loss, {"build": "no_colon"}, "'module:attribute' is expected"),
    ],
)
def test_a_part_that_does_not_fit_is_named_with_the_rule(
    kind: type[Part], fields: dict[str, Any], sentence: str
) -> None:
    registry, path = FIELDS[kind]
    with added(registry, kind(name="odd", label="o", about="o", **fields)):
        with pytest.raises(PartError, match=sentence):
            check_parts(search_file(path, "odd"))
        check_parts(search_file())  # nothing uses it


def test_a_part_that_only_some_trials_use_is_checked_in_the_settings_of_one_of_them() -> None:
    odd = Network(name="odd", label="o", about="o", build="rtune.robust:PlainNet", settings=ShiftConfig)
    with added(NETWORKS, odd):
        for more in (
            {"model": {"network": {"choice": ["resnet", "odd"]}}},
            {"points": [{"model.network": "odd"}]},
        ):
            with pytest.raises(PartError, match="network 'odd' cannot be built"):
                check_parts(search_file(**more))


def test_metrics_name_functions() -> None:
    for measure, sentence in (("", "metric 'odd' has no measure"), ("math:pi", "math:pi is no function")):
        with added(METRICS, Metric("odd", "odd", True, measure)), pytest.raises(PartError, match=sentence):
            check_parts(search_file())


def test_torchs_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    check_parts(search_file("model.network", "enresnet"))
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))


def test_a_dry_run_and_a_search_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with added(NETWORKS, Network(name="odd", label="o", about="o", build=f"{HERE}:plain_module")):
        said = []
        for options in ([], ["--dry-run"]):
            done = CliRunner().invoke(main, ["search", "digits", "--set", "model.network=odd", *options])
            assert done.exit_code == 2, done.output
            said.append(done.stderr)
    assert said[0] == said[1]
    assert said[0].startswith("rtune: network 'odd' cannot be used")
    assert list(tmp_path.iterdir()) == []
