"""benchmarks.paper: the verdicts, a run that was cut and goes on, and what it may not import."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from benchmarks import paper
from benchmarks.claims import rendering, statements
from benchmarks.claims.arms import Arm, RVSMUnreplaced, arms, pruner, stratified
from benchmarks.claims.presets import PRESETS, off_ladder
from benchmarks.claims.statements import Comparison, effect, interval, verdict
from benchmarks.paper import Plan, ResultsError, compare, load_results
from rtune.robust.data import Split
from rtune.robust.models import PreActResNet
from rtune.robust.pruning import weight_sparsity
from tests.support.paths import ROOT

LEFT, RIGHT = [0.91, 0.93, 0.90, 0.95, 0.92], [0.90, 0.89, 0.91, 0.90, 0.91]


def records(left: list[float], right: list[float]) -> dict[tuple[str, int], dict[str, float]]:
    made = {("a", seed): {"fgsm": value} for seed, value in enumerate(left)}
    return made | {("b", seed): {"fgsm": value} for seed, value in enumerate(right)}


def tiny(file: Path, arms_run: tuple[Arm, ...], seeds: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    preset = replace(PRESETS["digits"], width=1, train_images=40, test_images=20, eot_draws=2, draws=2)
    preset = replace(preset, recipe=replace(preset.recipe, max_epochs=1), evaluation=(0.07, 0.02, 2))
    plan = Plan(preset, arms_run, seeds, "cpu", None, "test")
    return compare(plan, 1, file, ["digits"], ["a note"])


TWO = (Arm("en2", "dense"), Arm("resnet20", "dense"))


def test_interval_agrees_with_a_paired_t_test() -> None:
    differences = (np.array(LEFT) - np.array(RIGHT)).tolist()
    expected = stats.ttest_rel(LEFT, RIGHT).confidence_interval(0.95)
    mean, low, high = interval(differences)
    assert mean == pytest.approx(np.mean(differences))
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_interval_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653.
    mean, low, high = interval([1, 2, 3])
    assert (mean, high - mean, mean - low) == pytest.approx(
        (2, 4.302653 / math.sqrt(3), 4.302653 / math.sqrt(3))
    )


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    mean, low, high = interval([4.0])
    assert mean == 4
    assert math.isnan(low)
    assert math.isnan(high)
    assert verdict(low, high, 1) == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "side", "expected"),
    [
        (0.1, 2, 1, "reproduced"),
        (0.1, 2, -1, "contradicted"),
        (-2, -0.1, 1, "contradicted"),
        (-2, -0.1, -1, "reproduced"),
        (-1, 2, 1, "undecided"),
        (0, 2, 1, "undecided"),
        (0, 0, 1, "undecided"),
        (-2, 0, -1, "undecided"),
        (0.1, 2, 0, "not tested"),
    ],
)
def test_verdict(low: float, high: float, side: int, expected: str) -> None:
    assert verdict(low, high, side) == expected


def test_effect_uses_only_seeds_that_both_arms_have() -> None:
    comparison = Comparison(1, "a", "b", "fgsm", 1.0, 1)
    whole = effect(comparison, records(LEFT, RIGHT))
    assert whole is not None
    expected = stats.ttest_rel(LEFT, RIGHT).confidence_interval(0.95)
    assert (whole.mean, whole.low, whole.high) == pytest.approx(
        (2.0, 100 * expected.low, 100 * expected.high)
    )
    shorter = effect(comparison, records(LEFT, RIGHT[:3]))
    assert shorter is not None
    assert (shorter.seeds, shorter.mean) == (3, pytest.approx(100 * (0.01 + 0.04 - 0.01) / 3))
    assert effect(comparison, records(LEFT, [])) is None


def test_factor_multiplies_the_right_arm() -> None:
    found = effect(Comparison(8, "a", "b", "fgsm", 1.0, 1, factor=2), records([0.5, 0.7], [0.2, 0.3]))
    assert found is not None
    assert found.mean == pytest.approx(10)


def test_no_verdict_on_a_multiple_that_no_network_can_have() -> None:
    comparison = Comparison(8, "a", "b", "fgsm", 1.0, 1, factor=2)
    beyond = effect(comparison, records([0.9, 0.9, 0.91], [0.6, 0.6, 0.6]))
    within = effect(comparison, records([0.9, 0.9, 0.91], [0.5, 0.5, 0.5]))
    assert beyond is not None
    assert within is not None
    assert (beyond.verdict, within.verdict) == ("not tested", "contradicted")


def test_effects_in_the_paper_agree_with_its_tables() -> None:
    trained = [*arms(PRESETS["digits"]), *off_ladder(PRESETS["digits"])]
    keys = {(arm.key, seed) for arm in trained for seed in (0, 1)}
    metrics = dict.fromkeys((*rendering.COLUMNS, "copy_sparsity"), 0.5)
    made = list(statements.comparisons(dict.fromkeys(keys, metrics)))
    pair = ("en5/rgsm/0", "resnet20/rgsm/2")
    headline = {(c.metric, c.factor): c.paper for c in made if (c.left, c.right) == pair}
    assert headline["natural_accuracy", 1] == 8.69
    assert headline["ifgsm-20", 1] == 5.42
    assert headline["channel_sparsity", 2] == pytest.approx(53.36 - 2 * 25.33)
    assert all(c.side == math.copysign(1, c.paper) for c in made if c.paper and c.side)
    assert {c.statement for c in made} == set(statements.STATEMENTS)
    # Whatever a statement names is trained at this size: nothing is silently left out.
    assert all((arm, 0) in keys for c in made for arm in (c.left, c.right))


def test_admm_is_compared_at_the_rung_of_nearest_sparsity() -> None:
    sparsity = {"rvsm/0": 0.95, "rvsm/1": 0.78, "rvsm/2": 0.3, "admm-weights/0": 0.8}
    metrics = dict.fromkeys(rendering.COLUMNS, 0.5)
    made = {
        (f"resnet20/{k}", s): {**metrics, "weight_sparsity": v} for k, v in sparsity.items() for s in (0, 1)
    }
    assert {c.left for c in statements.comparisons(made) if c.statement == 9} == {"resnet20/rvsm/1"}


def test_ladders_are_the_same_for_every_network_and_rungs_have_unique_keys() -> None:
    for preset in PRESETS.values():
        made = arms(preset)
        every = [*made, *off_ladder(preset)]
        assert len({arm.key for arm in every}) == len(every)
        for method in ("rvsm", "rgsm"):
            by_rung: dict[int, set[Any]] = {}
            for arm in made:
                if arm.method == method:
                    by_rung.setdefault(arm.rung, set()).add(arm.settings)
            assert all(len(settings) == 1 for settings in by_rung.values())


def test_stratified_takes_equally_many_images_of_each_class() -> None:
    labels = torch.tensor([0] * 30 + [1] * 50)
    split = Split(torch.arange(80, dtype=torch.uint8).view(80, 1, 1, 1), labels)
    taken = stratified(split, 20, seed=3)
    assert torch.bincount(taken.labels).tolist() == [10, 10]
    assert len(taken.images.unique()) == 20
    assert torch.equal(taken.images, stratified(split, 20, seed=3).images)
    assert not torch.equal(taken.images, stratified(split, 20, seed=4).images)
    assert stratified(split, 0, seed=3) is split


def test_unreplaced_rvsm_does_not_change_the_weights() -> None:
    arm = Arm("resnet20", "rvsm-unreplaced", 1, (("beta", 0.5), ("lambda_1", 1e-2)))
    model: nn.Module = PreActResNet(width=2, in_channels=1)
    method = pruner(arm, model)
    assert isinstance(method, RVSMUnreplaced)
    method.replace()
    assert weight_sparsity(model) == 0
    replaced = pruner(replace(arm, method="rvsm"), model)
    replaced.replace()
    assert weight_sparsity(model) > 0


def test_interrupted_run_continues_to_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = paper.run, []
    whole = tiny(tmp_path / "whole.json", TWO)

    def cut(*args: Any) -> dict[str, Any]:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(args)
        return real(*args)

    file = tmp_path / "cut.json"
    monkeypatch.setattr(paper, "run", cut)
    with pytest.raises(KeyboardInterrupt):
        tiny(file, TWO)
    partial = tmp_path / "cut.partial.jsonl"
    with partial.open("a") as log:
        log.write('{"arm": "resnet20/den')  # torn by the same cut
    calls.clear()
    done = tiny(file, TWO)
    assert len(calls) == 1
    assert not partial.exists()
    compared = ("arm", "seed", "metrics")
    assert [[r[k] for k in compared] for r in done["records"]] == [
        [r[k] for k in compared] for r in whole["records"]
    ]
    assert done["sessions"] == 2
    assert load_results(file) == done

    calls.clear()
    more = tiny(file, TWO, seeds=(0, 1, 2))  # a finished run is added to
    assert [call[2] for call in calls] == [2, 2]
    assert more["records"][:4] == done["records"]


def test_run_with_other_settings_is_not_continued(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.with_suffix(".partial.jsonl").write_text('{"preset": {}, "device": "cuda"}\n')
    with pytest.raises(ResultsError, match="a run with another"):
        tiny(file, TWO)


def test_from_prints_the_tables_and_writes_markdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page = tmp_path / "results.json", tmp_path / "results.md"
    results = tiny(file, TWO)
    assert paper.main(["--from", str(file), "--markdown", str(page)]) == 0
    printed = capsys.readouterr().out
    for text in (printed, page.read_text()):
        assert "en2 dense - resnet20 dense" in text
        assert "a note" in text
        assert "python -m benchmarks.paper digits" in text
    shown = statements.effects(statements.metrics_of(results))
    assert all(f"{found.mean:+.2f}" in printed for found in shown)
    assert paper.main(["--from", str(tmp_path / "none.json")]) == 1
    (tmp_path / "other.json").write_text(json.dumps([1]))
    assert paper.main(["--from", str(tmp_path / "other.json")]) == 1


def test_imports_neither_ray_nor_optuna_nor_pydantic() -> None:
    code = (
        "import sys, benchmarks.paper;"
        "found = {'ray', 'optuna', 'pydantic'} & set(sys.modules);"
        "sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
