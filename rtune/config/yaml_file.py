"""YAML with line numbers: the content of a file and the line of every dotted path.

1e-3 is a number here. `010`, `0x10`, `12:30`, `yes` and `2026-11-28`, which YAML 1.1 turns into other
numbers, a truth value and a date, remain texts; the field decides whether it reads or refuses them.
"""

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from rtune.errors import UsageError
from rtune.storage import paths
from rtune.storage.paths import StorageError

# Bounds against files that take minutes to read: bytes; values, with those an alias stands for; levels.
_MOST_BYTES, _MOST_VALUES, _MOST_LEVELS = 1_000_000, 100_000, 50
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": "[-+]?(?:0|[1-9][0-9]{0,30})",
    "float": r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class YamlError(UsageError):
    """The text is not YAML, or not a mapping of plain values; the message names file and line."""


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of `_PLAIN`; a mapping's own keys replace merged ones (`<<`)."""

    yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in found if tag in (f"{_TAG}null", f"{_TAG}merge")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    yaml_constructors = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag in {None, *(f"{_TAG}{kind}" for kind in ("null", "str", "seq", "map"))}
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        own = [(key, value) for key, value in node.value if key.tag != f"{_TAG}merge"]
        super().flatten_mapping(node)
        merged = {str(key.value): (key, value) for key, value in node.value[: len(node.value) - len(own)]}
        for key, _ in own:
            merged.pop(str(key.value), None)
        node.value = [*merged.values(), *own]

    def truth(self, node: yaml.ScalarNode) -> Any:
        """A truth value; the text itself if it is none."""
        text = str(self.construct_scalar(node))
        return text.lower() == "true" if re.fullmatch(_PLAIN["bool"], text) else text

    def number(self, node: yaml.ScalarNode) -> Any:
        """A decimal number; the text itself if it is none, or would become infinity or zero."""
        text = str(self.construct_scalar(node))
        if re.fullmatch(_PLAIN["int"], text):
            return int(text)
        if re.fullmatch(_PLAIN["float"], text) is None:
            return text
        if text[-1] in "fFnN":
            return float(text.replace(".", ""))
        value = float(text)
        is_lost = math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", text)[0]))
        return text if is_lost else value


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or `_Loader` would take for something else."""


for _kind, _pattern in _PLAIN.items():
    _first = "tTfF" if _kind == "bool" else "-+0123456789."
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(f"{_TAG}bool", _Loader.truth)
_Loader.add_constructor(f"{_TAG}int", _Loader.number)
_Loader.add_constructor(f"{_TAG}float", _Loader.number)


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The mapping in a file, and the origin `file:line` of each dotted path in it.

    Raises:
        YamlError: the file cannot be read, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        with paths.path_errors(path, "read"), paths.open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise YamlError(f"{path} is too large for a search file: above {_MOST_BYTES:,} bytes")
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise YamlError(f"{path} does not exist") from None
    except StorageError as error:
        raise YamlError(str(error)) from None
    except UnicodeDecodeError as error:
        raise YamlError(f"{path} cannot be read: {error}") from None
    return parse(text, str(path))


def parse(text: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """As `read`, for a text; `path` is the file name in messages. Raises YamlError."""
    try:
        value, node = _content(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(f"{path}: not valid YAML: {_one_line(error)}") from None
    if node is None or not isinstance(value, dict):
        raise YamlError(
            f"{path}: a mapping of fields is expected, such as 'data:' and below it 'dataset: digits'"
        )
    origins: dict[str, str] = {}
    _walk(node, "", path, origins)
    return value, origins


def parse_value(text: str) -> Any:
    """One YAML value from the command line. Raises YamlError."""
    try:
        value, node = _content(text)
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(f"{text[:80]!r} is not a YAML value: {_one_line(error)}") from None
    if node is None:
        raise YamlError("no value is given; null stands for none")
    _walk(node, "", "", {})
    return value


def dump(tree: dict[str, Any]) -> str:
    """The text that `parse` reads as this mapping."""
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False))


def _content(text: str) -> tuple[Any, yaml.Node | None]:
    """A text's value and node. Raises YAMLError or ValueError, the latter also if it is nested too deeply."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _check_size(node, {}, 0)
        return loader.construct_document(node), node
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check_size(node: yaml.Node, sizes: dict[int, int], level: int) -> int:
    """Number of values below a node. Raises ValueError if there are too many, or if it contains itself."""
    if sizes.get(id(node)) == 0:
        raise ValueError("a value contains itself")
    if level > _MOST_LEVELS:
        raise ValueError(f"it is nested too deeply: more than {_MOST_LEVELS} levels")
    if id(node) not in sizes:
        sizes[id(node)] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        sizes[id(node)] = 1 + sum(_check_size(one, sizes, level + 1) for one in inner)
    if sizes[id(node)] > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES:,} values")
    return sizes[id(node)]


def _walk(node: yaml.Node, path: str, file: str, origins: dict[str, str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        _check_commas(node, path, file)
        children = [(str(i), child) for i, child in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        children = [(str(key.value), child) for key, child in node.value]
        before = ("", "")
        for key, child in node.value:
            dotted = f"{path}.{key.value}".lstrip(".")
            if dotted in origins:
                raise YamlError(f"{_place(file, key)}{dotted} is given twice")
            if node.flow_style and _is_digits(key) and child.start_mark.index == child.end_mark.index:
                name = f"{path}.{before[0]}".lstrip(".")
                raise YamlError(
                    f"{_place(file, key)}{name} is {before[1]},{key.value}; a number has a decimal point, "
                    f"such as {before[1]}.{key.value}"
                )
            before = (str(key.value), str(child.value))
            origins[dotted] = f"{file}:{key.start_mark.line + 1}"
    else:
        return
    for name, child in children:
        dotted = f"{path}.{name}".lstrip(".")
        origins.setdefault(dotted, f"{file}:{child.start_mark.line + 1}")
        _walk(child, dotted, file, origins)


def _check_commas(node: yaml.SequenceNode, path: str, file: str) -> None:
    """Refuses `[0,5, 0,8]`: whole numbers with and without a blank after the comma."""
    gaps = [(one, two, two.start_mark.index - one.end_mark.index) for one, two in pairwise(node.value)]
    close = [(one, two) for one, two, gap in gaps if gap == 1 and _is_digits(one) and _is_digits(two)]
    if node.flow_style and close and len(close) < len(gaps):
        one, two = close[0]
        raise YamlError(
            f"{_place(file, one)}{path or 'the list'} has {one.value},{two.value}; a number has a decimal "
            f"point, such as {one.value}.{two.value}, and numbers in a list have a blank after each comma"
        )


def _is_digits(node: yaml.Node) -> bool:
    return (
        isinstance(node, yaml.ScalarNode)
        and node.style is None
        and re.fullmatch("[0-9]+", node.value) is not None
    )


def _place(file: str, node: yaml.Node) -> str:
    return f"{file}:{node.start_mark.line + 1}: " if file else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
