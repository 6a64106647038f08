"""YAML with line numbers: the content of a file and the line of every dotted path."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from rtune.errors import UsageError
from rtune.storage import paths
from rtune.storage.paths import StorageError


class YamlError(UsageError):
    """The text is not YAML, or not a mapping of plain values; the message names file and line."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that also reads 1e-3 as the number it is (YAML 1.1 requires a dot)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The mapping in a file, and the origin `file:line` of each dotted path in it.

    Raises:
        YamlError: the file cannot be read, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        text = paths.read(path).decode()
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
        loader = _Loader(text)
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
        _check_plain(value)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(f"{path}: not valid YAML: {error}") from None
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
        value = _Loader(text).get_single_data()
        _check_plain(value)
        return value
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(f"{text!r} is not a YAML value: {' '.join(str(error).split())}") from None


def _check_plain(value: Any) -> None:
    """Raises ValueError or RecursionError for a value that contains itself or is nested too deeply."""
    json.dumps(value, default=str, skipkeys=True)


def _walk(node: yaml.Node, path: str, file: str, origins: dict[str, str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        children = [(str(i), child) for i, child in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        children = [(str(key.value), child) for key, child in node.value]
        for key, _ in node.value:
            dotted = f"{path}.{key.value}".lstrip(".")
            where = f"{file}:{key.start_mark.line + 1}"
            if dotted in origins:
                raise YamlError(f"{where}: {dotted} is given twice")
            origins[dotted] = where
    else:
        return
    for key, child in children:
        dotted = f"{path}.{key}".lstrip(".")
        origins.setdefault(dotted, f"{file}:{child.start_mark.line + 1}")
        _walk(child, dotted, file, origins)
