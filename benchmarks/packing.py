"""Throughput of K adversarial trainings on one GPU at the same time, compared with one training.

    python -m benchmarks.packing --at-once 1 2 4 8 16 --json benchmarks/results/packing.json

The K trainings run on threads and CUDA streams of one process, as trials with `--gpus-per-trial 1/K` do, or
for comparison in K processes; a textbook loop is measured too. MPS is used if it is running, but never
started. Needs no Ray. The images are random, because only time is measured. Without a GPU the script trains
on the CPU; these numbers say nothing about a GPU.
"""

import argparse
import datetime
import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed import textbook
from benchmarks.throughput import BATCH, rtune_trainer
from rtune.robust import Split

# Seconds until the other trainings stop waiting for one that has died.
_PATIENCE = 600.0


def images(device: str, batches: int, side: int) -> Split:
    """Random colour images (N, 3, side, side)."""
    torch.manual_seed(0)
    pixels = torch.randint(256, (batches * BATCH, 3, side, side), dtype=torch.uint8)
    return Split(pixels, torch.randint(10, (len(pixels),))).to(device)


def train(wait: Callable[[float], int], data: Split) -> tuple[float, float]:
    """Trains one epoch to warm up and one that is measured, which all trainings start at the same time.

    Returns:
        Images per second, and the seconds until the first step was finished.
    """
    on_gpu = data.labels.is_cuda
    with torch.cuda.stream(torch.cuda.Stream() if on_gpu else None):
        begun = time.perf_counter()
        trainer = rtune_trainer(data, 1, "rgsm")
        trainer._step(torch.arange(BATCH, device=data.labels.device)).item()
        started = time.perf_counter() - begun
        trainer.train_epoch()
        wait(_PATIENCE)
        begun = time.perf_counter()
        trainer.train_epoch()  # waits for the GPU
        spent = time.perf_counter() - begun
        wait(_PATIENCE)  # none ends while another is measured
    return len(data) / spent, started


def _child(answers: Any, barrier: Barrier, *sizes: Any) -> None:
    torch.set_num_threads(1)
    answers.put(train(barrier.wait, images(*sizes)))


def processes(count: int, *sizes: Any) -> list[tuple[float, float]]:
    """Results of `train` in `count` processes at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(count), context.SimpleQueue()
    children = [context.Process(target=_child, args=(answers, barrier, *sizes)) for _ in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        if child.exitcode:
            raise SystemExit(f"a training of {count} at once ended with code {child.exitcode}; too many?")
    return [answers.get() for _ in range(count)]


def streams(count: int, *sizes: Any) -> list[tuple[float, float]]:
    """Results of `train` on `count` threads at the same time."""
    data, barrier = images(*sizes), threading.Barrier(count)
    found: list[tuple[float, float]] = []
    threads = [threading.Thread(target=lambda: found.append(train(barrier.wait, data))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def one_textbook(device: str, side: int) -> float:
    """Images per second of the textbook loop alone."""
    data = images(device, 6, side)
    model = textbook.network(1, 3).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=textbook.LR, momentum=0.9, nesterov=True)
    prune = textbook.textbook_pruning("rgsm", model)
    begun = 0.0
    for number, part in enumerate(zip(data.images.split(BATCH), data.labels.split(BATCH), strict=True)):
        if number == 1:
            begun = time.perf_counter()
        textbook.train(model, optimizer, part[0].float() / 255, part[1], prune).item()
    return (len(data) - BATCH) / (time.perf_counter() - begun)


def main() -> None:
    """Parses the command line, measures, prints one line for each number of trainings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[4], help="numbers of processes to measure too"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=40, help=f"batches of {BATCH} images per epoch")
    parser.add_argument("--side", type=int, default=32, help="height and width of the images in pixels")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    card = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    about = {"device": card, "torch": torch.__version__, "date": f"{datetime.date.today()}"}
    print(*about.values(), "images per second of all trainings together", sep=", ")
    base = [one_textbook(device, options.side) for _ in range(options.repeats)]
    print(f"one textbook loop: {np.median(base):,.0f} ({min(base):,.0f} to {max(base):,.0f})")
    rows: list[dict[str, Any]] = [{"how": "textbook", "at_once": 1, "images_per_second": base}]
    ways = [(streams, count) for count in options.at_once]
    ways += [(processes, count) for count in options.processes]
    for way, count in ways:
        tried = [way(count, device, options.batches, options.side) for _ in range(options.repeats)]
        rates = [sum(rate for rate, _ in found) for found in tried]
        starts = [seconds for found in tried for _, seconds in found]
        median = float(np.median(rates))
        print(
            f"{count} {way.__name__}: {median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}), "
            f"{median / np.median(base):.1f}x textbook; first step after {np.median(starts):.1f} s "
            f"({min(starts):.1f} to {max(starts):.1f})",
            flush=True,
        )
        rows.append({"how": way.__name__, "at_once": count, "images_per_second": rates, "starts": starts})
    if options.json is not None:
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
