"""Runs of an earlier rtune, and how they were made: `python -m tests.assets.record`.

Each `NAME/` is a run folder as that rtune left it, without what can be made anew (`launch.log`, `lock`,
`optuna.journal`, `report/`); `expected/` is what its commands said of it, and of what machine. Recorded once,
before the code that reads them changed, and kept: to record them again would test nothing.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from tests.support.cluster.searches import family, kill, start
from tests.support.paths import ROOT

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected"
KEPT = ("search.yaml", "results/*.jsonl", "evaluations/*.jsonl", "trials/*/epoch-*.safetensors")

MIXED = [
    ["search", "mixed.yaml", "--name", "mixed", "--concurrency", "1"],
    ["replicate", "mixed", "--trials", "t0003", "--seeds", "2"],
    [*["evaluate", "mixed", "--trials", "t0002,t0003", "--attacks", "natural,fgsm,pgd-2,eot-pgd-2"],
     "--eot-draws", "2", "--noise-draws", "3"],
    ["evaluate", "mixed", "--trials", "t0003", "--attacks", "natural", "--diagnose"],
]  # fmt: skip
# What came of `mixed` when it went on; only the tables are kept.
LONGER = ["resume", "mixed", "--trials", "9", "--max-epochs", "6"]
MORE_SEEDS = ["replicate", "mixed", "--trials", "t0003", "--seeds", "3"]
INTERRUPTED = ["search", "interrupted.yaml", "--name", "interrupted", "--concurrency", "2"]
# The same search, left alone.
WHOLE = ["search", "interrupted.yaml", "--name", "whole", "--concurrency", "1"]
# Without checkpoints: only what they came to is of interest.
CONTROLS = {
    "control": [],
    "control-gp": ["--sampler", "gp"],
    "control-nsga2": ["--sampler", "nsga2", "--trials", "19", "--max-epochs", "2"],
}
EXPORTED = ("t0001", "t0002", "t0003", "t0005", "t0006")


# How the recorded searches chose the images that they measured between rungs; later ones choose otherwise.
AS_THEN = ["--set", "evaluation.between_rungs=strided"]


def control(name: str) -> list[str]:
    """The command that makes a control."""
    return ["search", "control.yaml", "--name", name, "--concurrency", "1", *AS_THEN, *CONTROLS[name]]


def rtune(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """`rtune ARGS` in a folder, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "rtune", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def said(folder: Path, *args: str) -> str:
    """What a command prints; it must succeed."""
    done = rtune(folder, *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def records(run: Path) -> list[dict[str, Any]]:
    """All whole records of a run's log, without rtune's help."""
    lines = [
        line for file in sorted(run.glob("results/*.jsonl")) for line in file.read_bytes().splitlines(True)
    ]
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def images() -> torch.Tensor:
    """Sixteen digits (N, 1, 8, 8)."""
    return torch.tensor(load_digits().images[:16] / 16, dtype=torch.float32)[:, None]


def logits(file: Path) -> torch.Tensor:
    """What an exported network (.pt2) makes of `images`; noise comes from a fixed seed."""
    network = torch.export.load(file).module()
    torch.manual_seed(0)
    with torch.no_grad():
        return network(images())


def machine() -> dict[str, str]:
    """All that the bits of a search on the CPU hang on."""
    packages = ("torch", "numpy", "optuna", "scipy", "scikit-learn")
    return {
        **{name: version(name) for name in packages},
        "capability": torch.backends.cpu.get_cpu_capability(),
        "arithmetic": _arithmetic(),
    }


def _arithmetic() -> str:
    """A digest of what this processor makes of a training step of a small network, by torch alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = torch.Generator().manual_seed(0)
        found = hashlib.sha256()
        for channels in (2, 3, 4, 6, 8, 16):
            shape = (channels, channels, 3, 3)
            weight = torch.randn(shape, generator=generator).requires_grad_()
            x = torch.randn((40, channels, 8, 8), generator=generator).requires_grad_()
            out = F.batch_norm(F.conv2d(x, weight, padding=1), None, None, training=True)
            loss = F.cross_entropy(out.relu().mean((2, 3)), torch.arange(40) % channels)
            for gradient in torch.autograd.grad(loss, (weight, x)):
                found.update(gradient.contiguous().numpy().data)
        return found.hexdigest()
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Makes everything anew."""
    for name in ("mixed", "interrupted", *CONTROLS, "expected"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    EXPECTED.mkdir()
    _write("machine", machine())
    with tempfile.TemporaryDirectory(prefix="rtune-") as scratch:
        folder = Path(scratch)
        for file in HERE.glob("*.yaml"):
            shutil.copy(file, folder)
        _search_with_a_killed_worker(folder, MIXED[0])
        for command in MIXED[1:]:
            said(folder, *command)
        _keep(folder, "mixed")
        _interrupt(folder)
        _keep(folder, "interrupted")
        said(folder, *WHOLE)
        (EXPECTED / "whole.csv").write_text(said(folder, "results", "whole"))
        for name in CONTROLS:
            said(folder, *control(name))
            shutil.rmtree(folder / "runs" / name / "trials")
            _keep(folder, name)
        _write("logits", {trial: _exported(folder, trial) for trial in EXPORTED})
        _go_on(folder)


def _search_with_a_killed_worker(folder: Path, command: list[str]) -> None:
    """A search whose first trial's worker is killed after an epoch, and which goes on to its end."""
    process = start(folder, *command, output=subprocess.DEVNULL)
    while not any(r["kind"] == "epoch" for r in records(folder / "runs" / "mixed")):
        assert process.poll() is None, "it ended too early"
        time.sleep(0.01)
    (worker,) = [
        p for p in family(process) if p.name().startswith("ray::") and "train" in " ".join(p.cmdline())
    ]
    worker.kill()
    assert process.wait(timeout=240) == 0


def _interrupt(folder: Path) -> None:
    """Kills driver and workers: a trial finished or more, two under way, others not begun."""
    process = start(folder, *INTERRUPTED, output=subprocess.DEVNULL)
    run = folder / "runs" / "interrupted"
    while True:
        assert process.poll() is None, "it ended too early"
        log = records(run)
        done = {r["trial"] for r in log if r["kind"] == "epoch" and r["decision"] == "finish"}
        begun = {r["trial"] for r in log if r["kind"] == "trial"} - done
        epochs = [sum(r["kind"] == "epoch" and r["trial"] == name for r in log) for name in begun]
        if done and len(epochs) == 2 and min(epochs) >= 2:
            kill(process)
            return
        time.sleep(0.01)


def _go_on(folder: Path) -> None:
    """What `mixed` becomes in later launches."""
    for name, command in {"longer": LONGER, "replicated": MORE_SEEDS}.items():
        said(folder, *command)
        (EXPECTED / f"{name}.csv").write_text(said(folder, "results", "mixed"))


def _keep(folder: Path, name: str) -> None:
    """A run folder, and what the commands say of it."""
    run = folder / "runs" / name
    for pattern in KEPT:
        for file in sorted(run.glob(pattern)):
            content = file.read_bytes()
            assert not any(str(path).encode() in content for path in (folder, ROOT, Path.home()))
            target = HERE / name / file.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    (EXPECTED / f"{name}.csv").write_text(said(folder, "results", name))
    if name in CONTROLS:
        return
    said(folder, "report", name)
    for table in ("front", "evaluations"):
        if (file := run / "report" / f"{table}.csv").exists():
            shutil.copy(file, EXPECTED / f"{name}-{table}.csv")
    trials = [r["trial"] for r in records(run) if r["kind"] == "trial"]
    _write(
        name,
        {
            "status": status(folder, name),
            "explain": {t: said(folder, "status", name, "--explain", t).splitlines() for t in trials},
            "best": json.loads(said(folder, "best", name, "--json")),
            "constrained": json.loads(said(folder, "best", name, "--json", *CONSTRAINED)),
        },
    )


CONSTRAINED = ["--where", "natural_accuracy>=0.3", "--maximize", "robust_accuracy"]


def status(folder: Path, run: str) -> dict[str, Any]:
    """What `status --json` says, but for where the run lies and how large the folder is."""
    facts = json.loads(said(folder, "status", run, "--json"))
    return {key: value for key, value in facts.items() if key not in ("run", "bytes")}


def _exported(folder: Path, trial: str) -> list[list[float]]:
    file = folder / f"{trial}.pt2"
    said(folder, "export", "mixed", trial, "--output", str(file))
    return [[round(value, 7) for value in row] for row in logits(file).tolist()]


def _write(name: str, content: dict[str, Any]) -> None:
    (EXPECTED / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
