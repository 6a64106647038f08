"""Says in what schema.json differs from real CRDs, for a new KubeRay or for doubt:

    kubectl get crd rayclusters.ray.io rayjobs.ray.io -o yaml > crds.yaml
    python -m tests.support.kuberay.compare crds.yaml

Exit code 1 if the schema lets something pass that the CRDs do not know; fields that only they know are
listed too, and do no harm.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.kuberay.check import SCHEMA

NEW = "only the CRD knows"


def of_documents(documents: list[dict[str, Any]]) -> list[str]:
    """Differences of all versions v1 of RayCluster and RayJob in these documents.

    Raises:
        ValueError: there are none.
    """
    items = [item for document in documents for item in document.get("items", [document])]
    found: list[str] = []
    seen = False
    for item in items:
        kind = item["spec"]["names"]["kind"]
        for version in item["spec"]["versions"]:
            if version["name"] == "v1" and kind in ("RayCluster", "RayJob"):
                seen = True
                theirs = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
                found += differences(SCHEMA["$defs"][f"{kind}Spec"], theirs, kind)
    if not seen:
        raise ValueError("no CRD of RayCluster or RayJob, version v1")
    return found


def differences(ours: dict[str, Any], theirs: dict[str, Any], path: str) -> Iterator[str]:
    while "$ref" in ours:
        ours = SCHEMA["$defs"][ours["$ref"].removeprefix("#/$defs/")]
    if (mine := _types(ours)) != (real := _types(theirs)):
        yield f"{path}: {sorted(mine)} here, {sorted(real)} there"
        return
    # What has a default is filled in before anything is checked.
    for name in set(theirs.get("required", [])) - set(ours.get("required", [])):
        yield f"{path}: {name} is required there"
    if "enum" in theirs and set(ours.get("enum", [])) != set(theirs["enum"]):
        yield f"{path}: {ours.get('enum')} here, {theirs['enum']} there"
    mine, real = ours.get("properties", {}), theirs.get("properties", {})
    for name in sorted(set(mine) | set(real)):
        if name not in mine:
            yield f"{path}.{name}: {NEW} it"
        elif name not in real:
            yield f"{path}.{name}: unknown there"
        else:
            yield from differences(mine[name], real[name], f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(ours.get(inner), dict) and isinstance(theirs.get(inner), dict):
            yield from differences(ours[inner], theirs[inner], f"{path}[]")


def _types(node: dict[str, Any]) -> set[str]:
    if node.get("x-kubernetes-int-or-string"):
        return {"integer", "string"}
    return {node["type"]} if isinstance(node["type"], str) else set(node["type"])


if __name__ == "__main__":
    lines = of_documents(list(yaml.safe_load_all(Path(sys.argv[1]).read_text())))
    print("\n".join(lines) or "no difference")
    sys.exit(any(NEW not in line for line in lines))
