"""Export of a compacted network to a file that runs without rtune, in the format of `torch.export`."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from rtune.errors import RunError, RunFailure
from rtune.evaluate.network import load_network
from rtune.robust import Network, depends_on_batch, is_noisy
from rtune.robust.compaction import compact, footprint
from rtune.run.checkpoint_file import CheckpointError
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.storage import paths
from rtune.storage.paths import StorageError
from rtune.worker import build

# Name of the description in an exported file; torch.export.load reads it with `extra_files={NAME: ""}`.
DESCRIPTION = "rtune.json"


def export(folder: RunFolder, name: str, output: Path) -> str:
    """Writes the network of a trial after its last epoch, without its removable channels.

    The file is a `torch.export` program (.pt2): `torch.export.load(FILE).module()(images)` gives logits
    (N, classes) of images (N, C, H, W) in [0, 1], for any N. A noisy network draws new noise at each call.
    Its extra file `rtune.json` describes the network.

    Args:
        folder: the run.
        name: id of the trial.
        output: the file, written atomically; its name ends in .pt2.

    Returns:
        A sentence that describes the file.

    Raises:
        RunError: there is no such network, or `output` has another ending.
        RunFailure: the checkpoint cannot be used, or the file cannot be written.
    """
    if output.suffix != ".pt2":
        raise RunError(f"--output is {output}; it must end in .pt2")
    trial = fold(folder.read().records).trials.get(name)
    if trial is None or not trial.has_network:
        raise RunError(f"trial {name!r} has no network in {folder.place}")
    try:
        network = load_network(folder, trial)
    except CheckpointError as error:
        raise RunFailure(str(error)) from None
    shape = build.source(folder.spec.file.data).image_shape
    cost, remark = footprint(network, shape), _noise(network)
    images = {0: torch.export.Dim("images")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about internals of torch
        program = torch.export.export(
            compact(network), (torch.zeros(2, *shape),), dynamic_shapes={"images": images}
        )
    about = {
        "trial": name,
        "epoch": trial.epoch,
        "image_shape": shape,
        "pixels": [0, 1],
        "parameters": cost.parameters,
        "macs": cost.macs,
        "noise": remark or None,
    }
    _save(program, output, about)
    return (
        f"{output}: {name} at epoch {trial.epoch}, {cost.parameters:,} parameters and {cost.macs:,} MACs per "
        f"image of {' x '.join(map(str, shape))} in [0, 1]; "
        f"torch.export.load('{output}').module()(images) gives logits{'; ' * bool(remark)}{remark}"
    )


def _noise(network: Network) -> str:
    """What a user must know about the noise of a network; empty without noise."""
    if not is_noisy(network):
        return ""
    if depends_on_batch(network):
        return (
            "its noise is drawn anew in each call and scaled over all images of the call, so the answer to "
            "an image depends on the images beside it"
        )
    return "its noise is drawn anew in each call and scaled by each image alone"


def _save(program: "torch.export.ExportedProgram", output: Path, about: dict[str, Any]) -> None:
    made = io.BytesIO()
    torch.export.save(program, made, extra_files={DESCRIPTION: json.dumps(about)})
    try:
        paths.write_output(output, made.getvalue())
    except StorageError as error:
        raise RunFailure(str(error)) from None
