"""What a report is about: the networks of one or several runs, and their front in some objectives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rtune.config.sections import EvaluationConfig
from rtune.errors import ObjectiveError, RunError
from rtune.run.folder import RunFolder
from rtune.run.ledger import validation_images

from ..front import front, hypervolume, reference
from ..load import Run, networks, read
from ..objectives import Objective, ObjectiveLike, parse_all

# More kinds of networks cannot be distinguished in a plot.
MOST_KINDS = 8


@dataclass(frozen=True)
class RunSet:
    """Runs of one data set, reported together. With several runs a trial is called RUN/TRIAL.

    Attributes:
        runs: in the order given.
        networks: one row a network, `analysis.networks`, with `run` (index into `runs`) and `kind` (its run
            where there are several, and its searched texts, such as `enresnet rgsm`).
        objectives: of the front.
        searched: dotted paths of all values that a run searches.
    """

    runs: Sequence[Run]
    networks: pd.DataFrame
    objectives: list[Objective]
    searched: list[str]

    @classmethod
    def of(cls, folders: Sequence[RunFolder], objectives: Sequence[ObjectiveLike] | None = None) -> "RunSet":
        """Reads runs.

        Args:
            folders: at least one.
            objectives: of the front; the runs' own when None.

        Raises:
            RunError: a run cannot be read, or runs cannot be compared.
            ObjectiveError: see `parse_all`.
        """
        _check_alike(folders, objectives)
        asked = parse_all(objectives if objectives is not None else folders[0].spec.search.objectives)
        runs = [read(folder) for folder in folders]
        names = [run.name for run in runs]
        if len(set(names)) < len(names):
            name = next(n for n in names if names.count(n) > 1)
            places = {str(folder.place) for folder in folders if folder.name == name}
            if len(places) == 1:
                raise RunError(f"{places.pop()} is named twice; a run is compared with others")
            both = " and ".join(sorted(places))
            raise RunError(
                f"{both} have one name, by which a report tells runs apart; rename one of the folders"
            )
        found = [networks(run.rows).assign(run=i) for i, run in enumerate(runs)]
        if len(runs) > 1:
            found = [
                part.assign(trial=run.name + "/" + part["trial"])
                for part, run in zip(found, runs, strict=True)
            ]
        filled = [part for part in found if len(part)] or found[:1]
        searched = list(dict.fromkeys(path for folder in folders for path in folder.spec.searched()))
        together = pd.concat(filled, ignore_index=True)
        for path in searched:
            if path not in together:
                together[path] = np.nan
            elif together[path].dtype == object:  # a run that lacks the path makes numbers objects
                together[path] = together[path].infer_objects()
        together["kind"] = _kinds(together, searched, names)
        made = cls(runs, together, asked, searched)
        for objective in asked:
            made.require(objective.name)
        return made

    def require(self, metric: str) -> None:
        """Raises ObjectiveError if there are networks and none has the metric: it is newer than the run."""
        if len(self.networks) and self.networks[metric].isna().all():
            raise ObjectiveError(f"no network of {self.name} has {metric}: the run is older than this metric")

    @property
    def names(self) -> list[str]:
        return [objective.name for objective in self.objectives]

    @property
    def name(self) -> str:
        return ", ".join(run.name for run in self.runs)

    @property
    def dataset(self) -> str:
        return self.runs[0].folder.spec.file.data.dataset

    @property
    def attack(self) -> EvaluationConfig:
        return self.runs[0].folder.spec.file.evaluation

    @property
    def notes(self) -> list[str]:
        """A line for each line of a log that was left out."""
        return [note for run in self.runs for note in [*run.notes, *run.evaluated.notes]]

    @property
    def images(self) -> str:
        """How many validation images the accuracies of the front are of: `360`, or `90 to 360`."""
        counts = self.members["images"]
        ends = sorted({counts.min(), counts.max()}) if len(counts) else []
        return " to ".join(f"{count:,}" for count in ends)

    @property
    def validation_images(self) -> int:
        """How many validation images there are."""
        return validation_images(launch for run in self.runs for launch in run.launches)

    @cached_property
    def members(self) -> pd.DataFrame:
        """The front."""
        return front(self.networks, self.objectives)

    @cached_property
    def reference(self) -> dict[str, float]:
        """Objective -> reference point of the hypervolume, in its own unit."""
        return reference(self.networks, self.objectives) if len(self.networks) else {}

    @cached_property
    def hypervolume(self) -> float:
        return hypervolume(self.members, self.objectives, self.reference) if len(self.networks) else 0.0


def _check_alike(folders: Sequence[RunFolder], objectives: Sequence[ObjectiveLike] | None) -> None:
    first, *others = folders
    for other in others:
        a, b = first.spec.file.data.dataset, other.spec.file.data.dataset
        if a != b:
            raise RunError(
                f"{first.name} is of {a} and {other.name} of {b}; accuracies of different datasets cannot be "
                "compared, so report on each alone"
            )
        mine, its = first.spec.search.objectives, other.spec.search.objectives
        if objectives is None and set(mine) != set(its):
            raise ObjectiveError(
                f"{first.name} has the objectives {', '.join(mine)} and {other.name} {', '.join(its)}; "
                "--objectives says which to report on"
            )


def damage(run_set: RunSet) -> list[str]:
    """A sentence for each run whose log is damaged."""
    return [
        f"{len(run.notes)} line{'s' * (len(run.notes) != 1)} of the log of {run.folder.place} "
        f"{'are' if len(run.notes) != 1 else 'is'} invalid and left out; the report lists them"
        for run in run_set.runs
        if run.notes
    ]


def _is_text(column: "pd.Series[Any]") -> bool:
    known = column.dropna()
    return len(known) > 0 and isinstance(known.iloc[0], str)


def _kinds(networks: pd.DataFrame, searched: Sequence[str], names: Sequence[str]) -> "pd.Series[str]":
    """A short name of each network's kind; its run if there would be too many kinds, or one name for all."""
    run = pd.Series("", index=networks.index)
    if len(names) > 1:
        run = networks["run"].map(dict(enumerate(names))).astype(str)
    named = run
    for path in searched:
        if _is_text(networks[path]):
            named = named + " " + networks[path].astype(object).fillna("").astype(str)
    for kinds in (named, run):
        if kinds.nunique() <= MOST_KINDS:
            return kinds.str.split().str.join(" ").replace("", "network")
    return run.map(lambda _: "network")
