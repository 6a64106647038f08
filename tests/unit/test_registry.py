"""Parts by name: entry points, names that are taken, and what cannot be imported: one sentence each."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtune.metrics import METRICS, Metric
from rtune.registry import PartError, Registry, resolve


@dataclass(frozen=True)
class Thing:
    name: str


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path, to be filled with a package."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "other_parts", raising=False)
    return tmp_path


def install(folder: Path, points: str, code: str) -> None:
    (folder / "other_parts.py").write_text(code)
    info = folder / "other_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[rtune.things]\n{points}\n")


def registry() -> Registry[Thing]:
    return Registry("thing", "things", Thing, [Thing("own")])


CODE = (
    "from tests.unit.test_registry import Thing\nONE = Thing('one')\nMORE = [Thing('two'), Thing('three')]\n"
)


def test_entry_points_name_parts_and_lists_of_them(package: Path) -> None:
    install(package, "a = other_parts:ONE\nb = other_parts:MORE", CODE)
    found = registry()
    assert found.names() == ("own", "one", "two", "three")
    assert [part.name for part in found.own()] == ["own"]
    assert found.source("two") == "other_parts"
    assert "three" in found
    assert "four" not in found


@pytest.mark.parametrize(
    ("points", "code", "sentence"),
    [
        (
            "a = other_parts:OWN",
            "from tests.unit.test_registry import Thing\nOWN = Thing('own')",
            "two parts are called",
        ),
        (
            "a = other_parts:GONE",
            CODE,
            r"entry point 'a' of rtune\.things \(other_parts:GONE\) cannot be imported",
        ),
        ("a = other_parts:ONE", "1 / 0", "ZeroDivisionError"),
        (
            "a = other_parts:ONE",
            "from rtune.registry import PartError\nraise PartError('thing one is odd')",
            r"entry point 'a' of rtune\.things \(other_parts:ONE\): thing one is odd",
        ),
        ("a = other_parts:ONE", "ONE = 'a text'", r"is a str; a .*Thing, or a list of them, is expected"),
    ],
)
def test_a_package_that_is_wrong_is_named_at_every_use(
    package: Path, points: str, code: str, sentence: str
) -> None:
    install(package, points, code)
    found = registry()
    for _ in range(2):
        with pytest.raises(PartError, match=sentence):
            found.names()


def test_names_are_taken_once_and_the_version_tells_of_changes() -> None:
    found = registry()
    found.add(Thing("new"))
    assert found.version == 1
    assert found.source("new") == "tests"  # the package of the caller, not that of the part's class
    with pytest.raises(PartError, match="two parts are called 'new': a thing of tests and one of tests;"):
        found.add(Thing("new"))
    found.remove("new")
    assert found.version == 2
    with pytest.raises(PartError, match="thing 'new' is unknown; known are own"):
        found["new"]


def test_names_can_be_written_in_search_files_and_are_no_other_columns() -> None:
    with pytest.raises(PartError, match="a thing of rtune is called 'Two words'; a name must match"):
        Registry("thing", "things", Thing, [Thing("Two words")])
    for taken in ("images", "epoch"):
        with pytest.raises(PartError, match=f"is called '{taken}', which is another column of the results"):
            METRICS.add(Metric(taken, "a label", True))
    with pytest.raises(PartError, match="a name must match"):
        METRICS.add(Metric("two-words", "a label", True))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        ("os.path", "'module:attribute' is expected"),
        ("no_such_module:x", "pruner 'p' cannot be imported from no_such_module:x: ModuleNotFoundError"),
        ("os:no_such_name", "AttributeError"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(build: str, sentence: str) -> None:
    with pytest.raises(PartError, match=sentence):
        resolve(build, "pruner 'p'")


def test_attributes_of_attributes_resolve() -> None:
    assert resolve("os:path.join", "x")("a", "b") == "a/b"
