"""Compares penalty paths with independent trainings at the same strengths: `python -m benchmarks.paths`.

    python -m benchmarks.paths --seeds 5 --json benchmarks/results/paths.json
    python -m benchmarks.paths --setups digits --methods rgsm --networks resnet20 --arms all --seeds 3
    python -m benchmarks.paths --from FILE

For each data set, method and network, prints the hypervolume of each arm, from the nadir to the ideal of all
networks that were trained there, with a paired 95 % interval of its difference to the path. A path trains
the first strength of the method's ladder as long as an independent training, and then each further strength
for a few epochs. Every finished training is saved in FILE; the same command continues an interrupted one.
"""

import argparse
import datetime
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.claims.arms import NETWORKS
from benchmarks.paths import summary
from benchmarks.paths.setups import METHODS, SETUPS, WALKS
from benchmarks.paths.training import INDEPENDENT, Job, run
from benchmarks.speed.processor import processor
from rtune.robust import DataError

FASHION = Path("/usr/share/datasets/fashion-mnist")


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what FILE lacks, or reads with `--from`, and prints the comparison; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.source:
            content = _read(options.source)
        else:
            content = _train(options)
    except (DataError, OSError, ValueError) as error:
        print(f"benchmarks.paths: {error}", file=sys.stderr)
        return 1
    print(text(content))
    return 0


def text(content: dict[str, Any]) -> str:
    """The comparison, one block for each data set, method and network."""
    found = [f"{content['machine']}, {content['date']}, torch {content['torch']}, {content['device']}"]
    head = ["arm", "seeds", "epochs", "seconds", "volume", "path - arm", "robust at 50, 80, 90 %"]
    rows = pd.DataFrame([row for training in content["trainings"] for row in training["rows"]])
    for cell, lines in summary.lines(rows):
        found += ["", ", ".join(cell), _row(head), *(_row(_cells(line)) for line in lines)]
    return "\n".join(found)


def _cells(line: summary.Line) -> list[str]:
    difference = "" if line.arm == "path" else f"{line.difference:+.4f}"
    if difference and line.seeds > 1:
        difference += f" ({line.low:+.4f} to {line.high:+.4f})"
    return [
        line.arm,
        f"{line.seeds}",
        f"{line.epochs:.0f}",
        f"{line.seconds:.1f}",
        f"{line.hypervolume:.4f}",
        difference,
        "  ".join(f"{value:.3f}" for value in line.robust),
    ]


def _row(cells: Sequence[str]) -> str:
    arm, seeds, epochs, seconds, volume, difference, robust = cells
    return f"{arm:<36}{seeds:>6}{epochs:>8}{seconds:>9}{volume:>8}  {difference:<29}{robust}"


def jobs(
    setups: Sequence[str], methods: Sequence[str], networks: Sequence[str], arms: Sequence[str], seeds: int
) -> list[Job]:
    """Seed after seed, so that an interrupted comparison has whole pairs."""
    return [
        Job(setup, method, network, arm, rung, seed)
        for seed in range(seeds)
        for setup in setups
        for method in methods
        for network in networks
        for arm in arms
        for rung in range(len(METHODS[method].rungs) if arm == INDEPENDENT else 1)
    ]


def _train(options: argparse.Namespace) -> dict[str, Any]:
    arms = [INDEPENDENT, *WALKS] if options.arms == ["all"] else options.arms
    asked = jobs(options.setups, options.methods, options.networks, arms, options.seeds)
    content = {
        "date": f"{datetime.date.today()}",
        "machine": processor(),
        "torch": torch.__version__,
        "device": options.device,
        "trainings": [],
    }
    if options.json and options.json.exists():
        content["trainings"] = _read(options.json)["trainings"]
    known = [Job(**training["job"]) for training in content["trainings"]]
    todo = [job for job in asked if job not in known]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, torch.set_num_threads, (1,)) as pool:
        folders = {job: FASHION if job.setup.startswith("fashion") else None for job in todo}
        waiting = {pool.submit(run, job, options.folder or folders[job], options.device): job for job in todo}
        for done, future in enumerate(as_completed(waiting), start=1):
            job = waiting[future]
            content["trainings"].append({"job": asdict(job), "rows": future.result()})
            print(f"{done} of {len(todo)}: {', '.join(map(str, asdict(job).values()))}", file=sys.stderr)
            if options.json:
                _write(options.json, content)
    return content


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    if not isinstance(content, dict) or "trainings" not in content:
        raise ValueError(f"{file} is not a results file of this benchmark")
    return content


def _write(file: Path, content: dict[str, Any]) -> None:
    beside = file.with_suffix(".tmp")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.paths", description=__doc__.splitlines()[0])
    parser.add_argument("--setups", nargs="+", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["resnet20", "en2"])
    parser.add_argument(
        "--arms", nargs="+", choices=[INDEPENDENT, *WALKS, "all"], default=[INDEPENDENT, "path"]
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="trainings at once, each on one thread")
    parser.add_argument("--folder", type=Path, help=f"of Fashion-MNIST; default {FASHION}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="only print the comparison")
    return parser


if __name__ == "__main__":
    sys.exit(main())
