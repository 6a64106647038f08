"""Norms of the input channels of a saved network, as in the paper (arXiv 2003.00631), figure 5."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from rtune.run import checkpoint_file
from rtune.run.checkpoint_file import CheckpointError
from rtune.storage.places import Place, StorageError, place

# Below it a channel counts as zero (section 4; `rtune.robust.channel_sparsity`).
ZERO = 1e-15
_A_DECADE = 10


def channel_norms(checkpoint: str | Path | Place) -> tuple[dict[str, np.ndarray] | None, str | None]:
    """l2 norms of the input channels of every convolution of a saved network, or why there are none.

    A norm is over the output channels that read the channel, and over the kernel. Each member of an ensemble
    has its own channels, and so has each filter of a depthwise convolution. The file is checked against
    its digest and never unpickled; torch is not needed.

    Args:
        checkpoint: path or URI of a file `epoch-NNNN.safetensors` in a run's `trials/ID/`.

    Returns:
        Layer -> norms (channels,), at least 0, in float64, and None; or None and a sentence: the file is
        missing, damaged, unreadable or no checkpoint of rtune. Nothing is raised.
    """
    try:
        header, weights = _read(place(checkpoint))
        groups = _groups(header, weights)
        return {layer: _norms(layer, w, groups[layer]) for layer, w in weights.items()}, None
    except FileNotFoundError:
        return None, f"{checkpoint} does not exist"
    except StorageError as error:
        return None, str(error)
    except CheckpointError as error:
        return None, f"{checkpoint} {error}"


@dataclass(frozen=True)
class Histogram:
    """Channels by norm: `zero` of them below 1e-15, the others in ten bins a decade.

    Attributes:
        total: all channels.
        zero: number of channels that count as zero.
        edges: (bins + 1,) norms, powers of 10^(1/10), so that the bins of several networks agree.
        counts: (bins,) channels from one edge to below the next; no bins when all are zero.
    """

    total: int
    zero: int
    edges: np.ndarray
    counts: np.ndarray


def histogram(norms: Mapping[str, np.ndarray]) -> Histogram:
    """The distribution of the norms of `channel_norms`, on a logarithmic scale."""
    flat = np.concatenate([np.zeros(0), *norms.values()])
    sizes = flat[flat >= ZERO]
    if len(sizes) == 0:
        return Histogram(len(flat), len(flat), np.zeros(0), np.zeros(0, int))
    place_ = np.floor(np.log10(sizes) * _A_DECADE).astype(int)
    first = int(place_.min())
    counts = np.bincount(place_ - first)
    edges = 10.0 ** (np.arange(first, first + len(counts) + 1) / _A_DECADE)
    return Histogram(len(flat), len(flat) - len(sizes), edges, counts)


def _read(file: Place) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and convolution weights of a checkpoint."""
    header, tensors = checkpoint_file.read(file.read(), load, _parts)
    own = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    weights = {name.removesuffix(".weight"): tensor for name, tensor in own.items() if tensor.ndim == 4}
    if not weights:
        raise CheckpointError("holds no network with convolutions")
    if not all(np.isfinite(weight).all() for weight in weights.values()):
        raise CheckpointError("holds a network whose weights are not finite")
    return header, weights


def _parts(tensors: Mapping[str, np.ndarray]) -> Iterator[checkpoint_file.Part]:
    for name, tensor in tensors.items():
        content = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
        yield name, f"torch.{tensor.dtype.name}", tensor.shape, content


def _members(header: dict[str, Any]) -> int:
    """Number of members of the saved ensemble, which is the number of groups of its convolutions."""
    try:
        model = header["config"]["model"]
        found = model.get(model["network"], {}).get("members", 1)
    except (KeyError, TypeError, AttributeError):
        found = None
    if not isinstance(found, int) or found < 1:
        raise CheckpointError("does not say which network it holds")
    return found


def _groups(header: dict[str, Any], weights: dict[str, np.ndarray]) -> dict[str, int]:
    """Number of groups of each convolution: as saved; for older checkpoints, from the settings and names."""
    saved = checkpoint_file.groups(header)
    if saved.keys() >= weights.keys():
        return saved
    members = _members(header)
    # Older checkpoints have networks of rtune only: its depthwise convolutions have a group for each filter.
    return {layer: len(w) if layer.endswith("depthwise") else members for layer, w in weights.items()}


def _norms(layer: str, weight: np.ndarray, groups: int) -> np.ndarray:
    """Norms (groups * in,) of a weight (groups * out, in, height, width)."""
    if len(weight) % groups:
        raise CheckpointError(f"has {len(weight)} filters in {layer}, which {groups} groups cannot share")
    # In double precision no square of a float32 weight underflows.
    parts = weight.astype(np.float64).reshape(groups, len(weight) // groups, weight.shape[1], -1)
    norms: np.ndarray = np.sqrt((parts**2).sum(axis=(1, 3))).reshape(-1)
    return norms
