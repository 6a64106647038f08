"""From a trial's settings to the parts of `rtune.robust`."""

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtune.config.sections import (
    AttackConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PruningConfig,
    TrialConfig,
)
from rtune.robust import (
    ADMM,
    PGD,
    RGSM,
    RVSM,
    MobileNet,
    Network,
    PlainNet,
    PreActResNet,
    Pruner,
    Recipe,
    Split,
    Trainer,
    WideResNet,
    data,
)
from rtune.robust.fast import engine_for
from rtune.robust.random import LOCK


@lru_cache(maxsize=2)
def splits(config: DataConfig, seed: int, where: torch.device, download: bool) -> tuple[Split, Split]:
    """Train and validation splits, read once a process. Raises DataError."""
    folder = None if config.folder is None else Path(config.folder).expanduser()
    train, validation = data.load(config.dataset, folder, seed, download)
    return train.to(where), validation.to(where)


def pack(train: Split, validation: Split) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both splits as arrays, which many processes of a machine can read from one place in memory."""
    pairs = {"train": train, "validation": validation}
    return {name: (split.images.cpu().numpy(), split.labels.cpu().numpy()) for name, split in pairs.items()}


def unpack(packed: dict[str, tuple[np.ndarray, np.ndarray]], where: torch.device) -> tuple[Split, Split]:
    """The splits that `pack` took, on a device; on the CPU without a copy."""
    with warnings.catch_warnings():
        # The memory is read-only, and so are images and labels to us.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        train, validation = (
            Split(*(torch.from_numpy(array) for array in packed[name])) for name in ("train", "validation")
        )
    return train.to(where), validation.to(where)


def fingerprint(config: DataConfig, seed: int) -> str:
    """SHA-256 of images and labels of both splits, which are fetched if need be. Raises DataError."""
    digest = hashlib.sha256()
    for split in splits(config, seed, torch.device("cpu"), download=True):
        for tensor in (split.images, split.labels):
            digest.update(f"{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def images(config: DataConfig, seed: int) -> tuple[int, int]:
    """Numbers of images of the train and validation splits. Raises DataError."""
    train, validation = splits(config, seed, torch.device("cpu"), download=True)
    return len(train), len(validation)


def model(config: ModelConfig, dataset: str) -> Network:
    """The network for a data set's images, with fresh weights from torch's global generator."""
    source = data.SOURCES[dataset]
    settings: dict[str, Any] = {
        "in_channels": source.image_shape[0],
        "classes": source.classes,
        "width": config.width,
    }
    match config.network:
        case "resnet":
            return PreActResNet(config.depth, **settings)
        case "enresnet":
            return PreActResNet(config.depth, **settings, **config.enresnet.model_dump())
        case "plain":
            return PlainNet(config.depth, **settings, **config.plain.model_dump())
        case "wideresnet":
            return WideResNet(**settings, **config.wideresnet.model_dump())
        case "mobilenet":
            return MobileNet(**settings, **config.mobilenet.model_dump())


def pruner(config: PruningConfig, network: Network) -> Pruner:
    """The chosen method on a network."""
    if config.method == "rvsm":
        return RVSM(network, **config.rvsm.model_dump())
    if config.method == "rgsm":
        return RGSM(network, **config.rgsm.model_dump())
    if config.method == "admm":
        return ADMM(network, **config.admm.model_dump())
    return Pruner(network)


def attack(config: AttackConfig | EvaluationConfig) -> PGD:
    return PGD(config.epsilon, config.step_size, config.steps, config.random_start)


def trainer(config: TrialConfig, train: Split, seed: int) -> Trainer:
    """A trial's training, from its start. Fresh weights come from `seed`."""
    source = data.SOURCES[config.data.dataset]
    padding, flip = config.data.crop_padding, config.data.flip
    recipe = Recipe(
        max_epochs=config.training.max_epochs,
        batch_size=config.training.batch_size,
        lr=config.training.lr,
        momentum=config.training.momentum,
        weight_decay=config.training.weight_decay,
        milestones=tuple(config.training.milestones),
        crop_padding=source.crop_padding if padding is None else padding,
        flip=source.flip if flip is None else flip,
    )
    with LOCK:  # torch's global generator is one for all threads
        torch.manual_seed(seed)
        network = model(config.model, config.data.dataset).to(train.labels.device)
    return Trainer(
        network,
        pruner(config.pruning, network),
        attack(config.attack),
        train,
        recipe,
        seed,
        engine=engine_for(train.labels.device),
    )
