"""The settings of a search as they were understood: those that were given, or are not the default."""

import json
from collections.abc import Iterator

from rtune.config import fields, ranges
from rtune.config.sections import TIMES, search_file
from rtune.config.spec import Spec
from rtune.run import summary

_MOST_POINTS = 50


def lines(spec: Spec) -> Iterator[str]:
    """`PATH = VALUE` for each such setting, fractions and times as numbers; then the points."""
    model = search_file()
    default = fields.plain(model().model_dump(exclude={"provenance"}), model)
    now = fields.plain(spec.file.model_dump(exclude={"provenance", "points"}), model)
    for path, value in now.items():
        required = fields.requirement(path)
        if required is not None and not set(required.names) & set(spec.possible(required.slot)):
            continue
        if path in spec.ranges:
            yield f"{path} = {json.dumps(ranges.dump(spec.ranges[path]), ensure_ascii=False)}"
        elif path in spec.given or path not in default or default[path] != value:
            seconds = f" seconds ({summary.clock(value)})" if path in TIMES and value is not None else ""
            yield f"{path} = {json.dumps(value, ensure_ascii=False)}{seconds}"
    for index, point in enumerate(spec.points[:_MOST_POINTS]):
        yield f"points.{index} = {json.dumps(point, ensure_ascii=False)}"
    if len(spec.points) > _MOST_POINTS:
        yield f"and {len(spec.points) - _MOST_POINTS} more points"
