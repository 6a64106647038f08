"""From a trial's settings to its network: each choice, its own section, any data set."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from rtune.config import spaces, spec
from rtune.config.sections import DataConfig, ModelConfig, trial_config
from rtune.robust import MobileNet, Network, PlainNet, PreActResNet, Split, WideResNet, data
from rtune.robust.data import SOURCES
from rtune.robust.models.resnet import DEPTHS
from rtune.worker import build
from tests.support.image_files import write_cifar
from tests.support.paths import ROOT

# network -> its section, the class, members and gamma that must come out, and the stem's channels.
NETWORKS: dict[str, tuple[dict[str, Any], type[Network], int, float, int]] = {
    "resnet": ({}, PreActResNet, 1, 0.0, 2),
    "enresnet": ({"members": 3, "gamma": 0.2}, PreActResNet, 3, 0.2, 2),
    "plain": ({"members": 2, "gamma": 0.05}, PlainNet, 2, 0.05, 2),
    "wideresnet": ({"depth": 16, "widen": 2}, WideResNet, 1, 0.0, 2),
    "mobilenet": ({}, MobileNet, 1, 0.1, 4),
}


DIGITS = DataConfig(dataset="digits")


def config_of(network: str, width: int = 2) -> ModelConfig:
    section = {network: NETWORKS[network][0]} if network != "resnet" else {}
    return model_config({"network": network, "depth": 32, "width": width, **section})


def model_config(tree: dict[str, Any]) -> ModelConfig:
    return trial_config().model_validate({"model": tree}).model


@pytest.mark.parametrize("dataset", SOURCES)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_built_for_every_data_set(network: str, dataset: str) -> None:
    _, kind, members, gamma, stem = NETWORKS[network]
    model = build.model(config_of(network), DataConfig(dataset=dataset))
    assert type(model) is kind
    assert (model.members, model.gamma) == (members, gamma)
    assert model.stem.out_channels == members * stem
    logits = model(torch.rand(2, *SOURCES[dataset].image_shape))
    assert logits.shape == (2, SOURCES[dataset].classes)


def test_depth_is_read_from_the_section_of_the_network() -> None:
    assert len(build.model(config_of("plain"), DIGITS).blocks) == 3 * 5
    assert len(build.model(config_of("enresnet"), DIGITS).blocks) == 3 * 5
    assert len(build.model(config_of("wideresnet"), DIGITS).blocks) == 3 * 2


def test_depths_of_a_search_file_are_those_of_the_networks() -> None:
    # Search files are checked without torch, so the list is there twice.
    assert get_args(ModelConfig.model_fields["depth"].annotation) == DEPTHS


def test_built_in_wideresnet_has_the_published_size() -> None:
    with torch.device("meta"):
        model = build.model(
            spec.load(spaces.built_in()["cifar10-wideresnet"]).file.model, DataConfig(dataset="cifar10")
        )
    assert sum(p.numel() for p in model.parameters()) == 46_160_474


def test_every_network_trains_on_cifar100_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch, "CIFAR100", 6000)
    train, _ = data.load("cifar100", tmp_path, download=False)
    few = Split(train.images[:100], train.labels[:100])
    assert few.labels.max() > 90  # not a tenth of the classes
    for network in NETWORKS:
        config = trial_config().model_validate(
            {
                "data": {"dataset": "cifar100"},
                "model": config_of(network).model_dump(),
                "attack": {"steps": 1},
                "training": {"max_epochs": 1, "batch_size": 50},
            }
        )
        trainer = build.trainer(config, few, seed=0)
        before = trainer.model.head.weight.detach().clone()
        loss = trainer.train_epoch()
        assert 4 < loss < 7  # log(100) = 4.6: a guess among a hundred
        changed = (trainer.model.head.weight != before).any(dim=2)
        assert changed.shape[1] == 100
        assert changed.all()


def test_network_sizes_in_the_docs_are_correct() -> None:
    docs = (ROOT / "docs" / "search-file.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\d,]+)(?: \(depth 20\))? \|$", docs, re.MULTILINE)
    assert [network for network, _ in rows] == list(NETWORKS)
    for network, size in rows:
        one = {network: {"members": 1}} if network != "resnet" else {}
        with torch.device("meta"):
            model = build.model(model_config({"network": network, **one}), DataConfig(dataset="cifar10"))
        assert sum(p.numel() for p in model.parameters()) == int(size.replace(",", ""))
