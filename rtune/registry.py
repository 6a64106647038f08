"""Registries of parts by name: those of rtune, and those that installed packages add by entry points."""

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from rtune.errors import UsageError


class PartError(UsageError):
    """A part cannot be registered or imported; the message names the part and the reason."""


class Named(Protocol):
    """An object with a name, which a registry can hold."""

    @property
    def name(self) -> str:
        """Name in search files."""


E = TypeVar("E", bound=Named)


class Registry(Generic[E]):
    """The parts of one kind.

    Entry points of the group `rtune.GROUP` name a part (`"my_package.parts:PART"`) or a list of parts. They
    are loaded at the first use, so their modules should be fast to import.

    Args:
        kind: name of the kind in messages, such as `network`.
        group: group of the entry points, without `rtune.`.
        type_: class of the parts.
        own: the parts that come with rtune.
        name: regular expression that names must match.
        reserved: names that no part may have.

    Attributes:
        version: incremented when a part is added or removed; caches of derived objects depend on it.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        type_: type[E],
        own: Iterable[E],
        name: str = r"[a-z][a-z0-9_-]*",
        reserved: Collection[str] = (),
    ) -> None:
        self.kind = kind
        self.group = f"rtune.{group}"
        self.version = 0
        self._type = type_
        self._name = re.compile(name)
        self._reserved = reserved
        self._parts: dict[str, E] = {}
        self._sources: dict[str, str] = {}
        self._complete = False
        for part in own:
            self._add(part, "rtune")

    def add(self, part: E) -> None:
        """Adds a part to this process, as the caller's. Raises PartError if its name is taken."""
        self._read_entry_points()
        self._add(part, str(sys._getframe(1).f_globals.get("__name__", "")).partition(".")[0])
        self.version += 1

    def remove(self, name: str) -> None:
        """Removes a part from this process; for tests. Raises KeyError if there is none of that name."""
        self._read_entry_points()
        del self._parts[name], self._sources[name]
        self.version += 1

    def own(self) -> tuple[E, ...]:
        """The parts that come with rtune; entry points are not loaded."""
        return tuple(part for name, part in self._parts.items() if self._sources[name] == "rtune")

    def names(self) -> tuple[str, ...]:
        """Names of all parts, those of rtune first. Raises PartError if an entry point is not valid."""
        self._read_entry_points()
        return tuple(self._parts)

    def source(self, name: str) -> str:
        """Name of the package that a part comes from."""
        self._read_entry_points()
        return self._sources[name]

    def __getitem__(self, name: str) -> E:
        self._read_entry_points()
        if name not in self._parts:
            raise PartError(f"{self.kind} {name!r} is unknown; known are {', '.join(self._parts)}")
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[E]:
        self._read_entry_points()
        return iter(list(self._parts.values()))

    def __len__(self) -> int:
        return len(self.names())

    def _add(self, part: E, source: str) -> None:
        if not self._name.fullmatch(part.name):
            raise PartError(
                f"a {self.kind} of {source} is called {part.name!r}; a name must match {self._name.pattern}"
            )
        if part.name in self._reserved:
            raise PartError(
                f"a {self.kind} of {source} is called {part.name!r}, which is another column of the results; "
                "choose another name"
            )
        if part.name in self._parts:
            raise PartError(
                f"two parts are called {part.name!r}: a {self.kind} of {self._sources[part.name]} and one of "
                f"{source}; names must be unique"
            )
        self._parts[part.name] = part
        self._sources[part.name] = source

    def _read_entry_points(self) -> None:
        if self._complete:
            return
        self._complete = True
        try:
            for point in importlib.metadata.entry_points(group=self.group):
                for part in self._loaded(point):
                    self._add(part, point.value.partition(":")[0].partition(".")[0])
        except BaseException:
            self._complete = False  # the next use must raise the same error, not report an unknown part
            raise

    def _loaded(self, point: importlib.metadata.EntryPoint) -> list[E]:
        try:
            found: Any = point.load()
        except PartError as error:
            raise PartError(f"entry point {point.name!r} of {self.group} ({point.value}): {error}") from None
        except Exception as error:  # packages of others may raise anything
            raise PartError(
                f"entry point {point.name!r} of {self.group} ({point.value}) cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from None
        parts = list(found) if isinstance(found, list | tuple) else [found]
        for part in parts:
            if not isinstance(part, self._type):
                raise PartError(
                    f"entry point {point.name!r} of {self.group} ({point.value}) is a {type(part).__name__}; "
                    f"a {self._type.__module__}.{self._type.__name__}, or a list of them, is expected"
                )
        return parts


def resolve(build: str, what: str) -> Any:
    """Imports the object that `"module:attribute"` names.

    Args:
        build: such as `"rtune.robust:RVSM"`; dots after the colon go into attributes.
        what: name of the part in messages, such as `pruner 'rvsm'`.

    Raises:
        PartError: the module or attribute does not exist, or its import fails.
    """
    module, colon, attributes = build.partition(":")
    if not module or not colon or not attributes:
        raise PartError(f"{what} is built by {build!r}; 'module:attribute' is expected")
    try:
        found: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except Exception as error:  # packages of others may raise anything
        raise PartError(f"{what} cannot be imported from {build}: {type(error).__name__}: {error}") from None
    return found
