"""The JSON schema of search files: plain settings, or a range where a value may be searched."""

from typing import Any

from rtune.config.ranges import KINDS
from rtune.config.sections import FIXED, SEARCHABLE, TIMES, search_file
from rtune.metrics import METRICS


def search_file_schema() -> dict[str, Any]:
    """The JSON schema, for completion and checks in an editor; fields that can be searched allow ranges."""
    schema = search_file().model_json_schema()
    schema["title"] = "rtune search file"
    del schema["properties"]["provenance"]
    schema["$defs"]["Range"] = {
        "description": "a range to search",
        "oneOf": [
            {
                "type": "object",
                "properties": {kind: {"type": "array", "minItems": 1 if kind == "choice" else 2}},
                "required": [kind],
                "additionalProperties": False,
            }
            for kind in KINDS
        ],
    }
    _allow_fractions(schema["$defs"])
    for section in SEARCHABLE:
        _allow_ranges(schema, _target(schema["properties"][section]), section)
    for path in TIMES:
        section, _, name = path.partition(".")
        _allow(_properties(schema, section)[name], {"type": "string"})
    search = _properties(schema, "search")
    search["objectives"]["items"]["pattern"] = f"^({'|'.join(METRICS.names())})(:(min|max))?$"
    return schema


def _properties(schema: dict[str, Any], section: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][_target(schema["properties"][section])]["properties"]
    return found


def _allow_fractions(node: Any) -> None:
    """Allows fractions wherever the schema has a number, in lists and beside null too."""
    if isinstance(node, dict):
        for inner in list(node.values()):
            _allow_fractions(inner)
        _allow(node, *_fraction(node))
    elif isinstance(node, list):
        for inner in node:
            _allow_fractions(inner)


def _allow_ranges(schema: dict[str, Any], definition: str, path: str) -> None:
    for name, field in schema["$defs"][definition]["properties"].items():
        inner = _target(field)
        if inner is not None:
            _allow_ranges(schema, inner, f"{path}.{name}")
        elif f"{path}.{name}" not in FIXED:
            _allow(field, {"$ref": "#/$defs/Range"})


def _allow(field: dict[str, Any], *others: dict[str, Any]) -> None:
    """Extends a field to alternatives of the schemas `others`."""
    if others and "anyOf" in field:
        field["anyOf"] += others
    elif others:
        plain = {k: field.pop(k) for k in list(field) if k not in ("default", "description", "title")}
        field["anyOf"] = [plain, *others]


def _fraction(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema of fractions such as `8/255` for a number field; empty for other fields."""
    pattern = r"^\s*\d+(\.\d+)?\s*/\s*\d+\s*$"
    return [{"type": "string", "pattern": pattern}] if field.get("type") == "number" else []


def _target(field: dict[str, Any]) -> Any:
    """Name of the definition that a field refers to; None for a plain field."""
    reference = field.get("$ref") or next((o["$ref"] for o in field.get("allOf", ())), None)
    return None if reference is None else reference.rsplit("/", 1)[1]
