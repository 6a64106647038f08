"""The manifests in clusters/kubernetes are valid for KubeRay, and sound; rtune takes their command."""

import copy
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kuberay import check
from tests.support.paths import ROOT

NAMES = ["raycluster.yaml", "rayjob.yaml", "serviceaccount.yaml"]
GUIDE = (ROOT / "docs" / "kubernetes.md").read_text()
GONE = object()


@pytest.mark.parametrize("name", NAMES)
def test_manifest_has_no_problems(name: str) -> None:
    assert check.problems(check.read(name)) == []


def test_every_manifest_is_checked() -> None:
    assert sorted(path.name for path in check.FOLDER.glob("*.yaml")) == NAMES


def test_job_uses_the_same_cluster_as_the_raycluster_manifest() -> None:
    assert check.read("rayjob.yaml")["spec"]["rayClusterSpec"] == check.read("raycluster.yaml")["spec"]


def test_autoscaler_of_ray_reads_the_cluster_as_intended() -> None:
    config = check.derived(check.read("raycluster.yaml")["spec"])
    head, gpu = (config["available_node_types"][name] for name in ("headgroup", "gpu"))
    assert (head["resources"]["CPU"], head["resources"]["GPU"], head["max_workers"]) == (0, 0, 0)
    assert (gpu["resources"]["CPU"], gpu["resources"]["GPU"]) == (3, 1)
    assert (gpu["min_workers"], gpu["max_workers"], config["idle_timeout_minutes"]) == (0, 8, 10)


C = "spec.rayClusterSpec"
HEAD, GPU = f"{C}.headGroupSpec", f"{C}.workerGroupSpecs.0"
HEAD_POD, GPU_POD = f"{HEAD}.template.spec", f"{GPU}.template.spec"
RUN = "--runs s3://b/r --address auto --gpus-per-trial 0.5"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("apiVersion", "ray.io/v1alpha1", "is not one of"),
        ("kind", "RayJobs", "unknown"),
        ("spec.shutDownAfterJobFinishes", True, "unexpected"),
        ("spec.backoffLimit", "0", "is not of type 'integer'"),
        ("spec.submissionMode", "K8SJobMode", "is not one of"),
        ("spec.submitterConfig.backOffLimit", 1, "unexpected"),
        (f"{C}.authOptions.mode", "tokens", "is not one of"),
        (f"{C}.authOptions.token", "x", "unexpected"),
        (f"{C}.rayVersion", 2.6, "is not of type 'string'"),
        (f"{C}.autoscalerOptions.idleTimeoutMinutes", 10, "unexpected"),
        (f"{C}.autoscalerOptions.version", 2, "is not"),
        (f"{C}.headGroupSpec", GONE, "'headGroupSpec' is a required"),
        (f"{HEAD}.rayStartParams.num-cpus", 0, "is not of type 'string'"),
        (f"{HEAD}.template", GONE, "'template' is a required"),
        (f"{HEAD}.enableIngress", "no", "is not of type 'boolean'"),
        (f"{GPU}.groupName", GONE, "'groupName' is a required"),
        (f"{GPU}.maxReplicas", True, "is not of type 'integer'"),
        (f"{GPU}.template.metadata", {"generateName": "x"}, "unexpected"),
        (f"{GPU_POD}.toleration", [], "unexpected"),
        (f"{GPU_POD}.tolerations.0.opertor", "Exists", "unexpected"),
        (f"{GPU_POD}.containers.0.name", GONE, "'name' is a required"),
        (f"{GPU_POD}.containers.0.envFrom.0.secretRef.optional", "true", "is not of type 'boolean'"),
        (f"{GPU_POD}.containers.0.resources.limit", {}, "unexpected"),
        (f"{GPU_POD}.containers.0.resources.limits.memory", "12 GB", "does not match"),
        (f"{GPU_POD}.containers.0.resources.limits.cpu", None, "None is not of type"),
        (f"{HEAD_POD}.containers.0.ports.0.containerPort", "6379", "is not of type 'integer'"),
        (f"{HEAD_POD}.securityContext.runAsUsr", 1000, "unexpected"),
        (f"{C}.rayVersion", "2.59.0", "rayVersion is not"),
        (f"{C}.authOptions", GONE, "no token"),
        (f"{C}.authOptions.mode", "disabled", "no token"),
        (f"{C}.enableInTreeAutoscaling", False, "no autoscaler"),
        (f"{HEAD}.serviceType", "LoadBalancer", "from outside"),
        (f"{HEAD}.enableIngress", True, "from outside"),
        (f"{HEAD}.rayStartParams.num-cpus", GONE, "on the head"),
        (f"{HEAD}.rayStartParams.num-cpus", "1", "on the head"),
        (f"{HEAD_POD}.containers.0.image", "REGISTRY/rtune:0.1.0-ray2.59.0", "the image is not"),
        (f"{HEAD_POD}.securityContext.runAsNonRoot", False, "as root"),
        (f"{HEAD_POD}.restartPolicy", "Always", "restartPolicy"),
        (f"{GPU}.minReplicas", 1, "from zero"),
        (f"{GPU_POD}.containers.0.image", "rayproject/ray:latest", "the image is not"),
        (f"{GPU_POD}.containers.0.resources.requests.memory", "8Gi", "requests differ"),
        (f"{GPU_POD}.containers.0.resources.requests.nvidia.com/gpu", GONE, "requests differ"),
        (f"{GPU_POD}.containers.0.resources", {}, "requests differ"),
        (f"{GPU_POD}.containers.0.env.0.name", "AWS_SECRET_ACCESS_KEY", "written down"),
        (f"{GPU_POD}.containers.0.securityContext", GONE, "become root"),
        (f"{GPU_POD}.tolerations", [], "turn the pod away"),
        ("spec.shutdownAfterJobFinishes", False, "time to live"),
        ("spec.backoffLimit", 2, "a second try"),
        ("spec.entrypoint", f"rtune search cifar10-rgsm --name a {RUN} --concurency 16", "No such option"),
        (
            "spec.entrypoint",
            f"rtune search cifar10-rgsm --name a {RUN} --concurrency many",
            "not a valid",
        ),
        ("spec.entrypoint", f"rtune serch cifar10-rgsm --name a {RUN} --concurrency 16", "no rtune command"),
        ("spec.entrypoint", f"rtune search cifar9 --name a {RUN} --concurrency 16", "refuses the space"),
        ("spec.entrypoint", f"rtune search cifar10-rgsm --name a {RUN} --concurrency 8", "16 trials fit"),
        ("spec.entrypoint", "rtune search digits --runs s3://b/r --concurrency 24", "not run on the cluster"),
        ("spec.entrypoint", "rtune search digits --address auto --concurrency 24", "lost with the cluster"),
        (f"{GPU}.maxReplicas", 4, "8 trials fit"),
    ],
)
def test_each_mistake_in_a_manifest_is_found(path: str, value: Any, said: str) -> None:
    job = copy.deepcopy(check.read("rayjob.yaml"))
    # Gpu's own name has dots, and anchors let parts be shared, which a copy of each part undoes.
    job = yaml.safe_load(_unshared(job))
    *way, last = path.replace("nvidia.com", "nvidia~com").split(".")
    node: Any = job
    for step in way:
        node = node[int(step)] if step.isdigit() else node[step]
    last = last.replace("~", ".")
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    found = check.problems(job)
    assert any(said in problem for problem in found), found


def _unshared(document: dict[str, Any]) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(document, Dumper=Plain)


def test_schema_refuses_unknown_fields_of_every_object() -> None:
    """But maps, and one type that clients never write: else a typo below it would go unseen."""
    loose = [
        name
        for name, kind in check.SCHEMA["$defs"].items()
        if kind.get("type") == "object" and kind.get("additionalProperties") is not False
    ]
    assert loose == ["meta.FieldsV1"]


def test_kubectl_accepts_the_manifests(tmp_path: Path) -> None:
    """Its own reader takes anchors and all; whether the fields exist it can ask a cluster only."""
    if subprocess.run(["which", "kubectl"], capture_output=True, check=False).returncode:
        pytest.skip("kubectl is not here")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": NAMES}))
    for name in NAMES:
        (tmp_path / name).write_text((check.FOLDER / name).read_text())
    read = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    found = {document["kind"]: document for document in yaml.safe_load_all(read.stdout)}
    assert found == {document["kind"]: document for document in map(check.read, NAMES)}


def test_command_in_the_guide_makes_a_job_that_resumes() -> None:
    (script,) = re.findall(r"(sed '[^']+') clusters/kubernetes/rayjob.yaml \| kubectl apply", GUIDE)
    made = subprocess.run(
        ["bash", "-c", f"{script} {check.FOLDER / 'rayjob.yaml'}"], capture_output=True, text=True, check=True
    )
    job = yaml.safe_load(made.stdout)
    began = check.read("rayjob.yaml")
    asked = check.options(job["spec"]["entrypoint"])
    assert (asked["command"], asked["run"]) == ("resume", "first")
    assert asked["runs"] == check.options(began["spec"]["entrypoint"])["runs"]
    assert check.problems(job) == []
    assert job["spec"].pop("entrypoint") != began["spec"].pop("entrypoint")
    assert job == began


def test_commands_in_the_guide_are_valid() -> None:
    named = re.findall(r"^ {4}(?:.* -- )?(rtune .*)$", GUIDE, re.MULTILINE)
    assert {command.split()[1] for command in named} >= {"search", "status", "report"}
    for command in named:
        check.options(command)


class TestImage:
    lines = (check.FOLDER / "Dockerfile").read_text().replace("\\\n", "").splitlines()

    def test_copied_files_exist_and_no_others_are_sent(self) -> None:
        copied = {word for line in self.lines if line.startswith("COPY") for word in line.split()[1:-1]}
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        rules = [line for line in ignored if line and not line.startswith("#")]
        assert rules[0] == "*"
        assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
        for name in copied:
            assert (ROOT / name).exists()

    def test_image_contains_every_package_of_the_project(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
        assert packages <= {line.split()[1] for line in self.lines if line.startswith("COPY")}

    def test_image_installs_the_pinned_dependencies(self, tmp_path: Path) -> None:
        (line,) = [line for line in self.lines if "requirements.txt" in line]
        wanted, install = line.removeprefix("RUN ").split("&&")
        assert install.strip() == "pip install -c constraints.txt -r /tmp/requirements.txt"
        (tmp_path / "python").symlink_to(sys.executable)
        wanted = wanted.replace("/tmp/requirements.txt", str(tmp_path / "requirements.txt"))
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["sh", "-c", wanted], cwd=ROOT, check=True, env={**os.environ, "PATH": path})
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert (tmp_path / "requirements.txt").read_text().splitlines() == project["dependencies"]

    def test_image_runs_as_the_user_of_the_manifests(self) -> None:
        (user,) = [line.split()[1] for line in self.lines if line.startswith("USER")]
        head = check.read("raycluster.yaml")["spec"]["headGroupSpec"]["template"]["spec"]
        assert int(user) == head["securityContext"]["runAsUser"] != 0

    def test_image_contains_the_data_set_of_the_job(self) -> None:
        """Pods come without a data set; the head sends its images to the workers."""
        from rtune.config import spaces, spec

        (baked,) = re.findall(r'^ARG DATASETS="(.*)"$', "\n".join(self.lines), re.MULTILINE)
        asked = check.options(check.read("rayjob.yaml")["spec"]["entrypoint"])
        assert spec.load(spaces.find(asked["space"])).file.data.dataset in baked.split()
