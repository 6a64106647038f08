"""One trial on one worker, without a cluster: saving, going on, and what it never touches."""

import copy
import json
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError
from safetensors.torch import save

from rtune.cluster import failures
from rtune.robust import Engine, data
from rtune.run import checkpoint_file, schema
from rtune.worker import build, checkpoint, loop, machine, messages, trainable
from rtune.worker.messages import Note
from tests.support.tasks import epochs, figures, task


def test_worker_reads_no_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its copy may be torn or lacking: the images come from the driver, which has checked them."""
    splits = data.load("digits")

    def read(*_: Any) -> None:
        raise AssertionError("a worker reads data")

    broken = replace(data.DIGITS, read=read)
    monkeypatch.setattr(build, "source", lambda config: broken)
    assert [epoch for epoch, _ in loop.epochs(task(tmp_path / "trial"), *splits)] == [1, 2, 3]


def test_a_quarter_of_each_class_is_measured_between_rungs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    measure = loop.measure_epoch

    def noting(trainer: Any, part: Any, config: Any) -> Any:
        seen.append(part.labels.bincount(minlength=10).tolist())
        return measure(trainer, part, config)

    monkeypatch.setattr(loop, "measure_epoch", noting)
    told = replace(task(tmp_path / "trial"), rungs=(2,))
    _, validation = data.load("digits")
    counts = validation.labels.bincount().tolist()
    strided = copy.deepcopy(told.config)
    strided["evaluation"]["between_rungs"] = "strided"
    list(epochs(told))
    list(epochs(replace(told, config=strided, folder=str(tmp_path / "strided"))))
    first, rung, last, as_before, *_ = seen
    assert rung == last == counts
    assert all(abs(part - whole / 4) < 1 for part, whole in zip(first, counts, strict=True))
    assert as_before == validation.labels[::4].bincount(minlength=10).tolist() != first


def test_trial_resumed_after_any_epoch_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    straight = list(epochs(task(tmp_path / "straight")))
    assert [epoch for epoch, _ in straight] == [1, 2, 3]
    assert set(straight[0][1]) == set(schema.epoch())
    last = checkpoint.read(checkpoint_file.paths(tmp_path / "straight")[0])
    for cut in (1, 2):
        folder = tmp_path / f"cut{cut}"
        worker = epochs(task(folder))
        before = [next(worker) for _ in range(cut)]
        after = list(epochs(task(folder, logged=cut)))
        assert [(e, figures(m)) for e, m in before + after] == [(e, figures(m)) for e, m in straight]
        found = checkpoint.read(checkpoint_file.paths(folder)[0])
        assert found.epoch == 3
        assert all(torch.equal(found.tensors[k], v) for k, v in last.tensors.items())


def test_saved_but_unlogged_epoch_is_not_trained_again(tmp_path: Path) -> None:
    worker = epochs(task(tmp_path))
    saved = [next(worker), next(worker)]
    again = next(epochs(task(tmp_path, logged=1)))
    assert again == saved[1]  # the seconds it took included


def test_a_damaged_checkpoint_costs_epochs_but_no_row(tmp_path: Path) -> None:
    straight = list(epochs(task(tmp_path / "straight")))
    worker = epochs(task(tmp_path / "hurt"))
    next(worker), next(worker)
    newest = checkpoint_file.paths(tmp_path / "hurt")[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    after = list(epochs(task(tmp_path / "hurt", logged=2)))
    assert [(e, figures(m)) for e, m in after] == [(e, figures(m)) for e, m in straight[2:]]


def age(folder: Path) -> None:
    """Rewrites the checkpoints of a folder in format 1: with the metrics of their own epoch only."""
    for path in checkpoint_file.paths(folder):
        found = checkpoint.read(path)
        last = {name: value for name, value in found.history[-1].items() if name != "images"}
        header = {"format": 1, "trial": found.trial, "config": found.config}
        text = json.dumps(header | {"epoch": found.epoch, "metrics": last}, sort_keys=True)
        parts = [
            (name, str(t.dtype), tuple(t.shape), t.reshape(-1).view(torch.uint8).numpy().data)
            for name, t in found.tensors.items()
        ]
        digest = checkpoint_file.digest(text, parts)
        path.write_bytes(save(found.tensors, {"rtune": text, "digest": digest}))


def test_saved_epoch_of_a_first_checkpoint_is_not_trained_again(tmp_path: Path) -> None:
    worker = epochs(task(tmp_path))
    saved = [next(worker), next(worker)]
    age(tmp_path)
    epoch, measured = next(epochs(task(tmp_path, logged=1)))
    assert (epoch, measured) == (2, saved[1][1] | {"images": 360})  # all images were used then


@pytest.mark.parametrize("logged", [0, 1, 2])
def test_trial_continues_from_first_checkpoints(tmp_path: Path, logged: int) -> None:
    """An epoch that neither the log nor a checkpoint knows is trained again, from an older checkpoint."""
    on_all = {"rungs": (1, 2, 3)}  # as every epoch was measured then
    straight = list(epochs(replace(task(tmp_path / "straight"), **on_all)))
    worker = epochs(replace(task(tmp_path / "old"), **on_all))
    next(worker), next(worker)
    age(tmp_path / "old")
    notes: list[Note] = []
    after = list(epochs(replace(task(tmp_path / "old", logged=logged), **on_all), notes))
    assert [(e, figures(m)) for e, m in after] == [(e, figures(m)) for e, m in straight[logged:]]
    assert ["its figures of epoch 1 are none" in note.text for note in notes] == [True] * (logged == 0)
    assert list(epochs(task(tmp_path / "old", logged=3))) == []


def test_rungs_and_last_epoch_are_measured_on_all_images(tmp_path: Path) -> None:
    measured = list(epochs(replace(task(tmp_path / "one"), rungs=(2,), max_epochs=4)))
    assert [metrics["images"] for _, metrics in measured] == [90, 360, 90, 360]
    whole = list(epochs(replace(task(tmp_path / "other"), rungs=(1, 2, 3), max_epochs=4)))
    assert [metrics["images"] for _, metrics in whole] == [360] * 4
    # How it is measured does not touch how it goes on.
    for epoch in (1, 3):
        assert figures(measured[epoch][1]) == figures(whole[epoch][1])


def test_unsupported_gpu_is_noted_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[Note] = []
    next(epochs(task(tmp_path / "cpu"), notes))
    assert notes == []
    monkeypatch.setattr(build, "engine_for", lambda device: Engine("Triton is not installed"))
    next(epochs(task(tmp_path / "gpu"), notes))
    text = "the GPU trains in plain float32, much slower: Triton is not installed"
    assert notes == [Note(text, about="gpu")]


def test_trial_never_loads_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = {image.numpy().tobytes() for image in data.load_test("digits").images}
    for module in (data, data.loading):
        monkeypatch.setattr(module, "load_test", lambda *_: pytest.fail("the test split was read"))
    seen: set[bytes] = set()
    original = data.to_float

    def watched(images: torch.Tensor) -> torch.Tensor:
        seen.update(image.numpy().tobytes() for image in images)
        return original(images)

    monkeypatch.setattr("rtune.robust.data.augmentation.to_float", watched)
    monkeypatch.setattr("rtune.robust.evaluation.to_float", watched)
    next(epochs(replace(task(tmp_path), rungs=(1,))))
    assert len(seen) > 1400
    assert not seen & test


def test_trial_does_not_start_on_an_unfit_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoints would be lost with another disk; its numbers are not those of other versions."""
    monkeypatch.setattr(trainable, "_node", lambda: "5e3f")
    packed = build.pack(*data.load("digits"))
    run = tmp_path / "runs" / "run"
    told = replace(task(run / "trials" / "t0001"), versions=machine.versions(), run=str(run))
    with pytest.raises(
        machine.UnfitMachineError, match=f"^5e3f: it has another {run} than this machine; run fol"
    ):
        trainable.run(told.to_config(), packed)
    assert not (tmp_path / "runs").exists()
    old = replace(told, versions=machine.versions() | {"torch": "1.0"})
    with pytest.raises(
        machine.UnfitMachineError, match=r"^5e3f: it has torch [\d.]+, not 1.0; install the same on all"
    ):
        trainable.run(old.to_config(), packed)
    run.mkdir(parents=True)
    (run / "search.yaml").touch()
    rows: list[Any] = []
    monkeypatch.setattr(trainable.tune, "report", rows.append)
    trainable.run(told.to_config(), packed)
    assert [messages.from_result(row).epoch for row in rows] == [1, 2, 3]


@pytest.mark.parametrize("reason", ["it has torch 2.0, not 2.1", "s3://b: 10 s: no answer"])
def test_unfit_machine_is_parsed_from_the_last_line_of_the_traceback(reason: str) -> None:
    try:
        raise machine.UnfitMachineError(f"5e3f: {reason}")
    except machine.UnfitMachineError:
        line = traceback.format_exc().splitlines()[-1]
    assert machine.parse_unfit(line) == ("5e3f", reason)
    assert machine.parse_unfit(f"ValueError: {line}") is None
    assert failures.faulty_machine(f"Traceback:\n{line}\n\n") == ("5e3f", reason)
    # Pickling, as on its way from a worker, makes a new one.
    assert copy.copy(machine.UnfitMachineError("5e3f: x")).args == ("5e3f: x",)


def test_machine_that_lacks_a_module_is_parsed_from_the_error_of_ray() -> None:
    said = (
        "The actor is dead because its worker process has died. Traceback (most recent call last):\n"
        "RuntimeError: The actor with name ImplicitFunc failed to import on the worker. This may\n\n"
        "Traceback (most recent call last):\n    ...\n"
        "ModuleNotFoundError: No module named 'rtune'\n\n"
        "An unexpected internal error occurred while the worker was executing a task."
    )
    context = ActorDiedErrorContext(
        error_message=said, actor_id=b"0" * 16, node_ip_address="10.0.0.4", class_name="ImplicitFunc", pid=7
    )
    trace = f"Failure # 1\n{ActorDiedError(context)}"
    assert failures.faulty_machine(trace) == (
        "10.0.0.4",
        "it cannot run rtune: ModuleNotFoundError: No module named 'rtune'",
    )
    assert failures.faulty_machine(trace.replace("failed to import", "failed to please")) is None
    assert failures.faulty_machine("") is None
