"""Exported networks: what the file says of its noise."""

import json
from pathlib import Path

import pytest
import torch

from rtune.config import spec
from rtune.evaluate.export import DESCRIPTION, export
from rtune.run.folder import RunFolder
from tests.support.run_folders import small_run


def exported(run: Path, trial: str, file: Path) -> tuple[str, dict[str, object]]:
    """The sentence of the command, and the description in the file."""
    said = export(RunFolder(run), trial, file)
    extra = {DESCRIPTION: ""}
    torch.export.load(file, extra_files=extra)
    return said, json.loads(extra[DESCRIPTION])


def test_an_exported_network_says_that_its_answer_depends_on_the_batch(run: Path, tmp_path: Path) -> None:
    said, about = exported(run, "t0002", tmp_path / "noisy.pt2")
    assert "the answer to an image depends on the images beside it" in said
    assert str(about["noise"]) in said
    assert (about["trial"], about["epoch"], about["image_shape"]) == ("t0002", 2, [1, 8, 8])
    said, about = exported(run, "t0001", tmp_path / "plain.pt2")
    assert "noise" not in said
    assert about["noise"] is None


def test_noise_that_is_scaled_by_image_stays_so_in_the_file(tmp_path: Path) -> None:
    tree = {**small_run.TREE, "model": {**small_run.TREE["model"]}}
    tree["model"]["enresnet"] = {"members": 2, "noise_scale": {"choice": ["image"]}, "gamma": 3.0}
    tree["points"] = [{"model.network": "enresnet", "pruning.rgsm.lambda_1": 0.01}]
    tree["training"] = {"max_epochs": 1}
    tree["search"] = {**tree["search"], "trials": 1}
    run = small_run.make(tmp_path, tree).place.local
    assert run is not None
    said, about = exported(run, "t0001", tmp_path / "noisy.pt2")
    assert "scaled by each image alone" in said
    assert str(about["noise"]) in said
    network = torch.export.load(tmp_path / "noisy.pt2").module()
    torch.manual_seed(0)
    images = torch.rand(5, 1, 8, 8)
    answers = []
    for others in (images, torch.cat([images[:1], torch.ones(4, 1, 8, 8)])):
        torch.manual_seed(0)
        answers.append(network(others)[0])
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)
    assert not torch.equal(network(images)[0], answers[0])  # it is noisy


@pytest.mark.parametrize("name", ["enresnet", "plain", "wideresnet", "mobilenet"])
def test_every_noisy_network_may_be_searched_over_both_scales(name: str) -> None:
    tree = {"model": {"network": name, name: {"noise_scale": {"choice": ["batch", "image"]}}}}
    found = spec.from_tree(tree, {}, "test")
    assert list(found.ranges) == [f"model.{name}.noise_scale"]
