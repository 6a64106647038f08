"""Settings saved by an earlier version of rtune, read with the current models.

A missing field did not exist in that version. It gets the value that describes the behaviour of then: the
value of its `Before` mark or, without one, its default. Settings of parts that a trial does not use are
ignored. Settings are compared in this form, so a new field, section or part does not change the identity of
an old run.
"""

import copy
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from rtune.config.section import Before, Section
from rtune.config.sections import (
    SLOTS,
    TrialConfig,
    fields_of,
    parts_with_settings,
    search_file,
    slots,
    trial_config,
)

_NAMED = 4


def dump(config: TrialConfig) -> dict[str, Any]:
    """A trial's settings as they are saved: without the data folder and without unused parts."""
    tree = config.model_dump(mode="json")
    del tree["data"]["folder"]
    _drop_unused(tree)
    return tree


def as_today(tree: dict[str, Any]) -> dict[str, Any] | None:
    """A trial's saved settings as `dump` would save them now; None if the current models reject them."""
    tree = copy.deepcopy(tree)
    try:
        _drop_unused(tree)
        fill(tree, trial_config())
        return dump(trial_config().model_validate(tree))
    except (ValidationError, TypeError, AttributeError, KeyError):
        return None


def are_same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a trial's saved settings, by whatever version of rtune, are those that `dump` gives now."""
    return before == now or as_today(before) == now


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between two trees of settings: `training.lr is 0.2 and was 0.1`; empty if nothing does.

    At most four differences are named.
    """
    found = [f"{path} is {new} and was {old}" for path, old, new in _differing(before, now, "")]
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def fill_search_file(tree: dict[str, Any]) -> None:
    """Adds the missing fields with a `Before` mark to a saved search file, in place."""
    fill(tree, search_file())


def fill(tree: dict[str, Any], model: type[Section]) -> None:
    """As `fill_search_file`, for a section of the class `model`."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            section = tree.get(name, {})
            if isinstance(section, dict):
                fill(section, inner)
                if section:
                    tree[name] = section
            continue
        if name not in tree:
            for mark in field.metadata:
                if isinstance(mark, Before):
                    tree[name] = mark.value


def _drop_unused(tree: dict[str, Any]) -> None:
    """Deletes the sub-sections of parts that are not in use, also of parts whose package is not installed."""
    for section in dict.fromkeys(slot.section for slot in SLOTS):
        found = tree.get(section)
        if not isinstance(found, dict):
            continue
        named = {found.get(slot.field) for slot in slots(section)}
        fields = fields_of(section) - {part.name for part in parts_with_settings(section)}
        for name in [n for n, value in found.items() if isinstance(value, dict)]:
            if name not in named and name not in fields:
                del found[name]


def _differing(before: Any, now: Any, path: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if not isinstance(before, dict) or not isinstance(now, dict):
        if before != now:
            yield path, repr(before), repr(now)
        return
    for key in [*before, *(key for key in now if key not in before)]:
        inner = f"{path}.{key}".lstrip(".")
        if key in before and key in now:
            yield from _differing(before[key], now[key], inner)
        else:
            old, new = (repr(tree[key]) if key in tree else "not given" for tree in (before, now))
            yield inner, old, new
