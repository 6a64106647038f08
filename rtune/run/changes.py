"""Which settings may differ from launch to launch of one run, and which may not."""

import copy
import json
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
    return saved.differences(then, now)


def _as_today(before: dict[str, Any]) -> dict[str, Any]:
    """A search file of the log read with the current models; unchanged if they reject it."""
    tree = copy.deepcopy(before)
    try:
        saved.fill_search_file(tree)
        return fixed(from_tree(tree, {}, "the log"))
    except (SpecError, AttributeError, TypeError):
        return before
