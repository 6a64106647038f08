"""Measures time and memory of the report of a large run.

    python -m benchmarks.report --trials 100000 --epochs 20

Writes the run folder of a search over the digits space (synthetic metrics, no training). Then it measures,
each in a new process: reading the run (`analysis.read`), its front and hypervolume; `rtune report`; and
`rtune report --help`. Prints seconds of wall time and the peak of resident memory.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rtune.config import spaces, spec
from rtune.run.claim import create
from rtune.run.folder import RunFolder
from rtune.search.limits import Limits

# Number of trials that run at the same time; their epochs alternate in the log.
_ABREAST = 500
_IMAGES, _CHANNELS, _WEIGHTS = 10_000, 944, 462_480
_BEGAN = 1.79e9  # seconds since 1970
# Fractions of trials that fail, that are stopped at a rung, and that lose their worker once.
_BROKEN, _STOPPED, _RETRIED = 0.02, 0.04, 0.01

# Starts a command from a small process: Linux counts the memory of the parent process too.
_LAUNCHER = """
import resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
seconds = time.perf_counter() - began
print(code, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def make(runs: Path, trials: int, epochs: int) -> RunFolder:
    """Writes a run of `trials` trials of up to `epochs` epochs, resumed once in the middle."""
    from rtune.search import plan  # not at the top: its import would count in `load`

    overrides = [("points", []), ("search.sampler", "random"), ("training.max_epochs", epochs)]
    search_spec = spec.load(spaces.find("digits"), overrides)
    folder = create(runs, "large", search_spec, {})
    limits = Limits.of(search_spec.search, trials, epochs)
    planned = plan.of_spec(search_spec, trials)
    begin = plan.launch_record(search_spec, planned, limits, _ABREAST, "0" * 64, (1437, 360), "search")
    rng = np.random.default_rng(0)
    cohorts = [range(n, min(n + _ABREAST, trials)) for n in range(0, trials, _ABREAST)]
    half = (len(cohorts) + 1) // 2
    for number, part in enumerate((cohorts[:half], cohorts[half:]), start=1):
        segment = Path(str(folder.place)) / "results" / f"{number:04d}.jsonl"
        with segment.open("w", encoding="ascii") as file:
            file.write(_line(begin | {"time": _BEGAN + number}))
            for cohort in part:
                file.writelines(_cohort(cohort, epochs, planned.rungs(), rng))
    return folder


def _cohort(cohort: range, epochs: int, rungs: list[int], rng: np.random.Generator) -> Iterator[str]:
    """Log lines of trials that run at the same time."""
    names = [f"t{number + 1:04d}" for number in cohort]
    clock = _BEGAN + 100.0 + cohort.start
    for number, name in zip(cohort, names, strict=True):
        yield _line(_trial(number, name, rng) | {"time": clock})
    metrics = _metrics(len(names), epochs, rng)
    lengths, fates = _fates(len(names), epochs, rungs, rng)
    for epoch in range(1, epochs + 1):
        for i in np.flatnonzero(lengths >= epoch).tolist():
            last = lengths[i] == epoch
            decision = fates[i] if last and fates[i] in ("stop", "finish") else "continue"
            clock = round(clock + 0.003, 3)
            place = (epoch, i + 1, len(names), len(names)) if epoch in rungs else ("null",) * 4
            yield _EPOCH % (names[i], epoch, decision, *place, *(m[i][epoch - 1] for m in metrics), clock)
            if last and fates[i] == "diverged":
                end = {"kind": "end", "trial": names[i], "status": "diverged", "epoch": epoch + 1}
                yield _line(end | {"error": "the loss is nan", "time": clock})
            elif epoch == 1 and rng.random() < _RETRIED:
                retry = {"kind": "retry", "trial": names[i], "epoch": 2, "error": "the worker died"}
                yield _line(retry | {"time": clock})


_EPOCH = (
    '{"kind":"epoch","trial":"%s","epoch":%d,"decision":"%s","rung":%s,"rung_position":%s,"rung_size":%s,'
    '"rung_quota":%s,"natural_accuracy":%r,"robust_accuracy":%r,"channel_sparsity":%r,"weight_sparsity":%r,'
    '"removable_channels":%r,"macs":%d,"parameters":%d,"train_seconds":%r,"eval_seconds":%r,"images":5000,'
    '"time":%r}\n'
)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"


def _trial(number: int, name: str, rng: np.random.Generator) -> dict[str, Any]:
    network, method = ("resnet", "enresnet")[rng.integers(2)], ("rvsm", "rgsm")[rng.integers(2)]
    values: dict[str, Any] = {"model.network": network, "pruning.method": method}
    if network == "enresnet":
        values["model.enresnet.gamma"] = rng.uniform(0.02, 0.2)
    if method == "rvsm":
        values |= {"pruning.rvsm.beta": rng.uniform(0.3, 1), "pruning.rvsm.lambda_1": rng.uniform(1e-3, 8e-3)}
    else:
        values |= {
            "pruning.rgsm.lambda_1": rng.uniform(0.04, 0.3),
            "pruning.rgsm.lambda_2": rng.uniform(0.01, 0.025),
        }
    record = {"kind": "trial", "trial": name, "seed": number + 1, "values": values, "sampler": "nsga2"}
    return record | {"facts": {"nsga2:generation": number // 50}}


def _metrics(trials: int, epochs: int, rng: np.random.Generator) -> list[list[list[Any]]]:
    """The metrics in the order of `_EPOCH`, each (trials, epochs).

    Sparser networks are less accurate; more robust networks are less accurate on natural images.
    """
    share = (np.arange(1, epochs + 1) / epochs) ** 0.3
    sparse, hard = rng.random((trials, 1)), rng.random((trials, 1))
    quality = 0.85 + 0.04 * rng.standard_normal((trials, 1))
    noise = 1 + 0.01 * rng.standard_normal((trials, epochs)) * (1.01 - share)
    natural = quality * (0.97 - 0.25 * sparse**3 - 0.12 * hard**2) * share * noise
    robust = quality * (0.35 + 0.4 * np.sqrt(hard) - 0.3 * sparse**3) * share * noise
    channels = sparse * share
    weights = 1 - (1 - channels) ** 1.5
    removable = 0.8 * channels
    shares = [
        (natural, _IMAGES),
        (robust, _IMAGES),
        (channels, _CHANNELS),
        (weights, _WEIGHTS),
        (removable, _CHANNELS),
    ]
    fractions = [np.rint(np.clip(values, 0, 1) * of) / of for values, of in shares]
    left = 1 - fractions[-1]
    counts = [np.rint(4.1e7 * left).astype(int), np.rint(4.6e5 * left**2).astype(int)]
    seconds = [np.round(rng.uniform(low, 2 * low, (trials, epochs)), 4) for low in (1.1, 0.2)]
    return [values.tolist() for values in (*fractions, *counts, *seconds)]


def _fates(
    trials: int, epochs: int, rungs: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Number of epochs and outcome of each trial."""
    chance = rng.random(trials)
    broken, stopped = chance < _BROKEN, (chance >= _BROKEN) & (chance < _BROKEN + _STOPPED)
    lengths = np.full(trials, epochs)
    lengths[broken] = rng.integers(0, epochs, broken.sum())
    lengths[stopped] = rng.choice(rungs or [epochs], stopped.sum())
    lengths = np.maximum(lengths, 1)
    fates = np.where(broken & (lengths < epochs), "diverged", np.where(lengths < epochs, "stop", "finish"))
    return lengths, fates.tolist()


def load(run: str) -> dict[str, float]:
    """Seconds to read a run and to compute its front in this process, and the memory used."""
    began = time.perf_counter()
    import analysis

    found: dict[str, float] = {"import": time.perf_counter() - began}

    def note(name: str) -> None:
        nonlocal began
        found[name] = time.perf_counter() - began
        began = time.perf_counter()

    began = time.perf_counter()
    read = analysis.read(run)
    note("read")
    final = analysis.networks(read.rows)
    note("networks")
    objectives = list(read.folder.spec.search.objectives)
    members = analysis.front(final, objectives)
    note("front")
    analysis.hypervolume(members, objectives)
    note("hypervolume")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return found | {"rows": len(read.rows), "members": len(members), "megabytes": peak}


def measure(*command: str) -> tuple[float, float]:
    """Seconds and megabytes (peak of resident memory) of a command in a separate process."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *command], stdout=subprocess.PIPE, check=True, text=True
    )
    code, seconds, kilobytes = done.stdout.split()
    if int(code):
        raise SystemExit(f"{' '.join(command)} ended with exit code {code}")
    return float(seconds), float(kilobytes) * 1024 / 1e6


def main() -> None:
    """Parses the command line, writes a run, measures, and prints one line per result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where to keep the run; a temporary folder by default")
    parser.add_argument("--load", metavar="RUN", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.load is not None:
        print(json.dumps(load(options.load)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = make(options.folder or Path(scratch), options.trials, options.epochs)
        facts = {"trials": options.trials, "epochs_each": options.epochs} | _figures(folder)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{options.trials:,} trials of up to {options.epochs} epochs, {machine}")
    for name, value in facts.items():
        print(f"{name:32} {value:,}")
    if options.json is not None:
        facts = {"machine": machine, "date": f"{datetime.date.today()}", **facts}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


def _figures(folder: RunFolder) -> dict[str, float]:
    """Name -> seconds or megabytes."""
    where = str(folder.place)
    me = [sys.executable, "-m", "benchmarks.report", "--load", where]
    parts = json.loads(subprocess.run(me, stdout=subprocess.PIPE, check=True, text=True).stdout)
    rtune = [sys.executable, "-m", "rtune", "report"]
    seconds, megabytes = measure(*rtune, where)
    page = Path(where) / "report" / "index.html"
    log = sum(segment.stat().st_size for segment in (Path(where) / "results").iterdir())
    found = {
        "log_megabytes": log / 1e6,
        "rows": parts.pop("rows"),
        "front_members": parts.pop("members"),
        "load_peak_megabytes": parts.pop("megabytes"),
        "load_seconds": sum(parts.values()),
        **{f"load_{name}_seconds": value for name, value in parts.items()},
        "report_seconds": seconds,
        "report_peak_megabytes": megabytes,
        "report_html_megabytes": page.stat().st_size / 1e6,
    }
    found["help_seconds"], found["help_peak_megabytes"] = measure(*rtune, "--help")
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    main()
