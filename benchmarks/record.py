"""Records learning curves of random settings, for searches in simulated time.

    python -m benchmarks.record benchmarks/tables/digits.yaml --output benchmarks/tables/digits.csv

The settings are drawn at random from a search space, and each is trained fully, without early stopping. The
CSV file has a row for each epoch: `config`, `epoch`, the metrics, `train_seconds`, and a column for each
searched value, which is empty where the value does not apply. If the file exists, the recording continues. A
setting that diverges ends with a row without accuracies and sparsities.
"""

import argparse
import csv
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims.arms import pooled, stratified
from rtune.config import spaces, spec
from rtune.robust import Diverged, Split
from rtune.run.ledger import Trial
from rtune.search.plan import of_spec
from rtune.search.suggestions import OptunaSuggester
from rtune.worker import build
from rtune.worker.measures import measure_epoch

METRICS = ("natural_accuracy", "robust_accuracy", "channel_sparsity", "weight_sparsity", "train_seconds")


def draw(space: spec.Spec, settings: int) -> list[dict[str, Any]]:
    """Random settings (dotted path -> value) of a space."""
    sampler = OptunaSuggester(of_spec(space))
    drawn: list[Trial] = []
    for i in range(settings):
        drawn.append(Trial(str(i), i, sampler.suggest(drawn, {})[0], "random"))
    return [trial.values for trial in drawn]


@dataclass(frozen=True)
class Reduction:
    """A reduction of a data set, so that a CPU can train on it.

    Attributes:
        train_images, validation_images: largest number of images, equal for all classes; 0 for all images.
        pool: side in pixels of the squares over which images are averaged; 1 for no reduction.
    """

    train_images: int = 0
    validation_images: int = 0
    pool: int = 1

    def __call__(self, train: Split, validation: Split) -> tuple[Split, Split]:
        train, validation = (
            pooled(stratified(split, images, 0), self.pool)
            for split, images in ((train, self.train_images), (validation, self.validation_images))
        )
        return train, validation


Job = tuple[str, int, dict[str, Any], Reduction]


def curve(job: Job) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    """Trains one setting; returns its index, its values, and one row for each epoch."""
    name, number, values, reduction = job
    torch.set_num_threads(1)
    space = spec.load(spaces.find(name))
    config = space.trial_config(values)
    train, validation = reduction(
        *build.splits(config.data, space.search.seed, torch.device("cpu"), download=True)
    )
    trainer = build.trainer(config, train, seed=number)
    rows = []
    while trainer.epoch < space.max_epochs:
        begun, where = time.perf_counter(), {"config": number, "epoch": trainer.epoch + 1}
        try:
            metrics = measure_epoch(trainer, validation, config)
        except Diverged:
            rows.append(where | {"train_seconds": time.perf_counter() - begun})
            break
        rows.append(where | {m: metrics[m] for m in METRICS})
    return number, values, rows


def record(
    name: str, settings: int, output: Path, workers: int, reduction: Reduction = Reduction()
) -> Iterator[str]:
    """Trains the settings that the file lacks and appends their rows; yields a line of text for each."""
    space = spec.load(spaces.find(name), [("search.sampler", "random")])
    header = ["config", "epoch", *METRICS, *space.searched()]
    done = _done(output, header)
    drawn = draw(space, settings)
    jobs = [(name, i, values, reduction) for i, values in enumerate(drawn) if i not in done]
    with (
        open(output, "a", newline="", encoding="utf-8") as file,
        multiprocessing.get_context("spawn").Pool(workers) as pool,
    ):
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        if not done:
            writer.writeheader()
        for count, (number, values, rows) in enumerate(pool.imap_unordered(curve, jobs), start=len(done) + 1):
            writer.writerows(_rounded(row | values) for row in rows)
            file.flush()
            last = rows[-1]
            yield f"[{count}/{settings}] {number}: {len(rows)} epochs " + (
                " ".join(f"{m} {last[m]:.3f}" for m in METRICS[:-1]) if METRICS[0] in last else "diverged"
            )


def _done(output: Path, header: list[str]) -> set[int]:
    """Indices of the settings in the file. Raises SystemExit if the file is from another space."""
    if not output.exists() or not output.stat().st_size:
        output.parent.mkdir(parents=True, exist_ok=True)
        return set()
    with open(output, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != header:
            raise SystemExit(f"{output} has the columns {reader.fieldnames}; {header} are expected")
        return {int(row["config"]) for row in reader}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}


def main() -> None:
    """Parses the command line and records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("space")
    parser.add_argument("--settings", type=int, default=300)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--train-images", type=int, default=0, help="number of training images; 0 for all")
    parser.add_argument(
        "--validation-images", type=int, default=0, help="number of validation images; 0 for all"
    )
    parser.add_argument("--pool", type=int, default=1, help="average images over squares with this side")
    options = parser.parse_args()
    reduction = Reduction(options.train_images, options.validation_images, options.pool)
    for line in record(options.space, options.settings, options.output, options.workers, reduction):
        print(line, flush=True)


if __name__ == "__main__":
    main()
