"""Adversarial trainings packed on one GPU: images a second of K at once, beside one alone.

    python -m benchmarks.packing --at-once 1 2 4 8 --json benchmarks/results/packing.json

Each training is a process of its own, as a trial of `--gpus-per-trial 1/K` is; MPS is used where it runs
already, and never started. Needs no Ray. Random images: only time is measured. On a machine without a GPU it
trains on the CPU, one thread a process, which shows how the script works and nothing of a GPU.
"""

import argparse
import datetime
import json
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtune.robust import PGD, RGSM, PreActResNet, Recipe, Split, Trainer

# Seconds until those that are left give up on one that has died.
_PATIENCE = 600.0


def train(barrier: Barrier, device: str, images: int, batch: int, steps: int, width: int) -> float:
    """Trains one epoch to warm up and one that counts, begun by all together; its images a second."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    split = Split(
        torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (images,))
    ).to(device)
    model = PreActResNet(depth=20, width=width, in_channels=3).to(device)
    attack = PGD(8 / 255, 2 / 255, steps)
    pruner = RGSM(model, beta=1.0, lambda_1=0.05, lambda_2=0.01)
    trainer = Trainer(model, pruner, attack, split, Recipe(max_epochs=2, batch_size=batch), seed=0)
    trainer.train_epoch()
    barrier.wait(_PATIENCE)
    begun = time.perf_counter()
    trainer.train_epoch()
    if device == "cuda":
        torch.cuda.synchronize()
    spent = time.perf_counter() - begun
    barrier.wait(_PATIENCE)  # nobody ends while another is measured: all are measured side by side
    return images / spent


def _child(answers: "multiprocessing.SimpleQueue[float]", barrier: Barrier, *sizes: Any) -> None:
    answers.put(train(barrier, *sizes))


def together(count: int, *sizes: Any) -> float:
    """Images a second of so many trainings at once, added up."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(count), context.SimpleQueue()
    children = [context.Process(target=_child, args=(answers, barrier, *sizes)) for _ in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        if child.exitcode:
            raise SystemExit(f"a training of {count} at once ended with code {child.exitcode}; too many?")
    return float(sum(answers.get() for _ in range(count)))


def main() -> None:
    """Parses the command line, measures, prints a line a count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="of PGD")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    card = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    sizes = (device, options.images, options.batch, options.steps, options.width)
    found = {count: [together(count, *sizes) for _ in range(options.repeats)] for count in options.at_once}
    alone = float(np.median(found[options.at_once[0]]))
    print(f"{card}, torch {torch.__version__}: images a second, {options.repeats} times")
    for count, spent in found.items():
        median = float(np.median(spent))
        print(
            f"{count} at once: {median:,.0f} ({min(spent):,.0f} to {max(spent):,.0f}), {median / alone:.2f}x"
        )
    if options.json is not None:
        about = {"device": card, "torch": torch.__version__, "date": f"{datetime.date.today()}"}
        rows = {str(count): [round(value, 1) for value in spent] for count, spent in found.items()}
        options.json.write_text(json.dumps({**about, "images_per_second": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
