"""The comparison of our schema with real CRDs finds what it must; the maker's reading of fields is right."""

from typing import Any

import pytest

from tests.support.kuberay import compare
from tests.support.kuberay.check import SCHEMA
from tests.support.kuberay.make_schema import make


def inlined(node: dict[str, Any]) -> dict[str, Any]:
    """As a CRD has it: no references, numbers or texts marked in Kubernetes' way."""
    if "$ref" in node:
        return inlined(SCHEMA["$defs"][node["$ref"].removeprefix("#/$defs/")])
    made = {key: value for key, value in node.items() if key in ("type", "required", "enum")}
    if isinstance(node["type"], list):
        return {"anyOf": [{"type": kind} for kind in node["type"]], "x-kubernetes-int-or-string": True}
    if "properties" in node:
        made["properties"] = {name: inlined(field) for name, field in node["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if isinstance(node.get(inner), dict):
            made[inner] = inlined(node[inner])
    return made


@pytest.fixture
def crd() -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"properties": {"spec": inlined({"$ref": "#/$defs/RayJobSpec"})}}}
    return {"spec": {"names": {"kind": "RayJob"}, "versions": [{"name": "v1", "schema": schema}]}}


def job(crd: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def test_equal_crd_has_no_differences(crd: dict[str, Any]) -> None:
    assert compare.of_documents([crd]) == []
    assert compare.of_documents([{"items": [crd]}]) == []


def test_each_difference_is_named(crd: dict[str, Any]) -> None:
    cluster = job(crd)["properties"]["rayClusterSpec"]
    del job(crd)["properties"]["backoffLimit"]
    job(crd)["properties"]["newer"] = {"type": "string"}
    job(crd)["required"] = ["entrypoint"]
    cluster["properties"]["authOptions"]["properties"]["mode"]["enum"] = ["disabled", "token", "kerberos"]
    container = cluster["properties"]["workerGroupSpecs"]["items"]["properties"]["template"]["properties"][
        "spec"
    ]["properties"]["containers"]["items"]
    container["properties"]["tty"]["type"] = "string"
    assert sorted(line.split(":")[0] for line in compare.of_documents([crd])) == [
        "RayJob",
        "RayJob.backoffLimit",
        "RayJob.newer",
        "RayJob.rayClusterSpec.authOptions.mode",
        "RayJob.rayClusterSpec.workerGroupSpecs[].template.spec.containers[].tty",
    ]


def test_other_crds_are_refused(crd: dict[str, Any]) -> None:
    crd["spec"]["names"]["kind"] = "RayService"
    with pytest.raises(ValueError, match="no CRD of RayCluster or RayJob"):
        compare.of_documents([crd])


def test_schema_is_made_from_fields_without_descriptions_and_nulls() -> None:
    text = {"type": ["string", "null"], "description": "words"}
    meta: dict[str, Any] = {"type": "object", "properties": dict.fromkeys(["name", "namespace", "uid"], text)}
    meta["properties"] |= {name: {"type": "object"} for name in ("annotations", "finalizers", "labels")}
    core = "io.k8s.api.core.v1."
    holder = {"type": "object", "properties": {"metadata": {"type": "object"}}, "required": ["spec"]}
    definitions = {
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": meta,
        f"{core}PodTemplateSpec": holder | {"properties": {"metadata": {"type": "object"}, "spec": text}},
        f"{core}Service": holder,
        f"{core}PersistentVolumeClaimTemplate": holder,
        f"{core}ServiceAccount": {"type": ["object", "null"], "properties": {"name": text}},
    }
    fields = {
        "RayCluster": {"a!": "[core.PodTemplateSpec]", "b": "{string}", "c": "(x y)"},
        "RayJob": {"d!": "RayCluster", "e": "quantity"},
    }
    kinds = make(definitions, fields)["$defs"]
    assert kinds["RayCluster"] == {
        "type": "object",
        "additionalProperties": False,
        "required": ["a"],
        "properties": {
            "a": {"type": "array", "items": {"$ref": "#/$defs/core.PodTemplateSpec"}},
            "b": {"type": "object", "additionalProperties": {"type": "string"}},
            "c": {"type": "string", "enum": ["x", "y"]},
        },
    }
    assert kinds["RayJob"]["properties"]["d"] == {"$ref": "#/$defs/RayCluster"}
    assert kinds["core.ServiceAccount"] == {"type": "object", "properties": {"name": {"type": "string"}}}
    assert kinds["core.PodTemplateSpec"]["properties"]["spec"] == {"type": "string"}
    assert set(kinds["EmbeddedMeta"]["properties"]) == {
        "annotations", "finalizers", "labels", "name", "namespace",
    }  # fmt: skip
    assert "core.Service" not in kinds
