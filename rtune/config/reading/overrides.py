"""Values of a search file that are replaced on the command line."""

from typing import Any

from rtune.errors import SpecError

# Origin of values that are given on the command line.
OPTION = "command line"


def override(tree: dict[str, Any], origins: dict[str, str], dotted: str, value: Any) -> None:
    """Replaces the value at a dotted path, in place. Raises SpecError if a plain value is in its way."""
    *parents, last = dotted.split(".")
    node = tree
    for key in parents:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise SpecError(f"{OPTION}: {dotted} is not a field; {key} is a plain value")
    node[last] = value
    for inside in [path for path in origins if path.startswith(dotted + ".")]:
        del origins[inside]
    for n in range(1, len(parents) + 2):
        origins.setdefault(".".join(dotted.split(".")[:n]), OPTION)
    origins[dotted] = OPTION
