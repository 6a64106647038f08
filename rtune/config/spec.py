"""Reads and validates search files: `load(path)` returns a `Spec`.

Every error is a `SpecError` whose message names the file and line, the field, its value and the rule.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtune.config import fields, finite, ranges, saved, yaml_file
from rtune.config.catalog import Part
from rtune.config.reading import notes, overrides, texts
from rtune.config.reading.reader import Reader
from rtune.config.sections import (
    SLOTS,
    SearchFile,
    SearchSettings,
    Slot,
    TrialConfig,
    search_file,
    trial_config,
)
from rtune.errors import SpecError, UsageError
from rtune.pareto.objectives import Objective, parse_all
from rtune.storage import paths
from rtune.storage.paths import StorageError


@dataclass(frozen=True)
class Spec:
    """A validated search file: the settings of a trial, some of them ranges, and of the search.

    Attributes:
        file: all settings as plain values; a searched one has some value of its range.
        ranges: dotted path -> range. A path that names a part, such as `pruning.method`, comes before the
            settings of that part.
        notes: sentences for whoever starts the search: what of the file does not apply, and what looks odd.
        given: dotted paths of the values that come from the command line.
    """

    file: SearchFile
    ranges: dict[str, ranges.Range]
    notes: tuple[str, ...] = ()
    given: tuple[str, ...] = ()

    @property
    def search(self) -> SearchSettings:
        return self.file.search

    @property
    def max_epochs(self) -> int:
        return self.file.training.max_epochs

    @property
    def points(self) -> list[dict[str, Any]]:
        return self.file.points

    @property
    def trials(self) -> int:
        """Number of trials to run: no more than there are settings."""
        return self.most_trials(self.search.trials)

    @functools.cached_property
    def space(self) -> finite.Space:
        """The searched values, which may be finitely many."""
        tree = self.trial_tree()
        base = {path: fields.value_at(tree, path) for path in self.searched()}
        return finite.Space(self.ranges, self.points, base, self.is_active)

    @functools.cached_property
    def settings(self) -> int | None:
        """Number of different settings; None if there is no end of them."""
        found = self.space.settings if self.space.is_finite else None
        return None if found is None else len(found)

    def most_trials(self, wanted: int, tried: Iterable[dict[str, Any]] = ()) -> int:
        """Number of trials, `wanted` at most, of which each that is not among `tried` has new settings."""
        if self.settings is None:
            return wanted
        earlier = list(tried)
        listed = self.space.settings or {}
        return min(wanted, len(earlier) + len(listed.keys() - {self.space.key(v) for v in earlier}))

    def searched(self) -> list[str]:
        """Dotted paths of all searched values: those with ranges, then those that only points give."""
        return list(dict.fromkeys([*self.ranges, *(path for point in self.points for path in point)]))

    def is_active(self, path: str, values: dict[str, Any]) -> bool:
        """Whether a path applies, given the values chosen so far, which include its part's name."""
        return fields.inactive_reason(path, values, self.file) is None

    def parts(self) -> Iterator[tuple[Slot, Part]]:
        """All parts that some trial may use, and the sampler, each with the field that names it."""
        for slot in SLOTS:
            for name in self.possible(slot):
                yield slot, slot.parts[name]

    def trial_config(self, values: dict[str, Any]) -> TrialConfig:
        """The settings of the trial with these searched values (dotted path -> value)."""
        return trial_config().model_validate(fields.replaced(self.trial_tree(), values))

    def identity(self, values: dict[str, Any]) -> dict[str, Any]:
        """A trial's settings as in its checkpoints: without the data folder and without unused parts."""
        return saved.dump(self.trial_config(values))

    def trial_tree(self) -> dict[str, Any]:
        """The settings of a trial as plain values; a searched one has some value of its range."""
        return self.file.model_dump(include=set(TrialConfig.model_fields))

    def possible(self, slot: Slot) -> list[Any]:
        """Names of the parts that a slot may hold in some trial."""
        domain = self.ranges.get(slot.path)
        values = domain.probes() if domain else [getattr(getattr(self.file, slot.section), slot.field)]
        return list(dict.fromkeys(values + [p[slot.path] for p in self.points if slot.path in p]))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives with their directions."""
        return tuple(parse_all(self.search.objectives))

    def to_tree(self) -> dict[str, Any]:
        """The search file with all defaults filled in; `from_tree` reads it back."""
        tree = self.file.model_dump(exclude={"provenance"})
        for slot in SLOTS:
            possible = set(self.possible(slot))
            for name in list(tree[slot.section]):
                required = fields.requirement(f"{slot.section}.{name}")
                if required is not None and required.slot == slot and not possible & set(required.names):
                    del tree[slot.section][name]
        return fields.replaced(tree, {path: ranges.dump(domain) for path, domain in self.ranges.items()})


def load(path: Path, replaced: Iterable[tuple[str, Any]] = ()) -> Spec:
    """Reads and validates a search file.

    Args:
        path: a YAML file; numbers may be written as fractions such as `8/255`.
        replaced: pairs (dotted path, value) from the command line. They hold in every trial: points that
            contradict them are left out.

    Raises:
        SpecError: the file cannot be read or is not valid.
    """
    try:
        tree, origins = yaml_file.read(path)
    except yaml_file.YamlError as error:
        raise SpecError(str(error)) from None
    given = overrides.apply(tree, origins, replaced)
    data = tree.get("data")
    if isinstance(data, dict) and isinstance(data.get("folder"), str) and data["folder"].strip():
        # `rtune resume` and workers run in other working directories.
        try:
            data["folder"] = str(paths.from_home(data["folder"]))
        except (StorageError, UsageError) as error:
            raise SpecError(f"{origins.get('data.folder', path)}: data.folder {error}") from None
    return _validated(Reader(origins, str(path), new=True), tree, given)


def from_tree(tree: dict[str, Any], origins: dict[str, str], source: str) -> Spec:
    """Validates the content of a saved search file; rules for new searches only do not apply.

    Args:
        tree: the content, as `Spec.to_tree` returns it.
        origins: dotted path -> place in the file, for messages.
        source: place of all other values, for messages.

    Raises:
        SpecError: the content is not valid.
    """
    return _validated(Reader(origins, source), tree, {})


def check_options(values: dict[str, Any]) -> None:
    """Checks options that change a run's settings, dotted path -> value. Raises SpecError."""
    tree: dict[str, Any] = {}
    overrides.apply(tree, {}, values.items())
    Reader({}, overrides.OPTION, new=True).validate(tree)


def _validated(reader: Reader, tree: dict[str, Any], given: overrides.Given) -> Spec:
    """As `from_tree`; `given` are the values of the command line (`overrides.apply`)."""
    tree = texts.understood(tree)
    reader.read_times(tree)
    found = dict(reader.extract_ranges(tree, search_file(), ""))
    file = reader.validate(tree)
    tree = file.model_dump()
    for path, domain in found.items():
        for value in domain.probes():
            reader.validate(fields.replaced(tree, {path: value}), report_at=path)
    ordered = {path: found[path] for path in sorted(found, key=lambda path: not fields.is_selector(path))}
    kept, reasons = overrides.split_points(file, given, ordered)
    if reasons and "points" in given:
        index, reason = next(iter(reasons.items()))
        raise reader.error(f"points.{index}", f"is given, and the command line says otherwise: {reason}")
    found_notes = [overrides.left_out(reasons, len(file.points))] if reasons else []
    spec = Spec(file.model_copy(update={"points": kept}), ordered, tuple(found_notes), tuple(given))
    reader.check(spec, [file.points[index] for index in reasons])
    return notes.added(spec) if reader.context else spec
