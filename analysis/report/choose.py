"""Chooses a network for `rtune best`: the best under constraints, or the front and its knee."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rtune.errors import RunFailure
from rtune.run.folder import RunFolder

from .. import constraints
from ..front import knee
from ..objectives import Objective, ObjectiveLike, parse
from . import details, tables, text
from .run_set import RunSet, damage


@dataclass(frozen=True)
class Choice:
    """Result of `choose`.

    Attributes:
        seen: the runs.
        found: networks that meet the constraints, best first; or those on their front.
        chosen: the best, or the knee of the front; None where no network meets the constraints.
        sentence: which was chosen, and of how many.
        aim: the objective in which it is the best; None for the front.
    """

    seen: RunSet
    found: pd.DataFrame
    chosen: "pd.Series[Any] | None"
    sentence: str
    aim: Objective | None = None

    def damage(self) -> list[str]:
        """A sentence for each run whose log is damaged."""
        return damage(self.seen)

    def any(self) -> bool:
        """Whether a network meets the constraints."""
        return self.chosen is not None

    def records(self) -> list[dict[str, Any]]:
        """The networks as plain values for JSON, None where something is missing."""
        rows = self.found.assign(run=[self.seen.runs[i].name for i in self.found["run"]])
        plain = rows.astype(object).where(rows.notna(), None).drop(columns="time", errors="ignore")
        return [
            {str(key): value.item() if hasattr(value, "item") else value for key, value in row.items()}
            for row in plain.to_dict("records")
        ]

    def text(self) -> str:
        """The sentence, and the metrics, settings and commands of the chosen network."""
        if self.chosen is None:
            return self.sentence
        settings = {p: self.chosen[p] for p in self.seen.searched if tables.value(self.chosen[p])}
        names = dict.fromkeys([*([self.aim.name] if self.aim else []), *tables.metrics(self.seen)])
        lines = [(name, text.figure(self.chosen[name], name)) for name in names]
        lines += [(path, tables.value(v)) for path, v in settings.items()]
        lines.append(("validation images", text.images(self.seen, self.chosen["images"])))
        lines += details.describe(self.seen, self.chosen)
        width = max(len(name) for name, _ in lines)
        return "\n".join([self.sentence, *(f"  {name:{width}}  {text}" for name, text in lines)])


def choose(
    folders: Sequence[RunFolder],
    objectives: Sequence[ObjectiveLike] | None,
    one: ObjectiveLike | None,
    limits: Sequence[str],
) -> Choice:
    """The best network in one objective under constraints, or the knee of the front of those that meet them.

    Args:
        folders: runs, at least one.
        objectives: of the front; the runs' own when None.
        one: the objective in which the network is to be the best; None for the front.
        limits: constraints such as `robust_accuracy>=0.45`.

    Raises:
        ObjectiveError, RunError: see `RunSet.of`, `parse`, `constraints.parse_constraint`.
        RunFailure: there is no network yet.
    """
    if objectives is None and one is not None:
        objectives = list(folders[0].spec.search.objectives)  # they do not influence the choice
    seen = RunSet.of(folders, objectives)
    asked = [constraints.parse_constraint(text) for text in limits]
    aim = None if one is None else parse(one)
    for name in [*([aim.name] if aim else []), *(constraint.name for constraint in asked)]:
        seen.require(name)
    kept = constraints.where(seen.networks, asked)
    total = len(seen.networks)
    if not total:
        why = text.nothing(seen)
        raise RunFailure(f"{seen.name} has no network yet: {why[0].lower()}{why[1:]}")
    whole = f"{total:,} network{'s' * (total != 1)} of {seen.name}"
    having = f" with {text.listed([str(c) for c in asked])}" if asked else ""
    if kept.empty:
        return Choice(seen, kept, None, f"none of {whole}{having}{_nearest(seen, asked)}")
    among = f"{len(kept):,} of {whole}{having}" if asked else whole
    if aim is not None:
        ranked = constraints.best(kept, aim)
        most = "most" if aim.maximise else "least"
        sentence = f"{ranked['trial'].iloc[0]} has the {most} {aim.label} of {among}:"
        return Choice(seen, ranked, ranked.iloc[0], sentence, aim)
    narrowed = RunSet(seen.runs, kept, seen.objectives, seen.searched)
    middle = knee(kept, seen.objectives)
    assert middle is not None
    sentence = f"{len(narrowed.members):,} on the front of {among}; its knee is {middle['trial']}:"
    return Choice(seen, narrowed.members, middle, sentence)


def _nearest(seen: RunSet, asked: Sequence[constraints.Constraint]) -> str:
    """The range of each constrained metric, as a hint where no network meets the constraints."""
    parts = []
    for name in dict.fromkeys(constraint.name for constraint in asked):
        column = seen.networks[name].dropna()
        if len(column):
            low, high = text.figure(column.min(), name), text.figure(column.max(), name)
            parts.append(f"{name} is between {low} and {high}")
    return f"; {text.listed(parts)}" if parts else ""
