"""Makes schema.json, a strict JSON schema of RayCluster, RayJob and ServiceAccount manifests.

    python -m tests.support.kuberay.make_schema DEFINITIONS

KubeRay's own fields come from fields.yaml beside this file. Kubernetes' types come from DEFINITIONS: the
`_definitions.json` of `v1.34.0-local-strict` in the PyPI package kubernetes-validate 1.37.0 (Apache-2.0),
which is Kubernetes' OpenAPI document as JSON schema. KubeRay v1.7's CRDs embed the pod template of
Kubernetes 1.34 or newer, so that whatever 1.34 knows is in them. Only names, types, required fields and
fixed words are kept. Stricter than that package: as in a CRD, null is no value, a quantity has a form, and
the metadata of an embedded template has five fields.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SOURCE = (
    "KubeRay v1.7.0 fields (fields.yaml), Kubernetes v1.34 types; made by tests.support.kuberay.make_schema"
)
PREFIXES = {
    "core.": "io.k8s.api.core.v1.",
    "net.": "io.k8s.api.networking.v1.",
    "meta.": "io.k8s.apimachinery.pkg.apis.meta.v1.",
}
NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
QUANTITY = {
    "type": ["string", "integer"],
    "pattern": rf"^[+-]?{NUMBER}([KMGTPE]i|[numkMGTPE]|[eE][+-]?{NUMBER})?$",
}
KEPT = ("type", "properties", "required", "items", "additionalProperties", "enum", "format", "$ref")


def short(name: str) -> str:
    """`io.k8s.api.core.v1.Container` as `core.Container`."""
    for brief, full in PREFIXES.items():
        if name.startswith(full):
            return brief + name.removeprefix(full)
    return name


def make(definitions: dict[str, Any], fields: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The schema, with all types that manifests of the three kinds can reach."""
    known = {short(name): _bare(definition) for name, definition in definitions.items()}
    known["quantity"] = known["io.k8s.apimachinery.pkg.api.resource.Quantity"] = QUANTITY
    known["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {"type": ["string", "integer"]}
    embedded = ("annotations", "finalizers", "labels", "name", "namespace")
    metadata = known["meta.ObjectMeta"]["properties"]
    known["EmbeddedMeta"] = _object({name: metadata[name] for name in embedded}, [])
    for template in ("core.PodTemplateSpec", "core.Service", "core.PersistentVolumeClaimTemplate"):
        known[template]["properties"]["metadata"] = {"$ref": "#/$defs/EmbeddedMeta"}
    for kind, rows in fields.items():
        known[kind] = _object(
            {name.rstrip("!"): _of(text) for name, text in rows.items()},
            [name.rstrip("!") for name in rows if name.endswith("!")],
        )
    kinds = ("RayCluster", "RayJob", "core.ServiceAccount")
    reached = _reached(kinds, known)
    return {"$comment": SOURCE, "$defs": {name: known[name] for name in sorted(reached)}}


def _of(text: str) -> dict[str, Any]:
    """The schema of a type as fields.yaml writes it."""
    if text[0] == "[":
        return {"type": "array", "items": _of(text[1:-1])}
    if text[0] == "{":
        return {"type": "object", "additionalProperties": _of(text[1:-1])}
    if text[0] == "(":
        return {"type": "string", "enum": text[1:-1].split()}
    if text in ("string", "integer", "number", "boolean"):
        return {"type": text}
    return {"$ref": f"#/$defs/{text}"}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    found = {"type": "object", "additionalProperties": False, "properties": properties}
    return found | ({"required": required} if required else {})


def _bare(node: dict[str, Any]) -> dict[str, Any]:
    """Without words, and without null as a value."""
    kept = {key: node[key] for key in KEPT if key in node}
    if isinstance(kept.get("type"), list):
        kept["type"] = next(kind for kind in kept["type"] if kind != "null")
    if "enum" in kept:
        kept["enum"] = [word for word in kept["enum"] if word is not None]
    if "$ref" in kept:
        return {"$ref": f"#/$defs/{short(re.split('[/]', kept['$ref'])[-1])}"}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _bare(kept[key])
    if "properties" in kept:
        kept["properties"] = {name: _bare(field) for name, field in kept["properties"].items()}
    return kept


def _reached(kinds: tuple[str, ...], known: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    open_ = list(kinds)
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_ += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(known[name]))
    return found


if __name__ == "__main__":
    schema = make(
        json.loads(Path(sys.argv[1]).read_text())["$defs"],
        yaml.safe_load((HERE / "fields.yaml").read_text()),
    )
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(body)}" for name, body in schema["$defs"].items())
    head = json.dumps(schema["$comment"])
    (HERE / "schema.json").write_text(f'{{"$comment": {head},\n"$defs": {{\n{lines}\n}}}}\n')
