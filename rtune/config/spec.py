"""Reads and validates search files: `load(path)` returns a `Spec`.

Every error is a `SpecError` whose message names the file and line, the field, its value and the rule.
"""

import contextlib
import copy
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rtune.config import fields, ranges, saved, yaml_file
from rtune.config.catalog import NETWORKS, Part
from rtune.config.section import Section
from rtune.config.sections import (
    FIXED,
    SEARCHABLE,
    SLOTS,
    TIMES,
    SearchFile,
    SearchSettings,
    Slot,
    TrialConfig,
    search_file,
    trial_config,
)
from rtune.errors import SpecError
from rtune.pareto.objectives import Objective, parse, parse_all

# Origin of values that are given on the command line.
OPTION = "command line"
(NETWORK,) = (slot for slot in SLOTS if slot.parts is NETWORKS)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Spec:
    """A validated search file: the settings of a trial, some of them ranges, and of the search.

    Attributes:
        file: all settings as plain values; a searched one has some value of its range.
        ranges: dotted path -> range. A path that names a part, such as `pruning.method`, comes before the
            settings of that part.
    """

    file: SearchFile
    ranges: dict[str, ranges.Range]

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
        """Number of trials to run. Without ranges it is at most the number of points."""
        return self.search.trials if self.ranges else min(self.search.trials, len(self.points))

    def searched(self) -> list[str]:
        """Dotted paths of all searched values: those with ranges, then those that only points give."""
        return list(dict.fromkeys([*self.ranges, *(path for point in self.points for path in point)]))

    def is_active(self, path: str, values: dict[str, Any]) -> bool:
        """Whether a path applies, given the values chosen so far, which include its part's name."""
        return fields.inactive_reason(path, values, self.file) is None

    def parts(self) -> Iterator[tuple[Slot, Part]]:
        """All parts that some trial may use, and the sampler, each with the field that names it."""
        for slot in SLOTS:
            for name in _possible(self, slot):
                yield slot, slot.parts[name]

    def trial_config(self, values: dict[str, Any]) -> TrialConfig:
        """The settings of the trial with these searched values (dotted path -> value)."""
        return trial_config().model_validate(_with(_trial_tree(self.file), values))

    def identity(self, values: dict[str, Any]) -> dict[str, Any]:
        """A trial's settings as in its checkpoints: without the data folder and without unused parts."""
        return saved.dump(self.trial_config(values))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives with their directions."""
        return tuple(parse_all(self.search.objectives))

    def to_tree(self) -> dict[str, Any]:
        """The search file with all defaults filled in; `from_tree` reads it back."""
        tree = self.file.model_dump(exclude={"provenance"})
        for slot in SLOTS:
            possible = set(_possible(self, slot))
            for name in list(tree[slot.section]):
                required = fields.requirement(f"{slot.section}.{name}")
                if required is not None and required.slot == slot and not possible & set(required.names):
                    del tree[slot.section][name]
        return _with(tree, {path: ranges.dump(domain) for path, domain in self.ranges.items()})


def load(path: Path, overrides: Iterable[tuple[str, Any]] = ()) -> Spec:
    """Reads and validates a search file.

    Args:
        path: a YAML file; numbers may be written as fractions such as `8/255`.
        overrides: pairs (dotted path, value) that replace values of the file.

    Raises:
        SpecError: the file cannot be read or is not valid.
    """
    try:
        tree, origins = yaml_file.read(path)
    except yaml_file.YamlError as error:
        raise SpecError(str(error)) from None
    for dotted, value in overrides:
        _override(tree, origins, dotted, value)
    data = tree.get("data")
    if isinstance(data, dict) and isinstance(data.get("folder"), str):
        # `rtune resume` and workers run in other working directories.
        data["folder"] = str(Path(data["folder"]).expanduser().absolute())
    return from_tree(tree, origins, str(path))


def from_tree(tree: dict[str, Any], origins: dict[str, str], source: str) -> Spec:
    """Validates the content of a search file.

    Args:
        tree: the content, as `Spec.to_tree` returns it.
        origins: dotted path -> place in the file, for messages.
        source: place of all other values, for messages.

    Raises:
        SpecError: the content is not valid.
    """
    reader = _Reader(origins, source)
    tree = _numbers(copy.deepcopy(tree))
    reader.read_times(tree)
    found = dict(reader.extract_ranges(tree, search_file(), ""))
    file = reader.validate(tree)
    tree = file.model_dump()
    for path, domain in found.items():
        for value in domain.probes():
            reader.validate(_with(tree, {path: value}), report_at=path)
    ordered = sorted(found, key=lambda path: not fields.is_selector(path))
    spec = Spec(file, {path: found[path] for path in ordered})
    reader.check(spec)
    return spec


class _Reader:
    """Validates a tree; errors become sentences with the place of the value."""

    def __init__(self, origins: dict[str, str], source: str) -> None:
        self.origins = origins
        self.source = source

    def error(self, path: str, rest: str) -> SpecError:
        parts = path.split(".")
        candidates = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        where = next((self.origins[c] for c in candidates if c in self.origins), self.source)
        return SpecError(f"{where}: {path} {rest}")

    def read_times(self, tree: dict[str, Any]) -> None:
        for path in TIMES:
            parent, _, name = path.partition(".")
            section = tree.get(parent)
            if isinstance(section, dict) and isinstance(section.get(name), str):
                try:
                    section[name] = seconds(section[name])
                except ValueError as error:
                    raise self.error(path, str(error)) from None

    def extract_ranges(
        self, tree: dict[str, Any], model: type[Section], prefix: str
    ) -> Iterator[tuple[str, ranges.Range]]:
        """Yields (dotted path, range) and replaces each range in the tree by its first value."""
        for key, value in tree.items():
            path = f"{prefix}{key}"
            field = model.model_fields.get(str(key))
            if field is None or not isinstance(value, dict) or path == "provenance":
                continue
            inner = fields.section_type(field.annotation)
            if inner is not None:
                yield from self.extract_ranges(value, inner, path + ".")
                continue
            if path.split(".")[0] not in SEARCHABLE or path in FIXED:
                raise self.error(path, f"is {value}; it cannot be searched, a plain value is expected")
            try:
                domain = ranges.parse(value)
            except ValueError as error:
                raise self.error(path, str(error)) from None
            tree[key] = domain.probes()[0]
            yield path, domain

    def validate(self, tree: dict[str, Any], report_at: str | None = None) -> SearchFile:
        try:
            return search_file().model_validate(tree)
        except ValidationError as failure:
            first = failure.errors()[0]
        path = ".".join(str(p) for p in first["loc"])
        value = first["input"]
        if first["type"] == "extra_forbidden":
            raise self.error(path, f"is an unknown field{fields.hint(path)}")
        rule = _rule(first["msg"])
        if report_at is not None and not path.startswith(report_at):
            path = report_at
        raise self.error(path, f"is {value!r}; {rule}")

    def check(self, spec: Spec) -> None:
        """Checks the rules that involve several fields."""
        self._check_sections(spec)
        self._check_points(spec)
        self._check_needs(spec)
        search = spec.search
        if not spec.ranges and not spec.points:
            raise SpecError(
                f"{self.source}: nothing is searched; give at least one range, such as "
                "{log_uniform: [1e-3, 1]}, or points"
            )
        if len({parse(text).name for text in search.objectives}) < len(search.objectives):
            raise self.error(
                "search.objectives", f"is {search.objectives}; each objective may be listed once"
            )
        early = search.early_stopping
        if early is not None and early.grace is not None and early.grace > spec.max_epochs:
            raise self.error(
                "search.early_stopping.grace",
                f"is {early.grace}; it must not be above training.max_epochs, {spec.max_epochs}",
            )
        self._check_brackets(spec)
        if search.gpus_per_trial > 1 and search.gpus_per_trial != int(search.gpus_per_trial):
            raise self.error(
                "search.gpus_per_trial", f"is {search.gpus_per_trial}; above 1 it must be a whole number"
            )

    def _check_brackets(self, spec: Spec) -> None:
        early = spec.search.early_stopping
        if early is None or early.brackets == 1:
            return
        levels = early.levels(spec.max_epochs)
        if early.brackets > len(levels):
            raise self.error(
                "search.early_stopping.brackets",
                f"is {early.brackets}; each needs a rung to start with, and there are {len(levels)}"
                + (f" (epochs {', '.join(map(str, levels))})" if levels else ""),
            )

    def _check_sections(self, spec: Spec) -> None:
        """A part's own section may be given only if some trial can use the part."""
        for path in self.origins:
            required = fields.requirement(path) if path.count(".") == 1 else None
            if required is None:
                continue
            selector, possible = required.slot.path, _possible(spec, required.slot)
            if set(required.names) & set(possible):
                continue
            written = {origin for p, origin in self.origins.items() if p == path or p.startswith(path + ".")}
            if self.origins.get(selector) == OPTION and OPTION not in written:
                for inside in [p for p in spec.ranges if f"{p}.".startswith(f"{path}.")]:
                    del spec.ranges[inside]
                continue
            chosen = " or ".join(map(str, possible))
            never = " or ".join(required.names)
            raise self.error(path, f"is given, but {selector} is {chosen}, never {never}")

    def _check_needs(self, spec: Spec) -> None:
        """In every possible combination, the network must offer what the other parts need."""
        for slot in SLOTS:
            for name in _possible(spec, slot):
                part: Part = slot.parts[name]
                for network in _possible(spec, NETWORK) if part.needs else ():
                    if lacking := sorted(part.needs - NETWORKS[network].offers):
                        raise self.error(
                            slot.path,
                            f"is {name!r}, a {part.kind} that needs {', '.join(lacking)}, and "
                            f"{NETWORK.path} is {network!r}, which has none",
                        )

    def _check_points(self, spec: Spec) -> None:
        tree = _trial_tree(spec.file)
        for i, point in enumerate(spec.points):
            where = f"points.{i}"
            for path in point:
                if path.split(".")[0] not in SEARCHABLE or path in FIXED or not fields.is_leaf(path):
                    raise self.error(
                        f"{where}.{path}", f"is not a field that can be searched{fields.hint(path)}"
                    )
                if (reason := fields.inactive_reason(path, point, spec.file)) is not None:
                    raise self.error(f"{where}.{path}", f"is given, but {reason}")
            try:
                trial_config().model_validate(_with(tree, point))
            except ValidationError as failure:
                first = failure.errors()[0]
                path = ".".join(map(str, first["loc"]))
                rule = _rule(first["msg"])
                raise self.error(f"{where}.{path}", f"is {first['input']!r}; {rule}") from None


def _rule(message: str) -> str:
    """pydantic's message as the end of an rtune sentence."""
    rule = re.sub(r"^[A-Z]\w+ should ", "it must ", message)
    rule = rule.replace("a valid dictionary or instance of", "a mapping of fields as in")
    rule = re.sub(r" after validation, not \d+$", "", rule)
    return rule.replace("a valid integer", "a whole number").replace("valid ", "")


def seconds(text: str) -> float:
    """Seconds of a text such as `90`, `90s`, `30m`, `2h` or `1d`. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if match is None:
        raise ValueError(f"is {text!r}; a time is a number with s, m, h or d, such as 30m")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def find(name: str) -> Path:
    """The search file at a path, or the built-in search space of that name. Raises SpecError."""
    path = Path(name)
    if len(name) > 1000 or max(map(len, path.parts), default=0) > 255:
        raise SpecError(f"search file {name[:40]}... does not exist: no file has so long a name")
    if path.suffix in (".yaml", ".yml") or "/" in name:
        if not path.is_file():
            raise SpecError(f"search file {name} does not exist")
        return path
    spaces = built_in()
    if name not in spaces:
        close = difflib.get_close_matches(name, spaces, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SpecError(
            f"search space {name!r} is none of the built-in ones ({', '.join(spaces)}) nor a .yaml file{hint}"
        )
    return spaces[name]


def built_in() -> dict[str, Path]:
    """Name -> file of the built-in search spaces."""
    folder = Path(__file__).resolve().parents[2] / "search_spaces"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def _override(tree: dict[str, Any], origins: dict[str, str], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    node = tree
    for key in parents:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise SpecError(f"{OPTION}: {dotted} is not a field; {key} is a plain value")
    node[last] = value
    for inside in [path for path in origins if path.startswith(dotted + ".")]:
        del origins[inside]
    for n in range(1, len(parents) + 2):
        origins.setdefault(".".join(dotted.split(".")[:n]), OPTION)
    origins[dotted] = OPTION


def _numbers(value: Any) -> Any:
    """The tree with fractions such as `8/255` replaced by numbers."""
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return number(value)


def number(value: Any) -> Any:
    """The number of a text such as `8/255`; any other value unchanged."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9.]{1,20})/([0-9]{1,20})", value)):
        with contextlib.suppress(ValueError, ZeroDivisionError):  # 1.2.3/4 and 1/0 remain texts
            return float(match[1]) / int(match[2])
    return value


def _with(tree: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        node = tree
        for key in parents:
            node = node[key]
        node[last] = value
    return tree


def _trial_tree(file: SearchFile) -> dict[str, Any]:
    return file.model_dump(include=set(TrialConfig.model_fields))


def _possible(spec: Spec, slot: Slot) -> list[Any]:
    """Names of the parts that a slot may hold in some trial."""
    domain = spec.ranges.get(slot.path)
    values = domain.probes() if domain else [getattr(getattr(spec.file, slot.section), slot.field)]
    return list(dict.fromkeys(values + [p[slot.path] for p in spec.points if slot.path in p]))
