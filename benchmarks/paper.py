"""Tests the claims of the paper (arXiv 2003.00631) at a smaller size: `python -m benchmarks.paper digits`.

Trains ResNet20, ResNet38 and noisy ensembles with every method and several seeds, and measures each network
once on the test split. For each statement of the paper, prints the effect, its 95 % confidence interval and
whether it was reproduced. Needs neither Ray nor pydantic:

    python -m benchmarks.paper digits --json FILE
    python -m benchmarks.paper fashion-mnist --folder DIR --device cuda --json FILE
    python -m benchmarks.paper --from FILE

Every finished training is saved next to FILE (as FILE with the ending .partial.jsonl). After an interruption
the same command continues from there; if FILE lacks an arm or a seed, it continues from FILE.
"""

import argparse
import datetime
import hashlib
import json
import multiprocessing
import os
import platform
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import rendering
from benchmarks.claims.arms import NETWORKS, Arm, Part, Preset, arms, run, splits
from benchmarks.claims.presets import PRESETS, off_ladder
from benchmarks.speed.processor import processor
from rtune.robust.data import DataError
from rtune.robust.models import PreActResNet

ROOT = Path(__file__).resolve().parent.parent


class ResultsError(Exception):
    """A results file that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Plan:
    """Everything that determines the results: what is trained, and on which device."""

    preset: Preset
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    device: str
    folder: Path | None
    part: Part

    def jobs(self) -> list[tuple[Arm, int]]:
        """All arms with the first seed, then with the next, so that an interrupted run has complete pairs."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]

    def identity(self) -> dict[str, Any]:
        """What must be equal in a run and in the saved records that it continues, sources included."""
        facts = {"preset": asdict(self.preset), "device": self.device, "part": self.part}
        plain: dict[str, Any] = json.loads(json.dumps({**facts, "source": source_digest()}))
        return plain


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, or reads saved results with `--from`, and prints both tables; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        if options.source:
            results = load_results(options.source)
        else:
            results = compare(_plan(options), options.workers, options.json, given, options.note)
        print(rendering.text(results))
        if options.markdown:
            options.markdown.write_text(rendering.markdown(results) + "\n")
    except (ResultsError, DataError, OSError) as error:
        print(f"benchmarks.paper: {error}", file=sys.stderr)
        return 1
    return 0


def compare(
    plan: Plan, workers: int, file: Path, command: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    """Runs the trainings that are not in the saved records, writes `file`, and returns its content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.jsonl")
    records = _continue(file, partial, plan.identity())
    done = {(r["arm"], r["seed"]) for r in records}
    todo = [(arm, seed) for arm, seed in plan.jobs() if (arm.key, seed) not in done]
    wanted = {(arm.key, seed) for arm, seed in plan.jobs()}
    start, session = time.perf_counter(), time.time()
    with partial.open("a") as log:
        for record in _run(plan, todo, workers):
            # The last `since` of a session is its wall time, also if it was killed.
            record |= {"session": round(session, 1), "since": round(time.perf_counter() - start, 1)}
            log.write(json.dumps(record) + "\n")
            log.flush()
            records.append(record)
            _say(record, len(records), len(wanted))
    results = _results(plan, [r for r in records if (r["arm"], r["seed"]) in wanted], workers, command, notes)
    file.write_text(_dumps(results))
    partial.unlink()
    return results


def load_results(file: Path) -> dict[str, Any]:
    """Reads a file of `compare`. Raises ResultsError if it is not one."""
    try:
        results: dict[str, Any] = json.loads(file.read_text())
        if results["schema"] != 1:
            raise ResultsError(f"{file} has schema {results['schema']}; 1 is known")
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{file} is not a results file of this benchmark: {error}") from None
    return results


def source_digest() -> str:
    """sha256 of the files that determine the results, so that a figure can be traced to its code."""
    digest = hashlib.sha256()
    science = ROOT / "rtune" / "robust"
    for file in sorted([ROOT / "benchmarks" / "claims" / "arms.py", *science.rglob("*.py")]):
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _continue(file: Path, partial: Path, identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Records of an interrupted run, or else those of a finished run with the same identity.

    An incomplete last line of `partial` is removed. If `partial` does not exist, it is created.
    """
    lines = partial.read_bytes().splitlines(keepends=True) if partial.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
        partial.write_bytes(b"".join(lines))
    if not lines:
        old = load_results(file) if file.exists() else {}
        found = old["records"] if all(old.get(k) == v for k, v in identity.items()) else []
        partial.write_text("".join(json.dumps(line) + "\n" for line in [identity, *found]))
        return list(found)
    header, *records = map(json.loads, lines)
    if header != identity:
        differs = ", ".join(key for key in identity if header.get(key) != identity[key])
        raise ResultsError(f"{partial} is from a run with another {differs}; move it, or give another --json")
    return records


def _run(plan: Plan, todo: list[tuple[Arm, int]], workers: int) -> Iterator[dict[str, Any]]:
    """Yields each record when its training is finished."""
    fixed = (plan.device, plan.folder, plan.part)
    if workers == 1:
        _one_thread()
        for arm, seed in todo:
            yield run(plan.preset, arm, seed, *fixed)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            futures = [pool.submit(run, plan.preset, arm, seed, *fixed) for arm, seed in todo]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    _one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _one_thread() -> None:
    # Such small networks gain nothing from more threads, and there is a worker per core.
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """Ends this worker when its parent has died; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _results(
    plan: Plan, records: list[dict[str, Any]], workers: int, command: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    train, measured = splits(plan.preset, plan.seeds[0], plan.device, plan.folder, plan.part)
    channels = train.images.shape[1]
    walls: dict[float, float] = {}
    for record in records:
        walls[record["session"]] = max(walls.get(record["session"], 0.0), record["since"])
    order = {job: place for place, job in enumerate((a.key, s) for a, s in plan.jobs())}
    records = sorted(records, key=lambda r: order[r["arm"], r["seed"]])
    return {
        "schema": 1,
        "command": f"python -m benchmarks.paper {shlex.join(command)}",
        "date": f"{datetime.date.today()}",
        "machine": _machine(),
        "device_name": _device_name(plan.device),
        "workers": workers,
        "wall_seconds": round(sum(walls.values()), 1),
        "sessions": len(walls),
        "cpu_seconds": round(sum(r["cpu_seconds"] for r in records), 1),
        **plan.identity(),
        "seeds": list(plan.seeds),
        "train_images": len(train),
        "measured_images": len(measured),
        "notes": list(notes),
        "arms": [
            {
                "key": arm.key,
                "network": arm.network,
                "method": arm.method,
                "settings": dict(arm.settings),
                "parameters": _parameters(arm, plan.preset.width, channels),
            }
            for arm in sorted(plan.arms, key=lambda arm: list(NETWORKS).index(arm.network))
        ],
        "records": records,
    }


def _parameters(arm: Arm, width: int, channels: int) -> int:
    depth, members, _ = NETWORKS[arm.network]
    with torch.device("meta"):
        model = PreActResNet(depth=depth, width=width, in_channels=channels, members=members)
    return sum(p.numel() for p in model.parameters())


def _machine() -> dict[str, Any]:
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _dumps(results: dict[str, Any]) -> str:
    """JSON with one line per record, which is short and gives readable diffs."""
    records = ",\n".join("  " + json.dumps(record) for record in results["records"])
    head = json.dumps({**results, "records": []}, indent=1)
    return head.replace('"records": []', f'"records": [\n{records}\n ]') + "\n"


def _say(record: dict[str, Any], done: int, total: int) -> None:
    metrics = record["metrics"]
    if metrics is None:
        outcome = "diverged"
    else:
        names = ("natural_accuracy", "ifgsm-20", "channel_sparsity", "weight_sparsity")
        outcome = " ".join(f"{name} {metrics[name]:.3f}" for name in names)
    print(
        f"[{done}/{total}] {record['arm']} seed {record['seed']}: {outcome} ({record['cpu_seconds']} s)",
        file=sys.stderr,
        flush=True,
    )


def _plan(options: argparse.Namespace) -> Plan:
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.dataset == "digits":
        name = "digits"
    else:
        size = options.size or ("full" if device.startswith("cuda") else "reduced")
        name = f"{options.dataset}-{size}"
    preset = PRESETS[name]
    if options.betas:
        preset = replace(preset, betas=tuple(options.betas))
    if options.lambdas:
        preset = replace(preset, lambdas=tuple(options.lambdas))
    if options.max_epochs:
        preset = replace(preset, recipe=replace(preset.recipe, max_epochs=options.max_epochs))
    first = options.first_seed
    seeds = tuple(range(first, first + (options.seeds or preset.seeds)))
    if options.workers is None:
        options.workers = 1 if device.startswith("cuda") else len(os.sched_getaffinity(0))
    if options.json is None:
        options.json = ROOT / "benchmarks" / "results" / f"paper-{name}.json"
    print(f"{name} on {device}, {options.workers} workers; results go to {options.json}", file=sys.stderr)
    return Plan(preset, (*arms(preset), *off_ladder(preset)), seeds, device, options.folder, options.part)


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=summary)
    parser.add_argument("dataset", nargs="?", choices=("digits", "fashion-mnist"), default="digits")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="print saved results")
    parser.add_argument("--json", type=Path, help="file for the results (benchmarks/results/paper-*.json)")
    parser.add_argument("--markdown", type=Path, help="file for both tables")
    parser.add_argument("--note", action="append", default=[], help="note in the results; may be repeated")
    parser.add_argument("--folder", type=Path, help="folder with the files of the data set")
    parser.add_argument("--device", help="torch device (cuda if available, else cpu)")
    parser.add_argument("--size", choices=("full", "reduced"), help="for Fashion-MNIST (full on a GPU)")
    parser.add_argument("--workers", type=int, help="processes (number of cores; 1 on a GPU)")
    parser.add_argument("--seeds", type=int, help="number of seeds of each arm")
    # To choose a ladder: `--part validation --first-seed 100 --seeds 1 --betas ...`.
    parser.add_argument("--part", choices=("test", "validation"), default="test", help="split to measure on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--betas", type=float, nargs=3, help="values of beta for RVSM (those of the preset)")
    parser.add_argument(
        "--lambdas", type=float, nargs=3, help="values of lambda_1 for RGSM (those of the preset)"
    )
    parser.add_argument("--max-epochs", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
