"""Checkpoints are written whole, checked when read, and never run code."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from rtune.run import checkpoint_file
from rtune.run.checkpoint_file import CheckpointError
from rtune.storage.places import StorageError
from rtune.worker import checkpoint
from rtune.worker.checkpoint import Checkpoint

CONFIG: dict[str, Any] = {"model": {"width": 4}}


def make(epoch: int, trial: str = "t0001", config: dict[str, Any] = CONFIG) -> Checkpoint:
    torch.manual_seed(epoch)
    tensors = {"model.a": torch.randn(3, 4), "model.n": torch.tensor(epoch), "pruner.u": torch.randn(2)}
    history = [{"robust_accuracy": 0.1 * n} for n in range(1, epoch + 1)]
    return Checkpoint(trial, config, history, tensors)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path / "new" / "folder", make(3))
    found = checkpoint.read(path)
    assert (found.trial, found.epoch, found.config) == ("t0001", 3, CONFIG)
    assert found.history == [{"robust_accuracy": v} for v in (0.1, 0.2, 0.1 * 3)]
    for name, tensor in make(3).tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_two_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 9, 10):
        checkpoint.write(tmp_path, make(epoch))
    assert [p.name for p in checkpoint_file.paths(tmp_path)] == [
        "epoch-0010.safetensors",
        "epoch-0009.safetensors",
    ]


def test_any_flipped_byte_is_detected(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, make(1))
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises(CheckpointError):
            checkpoint.read(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file_is_detected(tmp_path: Path, share: float) -> None:
    path = checkpoint.write(tmp_path, make(1))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        checkpoint.read(path)


def test_previous_valid_checkpoint_is_used_with_a_note(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, make(4))
    newest = checkpoint.write(tmp_path, make(5))
    newest.write_bytes(newest.read_bytes()[:100])
    (tmp_path / "epoch-0006.safetensors.partial").write_bytes(b"left by a killed writer")
    found, notes = checkpoint.newest(tmp_path, "t0001", CONFIG)
    assert found is not None
    assert found.epoch == 4
    assert len(notes) == 1
    assert str(newest) in notes[0]


def test_checkpoint_of_another_trial_is_not_used(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, make(1, trial="t0002"))
    checkpoint.write(tmp_path, make(2, config={"model": {"width": 8}}))
    found, notes = checkpoint.newest(tmp_path, "t0001", CONFIG)
    assert found is None
    assert len(notes) == 2


def test_pickle_in_place_of_a_checkpoint_is_not_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "epoch-0001.safetensors"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        checkpoint.read(path)
    assert not (tmp_path / "ran").exists()


def test_failed_write_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, make(1))

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"epoch-0002.safetensors cannot be written: No space"):
        checkpoint.write(tmp_path, make(2))
    found, notes = checkpoint.newest(tmp_path, "t0001", CONFIG)
    assert found is not None
    assert (found.epoch, notes) == (1, [])
