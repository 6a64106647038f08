"""Search spaces with finitely many settings: those whose ranges are choices and whole numbers."""

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from rtune.config.ranges import Choice, Range

Values = dict[str, Any]
# The most settings that are listed; a larger space is never exhausted in practice.
MOST = 10_000
_DRAWS = 1000


@dataclass(frozen=True)
class Space:
    """The searched values of a search.

    Attributes:
        ranges: dotted path -> range. A path that names a part comes before the settings of that part.
        points: values that are tried first; each path that they leave open is sampled.
        base: value of each searched path where a trial does not give one.
        is_active: whether a path applies, given the values chosen so far.
    """

    ranges: Mapping[str, Range]
    points: list[Values]
    base: Values
    is_active: Callable[[str, Values], bool]

    @property
    def is_finite(self) -> bool:
        """Whether it has finitely many settings."""
        return all(isinstance(domain, Choice) or domain.integer for domain in self.ranges.values())

    @functools.cached_property
    def settings(self) -> dict[Hashable, Values] | None:
        """All different settings by their `key`, those of the points first; the space must be finite.

        None if there are more than `MOST`.
        """
        found: dict[Hashable, Values] = {}
        grid = () if self.points and not self.ranges else self._below(list(self.ranges), {})
        every = (values for point in self.points for values in self._below(list(self.ranges), dict(point)))
        for count, values in enumerate([*islice(every, MOST + 1), *islice(grid, MOST + 1)]):
            found.setdefault(self.key(values), values)
            if len(found) > MOST or count > 2 * MOST:
                return None
        return found

    def key(self, values: Values) -> Hashable:
        """What distinguishes settings: the value of each searched path that applies."""
        full = {**self.base, **values}
        return tuple((path, full[path]) for path in self.base if self.is_active(path, full))

    def is_complete(self, point: Values) -> bool:
        """Whether a point leaves nothing to be sampled."""
        return all(path in point for path in self.ranges if self.is_active(path, point))

    def untried(self, tried: Set[Hashable], point: Values, seed: list[int]) -> Values | None:
        """A setting that is not among `tried`, drawn at random; None if none is left.

        Args:
            tried: keys of the settings of earlier trials.
            point: values that the setting has if any untried one has them.
            seed: seed of the draw.
        """
        rng = np.random.default_rng(seed)
        listed = self.settings
        if listed is None:
            free = {} if self.is_complete(point) else point
            draws = (self._draw(rng, dict(free)) for _ in range(_DRAWS))
            return next((values for values in draws if self.key(values) not in tried), None)
        left = [values for key, values in listed.items() if key not in tried]
        fitting = [v for v in left if all(v.get(path, self.base[path]) == x for path, x in point.items())]
        choices = fitting or left
        return dict(choices[int(rng.integers(len(choices)))]) if choices else None

    def _below(self, paths: list[str], values: Values) -> Iterator[Values]:
        """All completions of `values` by the ranges of `paths`."""
        if not paths:
            yield values
            return
        path, *rest = paths
        if path in values or not self.is_active(path, values):
            yield from self._below(rest, values)
            return
        for value in _members(self.ranges[path]):
            yield from self._below(rest, {**values, path: value})

    def _draw(self, rng: np.random.Generator, values: Values) -> Values:
        for path, domain in self.ranges.items():
            if path not in values and self.is_active(path, values):
                members = _members(domain)
                values[path] = members[int(rng.integers(len(members)))]
        return values


def _members(domain: Range) -> "tuple[Any, ...] | range":
    if isinstance(domain, Choice):
        return domain.values
    return range(int(domain.low), int(domain.high) + 1)
