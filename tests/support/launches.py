"""Launches over a log or a run folder, and what a run folder holds before and after one."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from rtune.cli.app import main
from rtune.run.ledger import fold
from rtune.search.limits import Limits
from rtune.search.plan import launch_record, of_launch
from rtune.search.state import Search
from tests.support.plans import make_spec


def resume(run: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["resume", str(run), *args])


def launched(log: list[dict[str, Any]], ends: list[int], trials: int = 12, **changes: Any) -> Search:
    """A launch over a log, as `rtune.cluster.launch` does it."""
    search_spec = make_spec("random", trials)
    if changes:
        tree = search_spec.to_tree()
        tree["search"] |= changes
        from rtune.config import spec

        search_spec = spec.from_tree(tree, {}, "test")
    limits = Limits.of(search_spec.search, trials, ends[-1])
    planned = of_launch(search_spec, limits, fold(log))
    record = launch_record(search_spec, planned, limits, 3, "", (1, 1), "search")
    search = Search(planned, [*log, record], lambda r: log.append(json.loads(json.dumps(r))))
    log.append(json.loads(json.dumps(record)))
    return search


def picture_of(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "lock"}
