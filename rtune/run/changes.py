"""Which settings may differ from launch to launch of one run, and which may not."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from rtune.config import saved
from rtune.config.spec import Spec, from_tree
from rtune.errors import SpecError

# Dotted paths of search.yaml that affect no result: users may edit them (docs/resume.md).
FREE = (
    "description",
    "provenance",
    "data.folder",
    "search.trials",
    "search.time_budget",
    "search.concurrency",
    "search.cpus_per_trial",
    "search.gpus_per_trial",
    "search.max_failures",
    "search.report_timeout",
)
_NAMED = 4


def fixed(spec: Spec) -> dict[str, Any]:
    """The part of a search file that affects results, as JSON values for the log."""
    tree: dict[str, Any] = json.loads(json.dumps(spec.to_tree()))
    for path in FREE:
        *parents, last = path.split(".")
        node = tree
        for key in parents:
            node = node[key]
        node.pop(last, None)
    return tree


def differences(before: dict[str, Any], spec: Spec) -> str:
    """The changes as text, such as `data.dataset is 'cifar10' and was 'digits'`; empty if there are none.

    Args:
        before: `fixed` of the search file at the first launch, by any version of rtune.
        spec: the current search file.
    """
    then, now = _as_today(before), fixed(spec)
    found = [f"{path} is {new} and was {old}" for path, old, new in _differing(then, now, "")]
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def _as_today(before: dict[str, Any]) -> dict[str, Any]:
    """A search file of the log read with the current models; unchanged if they reject it."""
    tree = copy.deepcopy(before)
    try:
        saved.fill_search_file(tree)
        return fixed(from_tree(tree, {}, "the log"))
    except (SpecError, AttributeError, TypeError):
        return before


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
