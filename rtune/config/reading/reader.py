"""Validates the content of a search file; every error is a sentence that names the place of the value."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rtune.config import fields, ranges
from rtune.config.catalog import NETWORKS, Part
from rtune.config.reading import texts
from rtune.config.reading.overrides import OPTION
from rtune.config.section import NEW, Section
from rtune.config.sections import FIXED, SEARCHABLE, SLOTS, TIMES, SearchFile, search_file, trial_config
from rtune.errors import SpecError
from rtune.pareto.objectives import parse

if TYPE_CHECKING:
    from rtune.config.spec import Spec

(NETWORK,) = (slot for slot in SLOTS if slot.parts is NETWORKS)


class Reader:
    """Validates a tree; errors become sentences with the place of the value."""

    def __init__(self, origins: dict[str, str], source: str, new: bool = False) -> None:
        self.origins = origins
        self.source = source
        self.context = NEW if new else None

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
                    section[name] = texts.seconds(section[name])
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
                wrong = f"is {texts.shown(value)}; it cannot be searched, a plain value is expected"
                raise self.error(path, wrong)
            try:
                domain = ranges.parse(value)
            except ValueError as error:
                raise self.error(path, str(error)) from None
            if self.context and isinstance(domain, ranges.Choice) and domain.repeats():
                raise self.error(path, f"has choice: {texts.shown(list(domain.values))}; two are the same")
            tree[key] = domain.probes()[0]
            yield path, domain

    def validate(self, tree: dict[str, Any], report_at: str | None = None) -> SearchFile:
        try:
            return search_file().model_validate(tree, context=self.context)
        except ValidationError as failure:
            first = failure.errors()[0]
        path, message = ".".join(str(p) for p in first["loc"]), first["msg"]
        if first["type"] in ("extra_forbidden", "invalid_key") or path.endswith(".[key]"):
            path = path.removesuffix(".[key]")
            raise self.error(texts.cut(path), f"is an unknown field{fields.hint(path)}")
        if report_at is not None and not path.startswith(report_at):
            path = report_at
        if path.startswith("points.") and len(first["loc"]) > 3:  # one of the types that a value may have
            path, message = path.rpartition(".")[0], "Input should be a number, a text, true or false"
        raise self.error(texts.cut(path), _wrong(first["input"], message))

    def check(self, spec: "Spec", left_out: Sequence[dict[str, Any]] = ()) -> None:
        """Checks the rules that involve several fields; `left_out` are points that do not apply."""
        self._check_sections(spec, left_out)
        self._check_points(spec)
        self._check_needs(spec)
        search = spec.search
        if not spec.ranges and not spec.points:
            raise SpecError(
                f"{self.source}: nothing is searched; give at least one range, such as "
                "{log_uniform: [1e-3, 1]}, or points" + _why(spec)
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

    def _check_brackets(self, spec: "Spec") -> None:
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

    def _check_sections(self, spec: "Spec", left_out: Sequence[dict[str, Any]]) -> None:
        """A part's own section may be given only if some trial can use the part."""
        for path in self.origins:
            required = fields.requirement(path) if path.count(".") == 1 else None
            if required is None:
                continue
            selector, possible = required.slot.path, spec.possible(required.slot)
            if set(required.names) & set(possible):
                continue
            written = {origin for p, origin in self.origins.items() if p == path or p.startswith(path + ".")}
            once = {point.get(selector) for point in left_out} & set(required.names)
            if (once or self.origins.get(selector) == OPTION) and OPTION not in written:
                for inside in [p for p in spec.ranges if f"{p}.".startswith(f"{path}.")]:
                    del spec.ranges[inside]
                continue
            chosen = " or ".join(map(str, possible))
            never = " or ".join(required.names)
            raise self.error(path, f"is given, but {selector} is {chosen}, never {never}{_why(spec)}")

    def _check_needs(self, spec: "Spec") -> None:
        """In every possible combination, the network must offer what the other parts need."""
        for slot in SLOTS:
            for name in spec.possible(slot):
                part: Part = slot.parts[name]
                for network in spec.possible(NETWORK) if part.needs else ():
                    if lacking := sorted(part.needs - NETWORKS[network].offers):
                        raise self.error(
                            slot.path,
                            f"is {name!r}, a {part.kind} that needs {', '.join(lacking)}, and "
                            f"{NETWORK.path} is {network!r}, which has none",
                        )

    def _check_points(self, spec: "Spec") -> None:
        tree = spec.trial_tree()
        for i, point in enumerate(spec.points):
            where = f"points.{i}"
            for path in point:
                if path.split(".")[0] not in SEARCHABLE or path in FIXED or not fields.is_leaf(path):
                    raise self.error(
                        texts.cut(f"{where}.{path}"),
                        f"is not a field that can be searched{fields.hint(path)}",
                    )
                if (reason := fields.inactive_reason(path, point, spec.file)) is not None:
                    raise self.error(f"{where}.{path}", f"is given, but {reason}")
            try:
                trial_config().model_validate(fields.replaced(tree, point), context=self.context)
            except ValidationError as failure:
                first = failure.errors()[0]
                path = ".".join(map(str, first["loc"]))
                raise self.error(f"{where}.{path}", _wrong(first["input"], first["msg"])) from None


def _why(spec: "Spec") -> str:
    return "".join(f"; {note}" for note in spec.notes)


def _wrong(value: Any, message: str) -> str:
    """`is VALUE; RULE`, with pydantic's message as the rule."""
    hint = texts.hint(value) if isinstance(value, str) else ""
    return f"is {texts.shown(value)}; {_rule(message)}{hint}"


def _rule(message: str) -> str:
    """pydantic's message as the end of an rtune sentence."""
    rule = re.sub(r"^[A-Z]\w+ should ", "it must ", message)
    rule = rule.replace("a valid dictionary or instance of", "a mapping of fields as in")
    rule = rule.replace("a valid boolean", "true or false")
    rule = re.sub(r" after validation, not \d+$", "", rule)
    return rule.replace("a valid integer", "a whole number").replace("valid ", "")
