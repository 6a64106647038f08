"""Builds the objects of `rtune.robust` (network, pruner, attack, trainer, splits) from a trial's settings."""

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch

from rtune.config import catalog
from rtune.config.sections import (
    AttackConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PruningConfig,
    TrainingConfig,
    TrialConfig,
)
from rtune.config.spec import Spec
from rtune.metrics import METRICS
from rtune.registry import resolve
from rtune.robust import Attack, Network, Pruner, Recipe, Split, Trainer, data
from rtune.robust.data import DataError, DataSource
from rtune.robust.fast import engine_for
from rtune.robust.losses import Loss
from rtune.robust.random import LOCK


@lru_cache(maxsize=2)
def splits(config: DataConfig, seed: int, where: torch.device, download: bool) -> tuple[Split, Split]:
    """Train and validation splits on a device; each process reads them once. Raises DataError."""
    train, validation = data.load(source(config), folder(config), seed, download)
    return train.to(where), validation.to(where)


def folder(config: DataConfig) -> Path | None:
    """The data folder; None for the default. Raises DataError if it names a user without a home."""
    try:
        return None if config.folder is None else Path(config.folder).expanduser()
    except RuntimeError as error:
        raise DataError(f"the data folder {config.folder} cannot be found: {error}") from None


def pack(train: Split, validation: Split) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both splits as NumPy arrays (images uint8, labels int64), which processes can share in memory."""
    pairs = {"train": train, "validation": validation}
    return {name: (split.images.cpu().numpy(), split.labels.cpu().numpy()) for name, split in pairs.items()}


def unpack(packed: dict[str, tuple[np.ndarray, np.ndarray]], where: torch.device) -> tuple[Split, Split]:
    """The inverse of `pack`, on a device; on the CPU without a copy."""
    with warnings.catch_warnings():
        # The memory is read-only, and images and labels are never written.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        train, validation = (
            Split(*(torch.from_numpy(array) for array in packed[name])) for name in ("train", "validation")
        )
    return train.to(where), validation.to(where)


def fingerprint(config: DataConfig, seed: int) -> str:
    """SHA-256 (hexadecimal) of images and labels of both splits, downloaded if missing. Raises DataError."""
    digest = hashlib.sha256()
    for split in splits(config, seed, torch.device("cpu"), download=True):
        for tensor in (split.images, split.labels):
            digest.update(f"{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def images(config: DataConfig, seed: int) -> tuple[int, int]:
    """Number of images in the train split and in the validation split. Raises DataError."""
    train, validation = splits(config, seed, torch.device("cpu"), download=True)
    return len(train), len(validation)


def remarks(config: DataConfig, seed: int) -> list[str]:
    """Sentences on what a user should know about the validation split. Raises DataError."""
    return data.remarks(splits(config, seed, torch.device("cpu"), download=True)[1])


def check_parts(spec: Spec) -> None:
    """Imports all parts that trials of the search need. Raises PartError if one cannot be imported."""
    for part in spec.parts():
        if part.build:
            part.load()
    for metric in METRICS:
        if metric.measure:
            resolve(metric.measure, f"metric {metric.name!r}")


def source(config: DataConfig) -> DataSource:
    """The data set of a trial, not read yet."""
    found: DataSource = config.part("dataset").load()
    return found


def model(config: ModelConfig, data_config: DataConfig) -> Network:
    """The network for the images of a data set, with initial weights from torch's global generator."""
    part = cast(catalog.Network, config.part("network"))
    images = source(data_config)
    network: Network = part.load()(
        in_channels=images.image_shape[0],
        classes=images.classes,
        **{name: getattr(config, name) for name in part.takes},
        **config.settings("network"),
    )
    return network


def pruner(config: PruningConfig, network: Network) -> Pruner:
    """The pruning method of the trial, for a network."""
    found: Pruner = config.part("method").load()(network, **config.settings("method"))
    return found


def attack(config: AttackConfig | EvaluationConfig) -> Attack:
    """The attack of the training (`AttackConfig`) or of the validation (`EvaluationConfig`)."""
    found: Attack = config.part("method").load()(
        epsilon=config.epsilon,
        step_size=config.step_size,
        steps=config.steps,
        random_start=config.random_start,
        loss=config.part("loss").load()(**config.settings("loss")),
        **config.settings("method"),
    )
    return found


def loss(config: TrainingConfig) -> Loss:
    """The training loss."""
    found: Loss = config.part("loss").load()(**config.settings("loss"))
    return found


def trainer(config: TrialConfig, train: Split, seed: int) -> Trainer:
    """The trainer of a trial, before its first epoch.

    Args:
        config: the settings of the trial.
        train: the train split, on the device of the training.
        seed: of the initial weights and of all random numbers of the training.
    """
    images = source(config.data)
    padding, flip = config.data.crop_padding, config.data.flip
    recipe = Recipe(
        max_epochs=config.training.max_epochs,
        batch_size=config.training.batch_size,
        lr=config.training.lr,
        momentum=config.training.momentum,
        weight_decay=config.training.weight_decay,
        milestones=tuple(config.training.milestones),
        crop_padding=images.crop_padding if padding is None else padding,
        flip=images.flip if flip is None else flip,
    )
    with LOCK:  # all threads share torch's global generator
        torch.manual_seed(seed)
        network = model(config.model, config.data).to(train.labels.device)
    return Trainer(
        network,
        pruner(config.pruning, network),
        attack(config.attack),
        train,
        recipe,
        seed,
        loss=loss(config.training),
        engine=engine_for(train.labels.device),
    )
