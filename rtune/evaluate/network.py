"""Loads networks of a run from checkpoints, and the images of its data set."""

import torch

from rtune import robust
from rtune.config import saved
from rtune.robust import Network, Split
from rtune.run import checkpoint_file
from rtune.run.checkpoint_file import CheckpointError
from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial
from rtune.storage.places import StorageError
from rtune.worker import build, checkpoint


def load_network(folder: RunFolder, trial: Trial) -> Network:
    """The network of a trial after its last epoch, in evaluation mode, on the CPU.

    Args:
        folder: the run.
        trial: a trial with at least one finished epoch.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, belongs to another trial, other settings or
            another data set, or its tensors do not fit the network or are not finite.
    """
    path = checkpoint_file.path_of(folder.trial_folder(trial.id), trial.epoch)
    try:
        found = checkpoint.read(path)
    except StorageError as error:
        raise CheckpointError(str(error)) from None
    try:
        config, identity = folder.spec.trial_config(trial.values), folder.spec.identity(trial.values)
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path} cannot be used: the settings of {trial.id} in the log do not belong to this run"
        ) from None
    if (found.trial, found.epoch) != (trial.id, trial.epoch):
        raise CheckpointError(
            f"{path} belongs to another network: it holds {found.trial} at epoch {found.epoch}"
        )
    if not saved.are_same(found.config, identity):
        raise CheckpointError(
            f"{path} belongs to another network: "
            f"{saved.differences(saved.as_today(found.config) or found.config, identity)}"
        )
    network = build.model(config.model, config.data)
    weights = {k.removeprefix("model."): v for k, v in found.tensors.items() if k.startswith("model.")}
    kinds = {name: tensor.dtype for name, tensor in network.state_dict().items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not fit the network of its settings: {reason}") from None
    for name, tensor in weights.items():
        if tensor.dtype != kinds[name] or not tensor.isfinite().all():
            raise CheckpointError(f"{path} holds no network: {name} is not finite, or not {kinds[name]}")
    return network.eval()


def load_split(folder: RunFolder, name: str, device: torch.device) -> Split:
    """The `test` or `validation` split of a run's data set, on a device. Raises DataError if unavailable."""
    config, seed = folder.spec.file.data, folder.spec.search.seed
    if name == "validation":
        return build.splits(config, seed, device, download=True)[1]
    return robust.load_test(build.source(config), build.folder(config)).to(device)
