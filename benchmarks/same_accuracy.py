"""Accuracies after training with the GPU engine and with plain float32 PyTorch, over seeds.

    python -m benchmarks.same_accuracy --seeds 5 --json benchmarks/results/same-accuracy.json

ResNet20 and En_2 are trained on part of Fashion-MNIST with PGD-5 and RGSM. Both engines are evaluated on
validation images with the attack in plain PyTorch. Needs a GPU, but no Ray.
"""

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import torch

from rtune.robust import PGD, RGSM, PreActResNet, Recipe, Split, Trainer, accuracy, channel_sparsity, load
from rtune.robust.fast import engine_for

ATTACK = PGD(0.1, 0.025, 5)
FOLDER = Path("/usr/share/datasets/fashion-mnist")


def outcome(train: Split, validation: Split, members: int, seed: int, fast: bool, epochs: int) -> list[float]:
    """Natural and robust accuracy, channel sparsity, and seconds of training."""
    torch.manual_seed(seed)
    model = PreActResNet(20, in_channels=1, members=members, gamma=0.1 if members > 1 else 0.0).cuda()
    pruner = RGSM(model, beta=1.0, lambda_1=0.02, lambda_2=1e-4)
    recipe = Recipe(max_epochs=epochs, batch_size=128, lr=0.1, crop_padding=2)
    engine = engine_for("cuda") if fast else None
    trainer = Trainer(model, pruner, ATTACK, train, recipe, seed, engine=engine)
    begun = time.perf_counter()
    for _ in range(epochs):
        trainer.train_epoch()
    spent = time.perf_counter() - begun
    torch.manual_seed(0)
    return [
        accuracy(model, validation),
        accuracy(model, validation, ATTACK),
        channel_sparsity(model),
        spent,
    ]


def main() -> None:
    """Trains, prints one line per network and engine, and the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    train, validation = (split.to("cuda") for split in load("fashion-mnist", options.folder))
    train = Split(train.images[: options.images], train.labels[: options.images])
    validation = Split(validation.images[:2000], validation.labels[:2000])
    rows: list[dict[str, Any]] = []
    for members in options.members:
        found = {}
        for fast in (True, False):
            values = torch.tensor(
                [
                    outcome(train, validation, members, seed, fast, options.epochs)
                    for seed in range(options.seeds)
                ]
            )
            found[fast] = values
            mean, std = values.mean(dim=0).tolist(), values.std(dim=0).tolist()
            name = "fast" if fast else "plain"
            print(
                f"{members} members, {name}: natural {mean[0]:.4f} +- {std[0]:.4f}, robust {mean[1]:.4f} +- "
                f"{std[1]:.4f}, channel sparsity {mean[2]:.3f} +- {std[2]:.3f}, {mean[3]:.1f} s",
                flush=True,
            )
            rows.append({"members": members, "way": name, "values": values.tolist()})
        difference = found[True].mean(dim=0) - found[False].mean(dim=0)
        error = ((found[True].var(dim=0) + found[False].var(dim=0)) / options.seeds).sqrt()
        for name, d, e in zip(("natural", "robust", "sparsity"), difference, error, strict=False):
            print(f"  {name}: fast - plain = {d:+.4f}, standard error {e:.4f}")
    if options.json is not None:
        about = {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "date": f"{datetime.date.today()}",
        }
        options.json.write_text(json.dumps({**about, "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
