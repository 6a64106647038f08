"""Throughput of adversarial training: a textbook loop, the authors' version, and rtune.

    python -m benchmarks.throughput --threads 1 2 --json benchmarks/results/throughput-cpu.json
    python -m benchmarks.throughput --device cuda --json benchmarks/results/throughput-h100.json

PGD-10 with batches of 128 images: (1, 8, 8) as in digits on the CPU, (3, 32, 32) as in CIFAR on a GPU. Each
implementation is a separate process. They are measured alternately, so that other load of the machine affects
all of them, and a ratio is of two consecutive measurements. The images are random, because only time is
measured. Needs no Ray.
"""

import argparse
import datetime
import gc
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed import textbook
from benchmarks.speed.processor import processor
from rtune.robust import ADMM, PGD, RGSM, RVSM, PreActResNet, Pruner, Recipe, Split, Trainer
from rtune.robust.fast import engine_for

IMPLEMENTATIONS = ("textbook", "released", "rtune")
NETWORKS = {"resnet20": 1, "en2_resnet20": 2, "en5_resnet20": 5}
PRUNING = ("none", "rvsm", "rgsm", "admm")
BATCH = 128


def _data(device: str, batches: int) -> Split:
    shape = (3, 32, 32) if device == "cuda" else (1, 8, 8)
    torch.manual_seed(0)
    images = torch.randint(256, (batches * BATCH, *shape), dtype=torch.uint8)
    return Split(images, torch.randint(10, (len(images),))).to(device)


def rtune_trainer(data: Split, members: int, pruning: str) -> Trainer:
    """rtune's trainer, with the settings of `benchmarks.speed.textbook`."""
    model = PreActResNet(
        20, in_channels=data.images.shape[1], members=members, gamma=0.1 if members > 1 else 0.0
    ).to(data.labels.device)
    pruners: dict[str, Callable[[], Pruner]] = {
        "none": lambda: Pruner(model),
        "rvsm": lambda: RVSM(model, textbook.BETA, textbook.LAMBDA),
        "rgsm": lambda: RGSM(model, textbook.BETA, textbook.LAMBDA_1, textbook.LAMBDA_2),
        "admm": lambda: ADMM(model, textbook.RHO, textbook.SPARSITY),
    }
    attack = PGD(textbook.EPSILON, textbook.STEP, textbook.STEPS)
    recipe = Recipe(max_epochs=10**6, batch_size=BATCH, crop_padding=0, flip=False)
    engine = engine_for(data.labels.device)
    return Trainer(model, pruners[pruning](), attack, data, recipe, seed=0, engine=engine)


def _pass(implementation: str, data: Split, members: int, pruning: str) -> Callable[[], object]:
    """A function that trains on all the data once."""
    if implementation == "rtune":
        trainer = rtune_trainer(data, members, pruning)
        return trainer.train_epoch
    model = textbook.network(members, data.images.shape[1]).to(data.labels.device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=textbook.LR, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    released = implementation == "released"
    prune = (textbook.released_pruning if released else textbook.textbook_pruning)(pruning, model)

    def once() -> None:
        for images, labels in zip(data.images.split(BATCH), data.labels.split(BATCH), strict=True):
            loss = textbook.train(model, optimizer, images.float() / 255, labels, prune)
            if released:
                loss.item()

    return once


def child(pipe: Connection, implementation: str, device: str, threads: int, batches: int) -> None:
    """The process of one implementation: receives requests through `pipe` and answers each, until None.

    Requests:
        (members, pruning): prepares this training and answers None.
        True: trains on all data once and answers the images per second.
        False: answers by how much the peak of memory has grown since the preparation, in MiB.
    """
    torch.set_num_threads(threads)
    data = _data(device, batches)
    once: Callable[[], object] = _nothing
    before = 0.0
    while (asked := pipe.recv()) is not None:
        if asked is True:
            begun = time.perf_counter()
            once()
            _wait(device)
            pipe.send(len(data) / (time.perf_counter() - begun))
        elif asked is False:
            pipe.send(_peak(device) - before)
        else:
            once = _nothing
            gc.collect()
            before = _reset_peak(device)
            once = _pass(implementation, data, *asked)
            once()
            _wait(device)
            pipe.send(None)


def _nothing() -> None:
    pass


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _reset_peak(device: str) -> float:
    """Resets the peak of memory; returns the memory in use, in MiB."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")
    return _peak(device)


def _peak(device: str) -> float:
    """Peak of memory in MiB: of torch on the GPU, or of the process on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


class Side:
    """The implementations, each in a separate process; they are measured alternately."""

    def __init__(self, implementations: list[str], *settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        for implementation in implementations:
            ours, theirs = context.Pipe()
            context.Process(target=child, args=(theirs, implementation, *settings), daemon=True).start()
            theirs.close()
            self._pipes.append(ours)

    def measure(self, task: tuple[int, str], rounds: int) -> list[tuple[list[float], float]]:
        """For each implementation: the images per second of each round, and the peak of memory in MiB."""
        for pipe in self._pipes:
            pipe.send(task)
            pipe.recv()  # one after the other, because the preparation uses all cores
        turns = [[self._ask(pipe, True) for pipe in self._pipes] for _ in range(rounds)]
        rates = [list(own) for own in zip(*turns, strict=True)]
        return [(own, self._ask(pipe, False)) for own, pipe in zip(rates, self._pipes, strict=True)]

    def close(self) -> None:
        """Ends the processes."""
        for pipe in self._pipes:
            pipe.send(None)

    def _ask(self, pipe: Connection, what: bool) -> float:
        pipe.send(what)
        return float(pipe.recv())


def roofline(device: str, threads: int) -> tuple[float, float]:
    """Highest rates of the machine, measured: bytes per second of a large copy (read plus written), and FLOP
    per second of a large matrix product (float32; bfloat16 on a GPU)."""
    torch.set_num_threads(threads)
    large = torch.randn(2**28 if device == "cuda" else 2**24, device=device)
    side, kind = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    to = torch.empty_like(large)
    return (
        2 * 4 * large.numel() / _seconds(lambda: to.copy_(large), device),
        2 * side**3 / _seconds(lambda: a @ b, device),
    )


def _seconds(work: Callable[[], Any], device: str) -> float:
    spent = []
    for _ in range(12):
        _wait(device)
        begun = time.perf_counter()
        work()
        _wait(device)
        spent.append(time.perf_counter() - begun)
    return float(np.median(spent[2:]))


def demand(device: str, members: int) -> tuple[int, int]:
    """FLOP and bytes for the training on one image.

    A step of the attack is a forward pass and the gradient of the input; the training step is a forward pass
    and the gradients of input and weights. Products with the padding are not counted. Each layer reads its
    input once and writes its output once; a value has 2 bytes on a GPU (bfloat16) and 4 on a CPU.
    """
    channels, side = (3, 32) if device == "cuda" else (1, 8)
    model = textbook.network(members, channels).eval()
    flop, moved = [], []

    def see(layer: nn.Conv2d | nn.Linear, given: tuple[Tensor], made: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            flop.append(2 * layer.weight.numel())
        else:
            # A convolution of ones with ones counts the pixels of the image that each output reads.
            ones, kernel = torch.ones_like(given[0][:, :1]), torch.ones_like(layer.weight[:1, :1])
            reads = F.conv2d(ones, kernel, stride=layer.stride, padding=layer.padding)
            flop.append(2 * layer.in_channels * layer.out_channels * int(reads.sum()))
            moved.append(given[0].numel() + made.numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(see)
    with torch.no_grad():
        model(torch.rand(1, channels, side, side))
    passes = 2 * textbook.STEPS + 3
    return passes * sum(flop), passes * sum(moved) * (2 if device == "cuda" else 4)


def profile(device: str, members: int, pruning: str) -> dict[str, float]:
    """Fraction of rtune's time in each kernel or operation; the twelve largest."""
    from torch.profiler import ProfilerActivity

    once = _pass("rtune", _data(device, 4), members, pruning)
    once()
    cuda = device == "cuda"
    with torch.profiler.profile(
        activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]
    ) as found:
        once()
        _wait(device)
    spent = {
        row.key[:80]: row.self_device_time_total if cuda else row.self_cpu_time_total
        for row in found.key_averages()
    }
    total = sum(spent.values())
    largest = sorted(spent, key=lambda key: -spent[key])[:12]
    return {key: round(spent[key] / total, 4) for key in largest}


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measures everything that the options ask for; prints and yields one row per measurement."""
    for threads in options.threads:
        copy, product = roofline(options.device, threads)
        print(f"{threads} threads: copy {copy / 1e9:,.0f} GB/s, matrix product {product / 1e12:.2f} TFLOP/s")
        side = Side(options.implementations, options.device, threads, options.batches)
        for network in options.networks:
            flop, size = demand(options.device, NETWORKS[network])
            for pruning in options.pruning:
                found = side.measure((NETWORKS[network], pruning), options.rounds)
                first = found[0][0]
                for name, (rates, peak) in zip(options.implementations, found, strict=True):
                    rate = float(np.median(rates))
                    row = {
                        "implementation": name,
                        "network": network,
                        "pruning": pruning,
                        "device": options.device,
                        "threads": threads,
                        "images_per_second": round(rate, 1),
                        "spread": [round(min(rates), 1), round(max(rates), 1)],
                        "rounds": len(rates),
                        "ratio": round(float(np.median(np.divide(rates, first))), 3),
                        "of_matrix_rate": round(rate * flop / product, 4),
                        "of_bandwidth": round(rate * size / copy, 4),
                        "peak_mib": round(peak, 1),
                    }
                    print(
                        f"{network:13} {pruning:5} {name:9} {row['images_per_second']:9,.0f} images/s "
                        f"({min(rates):,.0f} to {max(rates):,.0f}), {row['ratio']:.2f}x "
                        f"{options.implementations[0]}, {row['of_matrix_rate']:.1%} of the matrix rate, "
                        f"{row['of_bandwidth']:.1%} of the bandwidth, {peak:,.0f} MiB",
                        flush=True,
                    )
                    yield row
        side.close()


def main() -> None:
    """Parses the command line, measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--implementations", nargs="+", default=list(IMPLEMENTATIONS), choices=IMPLEMENTATIONS
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--pruning", nargs="+", default=list(PRUNING), choices=PRUNING)
    parser.add_argument("--batches", type=int, default=4, help="batches of 128 images per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    card = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    about = {"machine": card, "torch": torch.__version__, "date": f"{datetime.date.today()}"}
    print(*about.values(), sep=", ")
    found = []
    for row in rows(options):
        found.append(row | about)
        if options.json is not None:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    where = profile(options.device, 1, "rgsm")
    print("fraction of rtune's time in each operation, resnet20 with rgsm:")
    for key, share in where.items():
        print(f"  {share:6.1%} {key}")
    if options.json is not None:
        options.json.with_suffix(".profile.json").write_text(json.dumps(where | about, indent=1) + "\n")


if __name__ == "__main__":
    main()
