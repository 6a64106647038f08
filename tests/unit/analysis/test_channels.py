"""Norms of saved networks against torch's own, and files that hold none."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import nn

from analysis.channels import ZERO, channel_norms, histogram
from rtune.config.sections import trial_config
from rtune.evaluate import evaluation
from rtune.robust import Network, channel_sparsity
from rtune.robust.pruning import prox
from rtune.run import checkpoint_file
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.worker import build, checkpoint
from tests.support.evil_pickle import Evil

NETWORKS: list[dict[str, Any]] = [
    {"network": "resnet"},
    {"network": "enresnet", "enresnet": {"members": 3}},
    {"network": "plain", "plain": {"members": 2}},
    {"network": "wideresnet", "wideresnet": {"depth": 10, "widen": 2, "members": 2}},
    {"network": "mobilenet"},
    {"network": "mobilenet", "mobilenet": {"members": 2}},
]


def saved(
    folder: Path, settings: dict[str, Any], dataset: str, seed: int = 0, older: bool = False
) -> tuple[Path, Network]:
    """A checkpoint of a network a third of whose channels are zero, and the network.

    older: without the number of groups, as earlier versions saved it.
    """
    trial = trial_config().model_validate({"data": {"dataset": dataset}, "model": {"width": 4, **settings}})
    torch.manual_seed(seed)
    network = build.model(trial.model, trial.data)
    with torch.no_grad():
        for conv in convolutions(network).values():
            norms = prox.channel_norms(conv.weight, conv.groups)
            kept = (torch.rand_like(norms) > 1 / 3).float()
            conv.weight.copy_(prox.scale_channels(conv.weight, kept, conv.groups))
    whole = trial.model_dump(mode="json")
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"momentum.{i}": torch.ones(2, 2, 2, 2) for i in range(2)}
    groups = {} if older else checkpoint.conv_groups(network)
    return checkpoint.write(folder, checkpoint.Checkpoint("t0001", whole, [{}], tensors, groups)), network


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}


def same(path: Any, network: nn.Module) -> None:
    """Asserts that a file has the network's channels, layer by layer, and its channel sparsity."""
    norms, reason = channel_norms(path)
    assert norms is not None, reason
    assert reason is None
    expected = {n: prox.channel_norms(m.weight, m.groups).flatten() for n, m in convolutions(network).items()}
    assert norms.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(norms[name], values.detach(), rtol=1e-5)
    found = histogram(norms)
    assert found.zero / found.total == channel_sparsity(network)


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda s: "-".join(str(v) for v in s.values()))
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])  # of one and of three channels
@pytest.mark.parametrize("older", [False, True])
def test_the_norms_are_those_of_the_science(
    tmp_path: Path, settings: dict[str, Any], dataset: str, older: bool
) -> None:
    path, network = saved(tmp_path, settings, dataset, older=older)
    assert 0.2 < channel_sparsity(network) < 0.5
    same(path, network)


def test_a_depthwise_convolution_may_have_any_name(tmp_path: Path) -> None:
    network = nn.Sequential()
    network.add_module("dw", nn.Conv2d(8, 8, 3, groups=8))
    network.add_module("stem", nn.Conv2d(1, 4, 3))
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    groups = checkpoint.conv_groups(network)
    path = checkpoint.write(tmp_path, checkpoint.Checkpoint("t0001", {}, [{}], tensors, groups))
    norms, reason = channel_norms(path)
    assert norms is not None, reason
    assert {layer: len(values) for layer, values in norms.items()} == {"dw": 8, "stem": 1}
    assert checkpoint.read(path).groups == groups


def test_a_runs_own_checkpoints(trained: Path) -> None:
    """t0001 an ordinary network, t0002 an ensemble, as a search leaves them."""
    folder = RunFolder(trained)
    for trial in fold(folder.read().records).trials.values():
        network = evaluation.load_network(folder, trial)
        same(checkpoint_file.path_of(folder.trial_folder(trial.id), trial.epoch), network)


# --- files that hold none -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("whole"), {"network": "resnet", "width": 1}, "digits")[0]


def refused(path: Any) -> str:
    """The reason; it names the file."""
    norms, reason = channel_norms(path)
    assert norms is None
    assert reason is not None
    assert str(path) in reason
    assert "\n" not in reason
    return reason


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "epoch-0001.safetensors").endswith("does not exist")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "directory" in refused(tmp_path)


def test_an_address_that_leads_nowhere() -> None:
    assert "cannot be used" in refused("nonsense://bucket/file")


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.2, 0.9])
def test_a_truncated_file(whole: Path, tmp_path: Path, share: float) -> None:
    data = whole.read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * share)])
    assert "is not a readable checkpoint" in refused(path)


def test_any_flipped_byte_is_found(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(whole, tmp_path / "flipped"))
    data = path.read_bytes()
    for position in [*range(0, 400, 7), *range(400, len(data), 2003)]:
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        refused(path)


def test_another_programs_file(tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"conv.weight": np.ones((4, 3, 3, 3), np.float32)}, path)
    assert "is not a readable checkpoint" in refused(path)
    path.write_text("hello")
    assert "is not a readable checkpoint" in refused(path)
    save_file(load_file(whole), path, {"rtune": "[]", "digest": ""})
    assert "is a checkpoint of format None; this rtune reads 1 to 2" in refused(path)
    save_file(load_file(whole), path, {"rtune": '{"format": 2}', "digest": ""})
    assert "is damaged" in refused(path)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"model.stem.weight": Evil(tmp_path / "made")}, path)
    refused(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("config", "tensors", "reason"),
    [
        ({}, {"model.stem.weight": torch.ones(2, 1, 3, 3)}, "does not say which network it holds"),
        ({"model": []}, {"model.stem.weight": torch.ones(2, 1, 3, 3)}, "does not say which network"),
        (
            {"model": {"network": "enresnet", "enresnet": {"members": 0}}},
            {"model.stem.weight": torch.ones(2, 1, 3, 3)},
            "does not say which network",
        ),
        (
            {"model": {"network": "enresnet", "enresnet": {"members": 3}}},
            {"model.stem.weight": torch.ones(2, 1, 3, 3)},
            "has 2 filters in stem, which 3 groups cannot share",
        ),
        ({"model": {"network": "resnet"}}, {"model.a": torch.ones(2)}, "no network with convolutions"),
        (
            {"model": {"network": "resnet"}},
            {"model.stem.weight": torch.full((2, 1, 3, 3), torch.nan)},
            "not finite",
        ),
        ({"model": {"network": "resnet"}}, {"model.a": torch.ones(2).bfloat16()}, "BF16"),
    ],
)
def test_checkpoints_of_something_else(
    tmp_path: Path, config: dict[str, Any], tensors: dict[str, Any], reason: str
) -> None:
    path = checkpoint.write(tmp_path, checkpoint.Checkpoint("t0001", config, [{}], tensors))
    assert reason in refused(path)


# --- the histogram ------------------------------------------------------------------------------


def test_the_histogram_by_hand() -> None:
    norms = {"a": np.array([0.0, 1e-16, 1.0, 1.2]), "b": np.array([1.3, 2.1, 0.0])}
    found = histogram(norms)
    assert (found.total, found.zero) == (7, 3)
    # 10^0 .. 10^0.1 = 1.26 .. 10^0.2 = 1.58 .. 10^0.3 = 2.0 .. 10^0.4 = 2.5
    assert found.counts.tolist() == [2, 1, 0, 1]
    assert found.edges == pytest.approx([1, 1.2589, 1.5849, 1.9953, 2.5119], rel=1e-4)


@pytest.mark.parametrize("norms", [{}, {"a": np.zeros(3)}])
def test_without_a_channel_that_lives_there_are_no_bins(norms: dict[str, np.ndarray]) -> None:
    found = histogram(norms)
    assert (found.zero, len(found.counts)) == (found.total, 0)


SIZES = st.lists(
    st.floats(-20, 3).map(lambda e: 10**e) | st.sampled_from([0.0, ZERO, 0.1, 1.0, 10**0.1]), min_size=1
)


@given(SIZES)
def test_every_channel_is_in_one_place(sizes: list[float]) -> None:
    found = histogram({"a": np.array(sizes)})
    assert found.zero == sum(size < ZERO for size in sizes)
    assert found.zero + found.counts.sum() == found.total == len(sizes)
    if len(found.counts):
        assert found.counts[0] > 0
        assert found.counts[-1] > 0
        alive = [size for size in sizes if size >= ZERO]
        assert found.edges[0] <= min(alive) * (1 + 1e-9)
        assert found.edges[-1] >= max(alive) * (1 - 1e-9)


@given(SIZES, SIZES)
def test_bins_of_several_networks_fit_each_other(one: list[float], other: list[float]) -> None:
    for edges in (histogram({"a": np.array(one)}).edges, histogram({"a": np.array(other)}).edges):
        tenths = 10 * np.log10(edges)
        np.testing.assert_allclose(tenths, np.rint(tenths), atol=1e-9)
