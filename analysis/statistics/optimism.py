"""Selection bias: how much better the front looks on the validation split, on which it was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from rtune.config.sections import EvaluationConfig

from ..front import front
from ..objectives import ObjectiveLike, complete, parse_all


@dataclass(frozen=True)
class Gap:
    """Validation accuracy minus test accuracy of the members of the front, as fractions.

    Attributes:
        metric: `natural_accuracy` or `robust_accuracy`.
        members: networks with a figure of the test split.
        front: networks on the front.
        mean: validation minus test, averaged over the members.
        low, high: its 95 % confidence interval.
    """

    metric: str
    members: int
    front: int
    mean: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        way = "above" if self.mean >= 0 else "below"
        of = "the" if self.members == self.front else f"{self.members} of the {self.front}"
        return (
            f"On the validation split the {self.metric.replace('_', ' ')} of {of} "
            f"member{'s' * (self.front != 1)} of the front is {'on average ' * (self.members != 1)}"
            f"{abs(self.mean):.3f} {way} that on the test split (95 % confidence interval of the "
            f"difference {self.low:.3f} to {self.high:.3f})."
        )


@dataclass(frozen=True)
class Optimism:
    """A gap for each accuracy that was measured on both splits; see `optimism`."""

    gaps: list[Gap]

    @property
    def sentence(self) -> str:
        said = [gap.sentence for gap in self.gaps]
        return " ".join(
            [
                *said,
                "The front was chosen by its accuracies on the validation split, which makes them too high "
                "on average; the test split took no part in the choice.",
            ]
        )


def optimism(
    networks: pd.DataFrame,
    evaluations: pd.DataFrame,
    objectives: Sequence[ObjectiveLike],
    images: Any,
    attack: EvaluationConfig | None = None,
) -> Optimism | None:
    """How much better the front's networks look on the validation split than on the test split.

    How much of the difference comes from the choice is not told. It depends on how often networks fail on the
    same images, which accuracies alone do not show: from as much as the noise of the images to nothing.

    The confidence interval is as wide as if all members failed on the same images: they nearly do, so that
    many members make it hardly narrower than one. Where they do not, it covers more often than it says.

    Args:
        networks: one row a network.
        evaluations: see `analysis.evaluations`; of several figures of a network the one of the most images
            is used, and of these the latest.
        objectives: of the front.
        images: that the networks' accuracies are fractions of; a number, or one for each.
        attack: the search's own (`evaluation` in its file); without it only natural accuracies are compared.

    Returns:
        None where no member was measured on the test split.
    """
    asked = parse_all(objectives)
    members = front(complete(networks.assign(images=images), asked), asked)
    tested = evaluations[evaluations["split"] == "test"]
    own = {"natural_accuracy": tested["attack"] == "natural"}
    if attack is not None:
        own["robust_accuracy"] = _is_own(tested, attack)
    pairs = {metric: _pairs(members, tested[same], metric) for metric, same in own.items()}
    pairs = {metric: both for metric, both in pairs.items() if len(both)}
    if not pairs:
        return None
    return Optimism([_gap(both, len(members), metric) for metric, both in pairs.items()])


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


def _gap(both: pd.DataFrame, front: int, metric: str) -> Gap:
    mean = float((both["validation"] - both["test"]).mean())
    p = ((both["validation"] + both["test"]) / 2).clip(0, 1).to_numpy(float)
    parts = sum(1 / both[name].to_numpy(float) for name in ("images", "images_test"))
    half = NormalDist().inv_cdf(0.975) * float(np.sqrt(p * (1 - p) * parts).mean())
    return Gap(metric, len(both), front, mean, mean - half, mean + half)
