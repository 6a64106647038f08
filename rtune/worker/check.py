"""Checks before a launch: each part that a trial may use is installed, can be imported, and is built once."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from optuna.samplers import BaseSampler

from rtune.config import catalog
from rtune.config.catalog import SAMPLERS
from rtune.config.sections import AttackConfig, DataConfig, EvaluationConfig, ModelConfig, Slot, TrialConfig
from rtune.config.spec import Spec
from rtune.metrics import METRICS
from rtune.registry import PartError, resolve
from rtune.robust import Network
from rtune.robust.compaction import check_compactable
from rtune.robust.data import DataSource
from rtune.worker import build


def check_parts(spec: Spec) -> None:
    """Builds each part that trials of the search may use once, in the settings of such a trial.

    Networks are built on the CPU and classify two blank images. Torch's global generator is left as it was.

    Raises:
        PartError: a part is not installed, cannot be imported or built, or is not what it should be.
    """
    for _, part in spec.parts():
        if (missing := part.missing()) is not None:
            raise PartError(missing)
        if part.build:
            part.load()
    check_metrics()
    check_sampler(SAMPLERS[spec.search.sampler], spec.search.settings("sampler"))
    network = functools.lru_cache(maxsize=2)(build.model)
    with torch.random.fork_rng(devices=[]):
        for slot, part in spec.parts():
            if slot.section != "search":
                _check(slot, spec.trial_config(_values(spec, slot, part.name)), network)


def check_metrics() -> None:
    """Imports the functions of all metrics. Raises PartError."""
    for metric in METRICS:
        what = f"metric {metric.name!r}"
        if not metric.measure and METRICS.source(metric.name) != "rtune":
            raise PartError(f"{what} has no measure; 'module:function' is expected")
        if metric.measure and not callable(resolve(metric.measure, what)):
            raise PartError(f"{what} cannot be used: {metric.measure} is no function")


def check_sampler(part: catalog.Sampler, settings: dict[str, Any]) -> None:
    """Builds a sampler, or all that it mixes. Raises PartError."""
    for name in part.mixes:
        if name not in SAMPLERS or SAMPLERS[name].mixes:
            alone = ", ".join(other.name for other in SAMPLERS if not other.mixes)
            raise PartError(f"sampler {part.name!r} mixes {name!r}; a sampler can mix {alone}")
        check_sampler(SAMPLERS[name], SAMPLERS[name].defaults())
    if part.build:
        if (missing := part.missing()) is not None:
            raise PartError(missing)
        build.expect(part, build.call(part, seed=0, **settings), BaseSampler)  # type: ignore[type-abstract]


def check_network(part: catalog.Part, network: Network, images: DataSource) -> None:
    """Whether a new network on the CPU gives logits and can be compacted. Raises PartError."""
    what = f"{part.kind} {part.name!r} cannot be used"
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(2, *images.image_shape))
    except Exception as error:  # packages of others may raise anything
        raise PartError(
            f"{what}: {part.build} is called with images of shape {images.image_shape} and raises "
            f"{type(error).__name__}: {error}"
        ) from error
    if tuple(logits.shape) != (2, images.classes):
        raise PartError(
            f"{what}: for 2 images, {part.build} gives an output of shape {tuple(logits.shape)}; logits of "
            f"shape (2, {images.classes}) are expected"
        )
    try:
        check_compactable(network)
    except Exception as error:
        raise PartError(f"{what}: {part.build} has no compaction: {error}") from error


def _check(slot: Slot, config: TrialConfig, network: Callable[[ModelConfig, DataConfig], Network]) -> None:
    """Builds the part that a slot names in the settings of a trial. Raises PartError."""
    attacks: dict[str, AttackConfig | EvaluationConfig] = {
        "attack": config.attack,
        "evaluation": config.evaluation,
    }
    if slot.path == "data.dataset":
        build.source(config.data)
    elif slot.path == "model.network":
        found = network(config.model, config.data)
        check_network(config.model.part("network"), found, build.source(config.data))
    elif slot.path == "pruning.method":
        build.pruner(config.pruning, network(config.model, config.data))
    elif slot.path == "training.loss":
        build.loss(config.training)
    elif slot.path in ("attack.loss", "evaluation.loss"):
        attack = attacks[slot.section]
        _check_attack_loss(attack.part("loss"), build.attack_loss(attack))
    elif slot.path in ("attack.method", "evaluation.method"):
        build.attack(attacks[slot.section])


def _check_attack_loss(part: catalog.Part, loss: object) -> None:
    if not hasattr(loss, "needs_clean"):
        raise PartError(f"{part.kind} {part.name!r} cannot be used: it has no attribute needs_clean")
    if type(loss).__hash__ is None:
        raise PartError(
            f"{part.kind} {part.name!r} cannot be used: it must be hashable, such as a frozen dataclass"
        )


def _values(spec: Spec, slot: Slot, name: str) -> dict[str, Any]:
    """Searched values of a trial that uses a part: a point, or else values from the ranges."""
    default = getattr(getattr(spec.file, slot.section), slot.field)
    points: Iterator[dict[str, Any]] = (p for p in spec.points if p.get(slot.path, default) == name)
    return next(points, {slot.path: name} if slot.path in spec.ranges else {})
