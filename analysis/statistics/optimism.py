"""Selection bias: how much better the front looks on the validation split, on which it was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import moocore
import numpy as np
import pandas as pd

from rtune import metrics
from rtune.config.sections import EvaluationConfig

from ..front import front
from ..objectives import Objective, ObjectiveLike, parse_all
from .uncertainty import as_field, candidates, complete


@dataclass(frozen=True)
class Gap:
    """Validation accuracy minus test accuracy of the members of the front, as fractions.

    Attributes:
        metric: `natural_accuracy` or `robust_accuracy`.
        members: networks with a figure of the test split.
        front: networks on the front.
        mean: validation minus test, averaged over the members.
        low, high: its 95 % confidence interval.
        expected: the difference to be expected because the best on validation were chosen.
    """

    metric: str
    members: int
    front: int
    mean: float
    low: float
    high: float
    expected: float

    @property
    def sentence(self) -> str:
        way = "above" if self.mean >= 0 else "below"
        of = "the" if self.members == self.front else f"{self.members} of the {self.front}"
        text = (
            f"On the validation split the {self.metric.replace('_', ' ')} of {of} "
            f"member{'s' * (self.front != 1)} of the front is {'on average ' * (self.members != 1)}"
            f"{abs(self.mean):.3f} {way} that on the test split (95 % confidence interval of the "
            f"difference {self.low:.3f} to {self.high:.3f})"
        )
        if self.expected <= 0:
            return text + "."
        if self.mean > 0:
            return (
                text
                + f"; choosing the best networks on the validation split explains {self.expected:.3f} of it."
            )
        return (
            f"{text}, although choosing the best networks on the validation split would by itself put it "
            f"{self.expected:.3f} above."
        )


@dataclass(frozen=True)
class Optimism:
    """A gap for each accuracy that was measured on both splits; see `optimism`."""

    gaps: list[Gap]

    @property
    def sentence(self) -> str:
        return " ".join(gap.sentence for gap in self.gaps)


def optimism(
    networks: pd.DataFrame,
    evaluations: pd.DataFrame,
    objectives: Sequence[ObjectiveLike],
    images: Any,
    attack: EvaluationConfig | None = None,
    draws: int = 100,
    seed: int = 0,
) -> Optimism | None:
    """How much better the front's networks look on the validation split than on the test split.

    The confidence interval accounts for the images only, as if all members failed on the same ones: they
    nearly do, so that many members make it hardly narrower than one.

    `Gap.expected` is the selection bias: accuracies are drawn again around what was measured (as for
    `membership`), and the members of each drawn front are compared with their measured accuracies.

    Args:
        networks: one row a network.
        evaluations: see `analysis.evaluations`; of several figures of a network the one of the most images
            is used, and of these the latest.
        objectives: of the front.
        images: that the networks' accuracies are fractions of; a number, or one for each.
        attack: the search's own (`evaluation` in its file); without it only natural accuracies are compared.
        draws: of the accuracies, at least 1.
        seed: of the draws.

    Returns:
        None where no member was measured on the test split.
    """
    asked = parse_all(objectives)
    known = complete(networks, asked, images)
    members = front(known, asked)
    tested = evaluations[evaluations["split"] == "test"]
    own = {"natural_accuracy": tested["attack"] == "natural"}
    if attack is not None:
        own["robust_accuracy"] = _is_own(tested, attack)
    pairs = {metric: _pairs(members, tested[same], metric) for metric, same in own.items()}
    pairs = {metric: both for metric, both in pairs.items() if len(both)}
    if not pairs:
        return None
    bias = _selection(known, asked, draws, seed)
    return Optimism(
        [_gap(both, len(members), metric, bias.get(metric, 0.0)) for metric, both in pairs.items()]
    )


def _is_own(tested: pd.DataFrame, attack: EvaluationConfig) -> "pd.Series[bool]":
    """Rows that used the search's own attack; with a random start, those with one restart."""
    same = tested["attack"] == f"{'pgd' if attack.random_start else 'ifgsm'}-{attack.steps}"
    for name in ("epsilon", "step_size"):
        column = tested[name].to_numpy(float, na_value=np.nan)
        same &= np.isclose(column, getattr(attack, name), rtol=1e-9, atol=0)
    return same & (tested["restarts"].isna() | (tested["restarts"] == 1)).fillna(True)


def _pairs(members: pd.DataFrame, tested: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`validation`, `test` and the images of both, one row a member."""
    last = tested.sort_values(["images", "time"], kind="stable").drop_duplicates(
        ["trial", "epoch"], keep="last"
    )
    both = members[["trial", "epoch", metric, "images"]].merge(
        last[["trial", "epoch", "accuracy", "images"]], on=["trial", "epoch"], suffixes=("", "_test")
    )
    return both.dropna(subset=[metric]).rename(columns={metric: "validation", "accuracy": "test"})


def _gap(both: pd.DataFrame, front: int, metric: str, expected: float) -> Gap:
    mean = float((both["validation"] - both["test"]).mean())
    p = ((both["validation"] + both["test"]) / 2).clip(0, 1).to_numpy(float)
    parts = sum(1 / both[name].to_numpy(float) for name in ("images", "images_test"))
    half = NormalDist().inv_cdf(0.975) * float(np.sqrt(p * (1 - p) * parts).mean())
    return Gap(metric, len(both), front, mean, mean - half, mean + half, expected)


def _selection(known: pd.DataFrame, asked: Sequence[Objective], draws: int, seed: int) -> dict[str, float]:
    """Accuracy -> by how much members of drawn fronts exceed their measured accuracy, on average."""
    rows = candidates(known, asked)
    field, rng = as_field(rows, asked), np.random.default_rng(seed)
    noisy = [o for o in asked if o.name in metrics.of_images()]
    gains = np.zeros(len(noisy))
    drawn, every = field.points.copy(), np.arange(len(rows))
    for _ in range(draws if noisy else 0):
        drawn[:, field.noisy] = field.redraw(rng, every, 1)[:, :, 0].T
        best = moocore.is_nondominated(drawn, maximise=True, keep_weakly=True)
        gains += (drawn - field.points)[best][:, field.noisy].mean(axis=0)
    return {o.name: float(g / draws) * (1 if o.maximise else -1) for o, g in zip(noisy, gains, strict=True)}
