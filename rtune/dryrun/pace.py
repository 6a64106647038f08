"""How long an epoch takes on this machine, found by training a few batches. Knows no Ray."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any

import torch

from rtune.cluster.resources import Room
from rtune.config import rungs, spec
from rtune.config.sections import TrialConfig
from rtune.errors import SpecError
from rtune.robust import DataError, Diverged, Network, Split, footprint
from rtune.robust.data import MissingDataError
from rtune.run.ledger import Trial
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.state import Search
from rtune.worker import build

# Seconds of measuring: of one setting's training and of its evaluation each, and when no other is begun.
_EACH, _ALL = 1.0, 12.0
# Trials drawn to see how common each kind of setting is.
_DRAWN = 100
_BATCHES = 8
_WARM = 8
# As many images as an evaluation takes at a time.
_IMAGES = 512


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch, one figure for each trial drawn; none where it is not known.

    `words` says what they are and where they come from, or why there are none.
    """

    seconds: tuple[float, ...]
    words: str


def has_gpu(here: Room) -> bool:
    """Whether there is any GPU."""
    return any(node["GPU"] for node in here.nodes)


def measure(search_spec: spec.Spec, limits: Limits, here: Room, given: float | None = None) -> Pace:
    """The pace of a search's trials.

    The points and random settings are drawn; those that differ in nothing but numbers with a fraction, such
    as a learning rate, count as one kind, of which one is measured, the most common kind first, for a dozen
    seconds. Its figure is that of a few batches of training, after some images that are not counted, and of
    an evaluation on a part of the validation images, each scaled to as many as a full training has in an
    epoch on average. It is measured alone: trials that share a GPU, a memory or a core's two threads take
    longer.

    Args:
        search_spec: the search file.
        limits: of the launch; threads and device are the trials'.
        here: this machine.
        given: seconds of an epoch, which then are not measured.

    Raises:
        SpecError: the data cannot be had.
    """
    search = search_spec.search
    try:
        device = torch.device("cuda" if limits.gpus_per_trial and has_gpu(here) and given is None else "cpu")
        splits = build.splits(search_spec.file.data, search.seed, device, download=False)
    except MissingDataError as error:
        splits, missing = None, str(error)
    except DataError as error:
        raise SpecError(str(error)) from None
    if given is not None:
        return Pace((given,), f"{given:g}, as given")
    if limits.gpus_per_trial and not has_gpu(here):
        return Pace((), _unknown("a trial asks for a GPU and this machine has none"))
    if splits is None:
        return Pace((), _unknown(f"{missing}; rtune search would fetch it"))
    before = torch.get_num_threads()
    torch.set_num_threads(limits.cpus_per_trial)
    try:
        seconds, kinds, begun = [], 0, time.perf_counter()
        end, levels = limits.max_epochs, plan.of_spec(search_spec).rungs()
        measured = fmean(1 / rungs.stride(epoch, levels, end) for epoch in range(1, end + 1))
        for trials in _kinds(search_spec, limits):
            config = search_spec.trial_config(trials[0].values)
            seconds += [epoch_seconds(config, *splits, trials[0].seed, measured)] * len(trials)
            kinds += 1
            if time.perf_counter() - begun > _ALL:
                break
    finally:
        torch.set_num_threads(before)
    return Pace(tuple(seconds), _words(seconds, kinds, limits))


def _unknown(why: str) -> str:
    return (
        f"unknown ({why}); for hours give --epoch-seconds, such as train_seconds + eval_seconds in the "
        "rtune results of an earlier run"
    )


def _words(seconds: list[float], kinds: int, limits: Limits) -> str:
    mean = sum(seconds) / len(seconds)
    spread = f" on average ({min(seconds):.3g} to {max(seconds):.3g} over {kinds} kinds of settings)"
    threads = f"{limits.cpus_per_trial} thread{'s' * (limits.cpus_per_trial > 1)}"
    where = "one GPU" if limits.gpus_per_trial else threads
    return (
        f"{mean:.3g}{spread * (kinds > 1)}, from a few batches of training and evaluation on {where} of this "
        "machine, one trial at a time; side by side they are slower"
    )


def _kinds(search_spec: spec.Spec, limits: Limits) -> list[list[Trial]]:
    """Trials as the search may begin with them, by all that their values have but fractional numbers."""
    planned = replace(plan.of_spec(search_spec, limits.trials), sampler="random")
    search = Search(planned, [], lambda record: None)
    kinds: dict[frozenset[tuple[str, Any]], list[Trial]] = {}
    for trial in islice(iter(search.next_trial, None), _DRAWN):
        kind = frozenset(
            (path, value) for path, value in trial.values.items() if not isinstance(value, float)
        )
        kinds.setdefault(kind, []).append(trial)
    return sorted(kinds.values(), key=len, reverse=True)


def epoch_seconds(
    config: TrialConfig, train: Split, validation: Split, seed: int, measured: float = 1.0
) -> float:
    """Seconds of an epoch of one setting, its evaluation included; see `measure`.

    Args:
        config: the trial's settings.
        train: all training images, on the device of the trial.
        validation: all validation images, likewise.
        seed: of the trial.
        measured: the share of the validation images that an epoch's network is measured on.
    """
    size = min(config.training.batch_size, len(train))
    _training(config, _some(train, _WARM), seed)  # what a process, and a GPU, does once
    first = _training(config, _some(train, size), seed)
    batches = min(_BATCHES, int(_EACH / first), len(train) // size)
    spent, images = first, size
    if batches > 1:
        spent, images = _training(config, _some(train, batches * size), seed), batches * size
    # An image takes a step of the attack about as long here as there, a network's pass forth and back.
    step = spent / images / (config.attack.steps + 1)
    part = _some(validation, min(_IMAGES, max(16, int(_EACH / step / (config.evaluation.steps + 1)))))
    trainer = build.trainer(config, _some(train, size), seed)
    attack = build.attack(config.evaluation)
    evaluated = _seconds(lambda: trainer.measure(part, attack), part)
    network = trainer.model
    assert isinstance(network, Network)
    begun = time.perf_counter()
    footprint(network, build.source(config.data).image_shape)
    once = time.perf_counter() - begun
    return spent * len(train) / images + evaluated * measured * len(validation) / len(part) + once


def _training(config: TrialConfig, part: Split, seed: int) -> float:
    trainer = build.trainer(config, part, seed)

    def epoch() -> None:
        with contextlib.suppress(Diverged):  # found at the end of an epoch, which took no less for it
            trainer.train_epoch()

    return _seconds(epoch, part)


def _seconds(work: Callable[[], object], part: Split) -> float:
    if part.labels.is_cuda:
        work()  # a trial records its work but once
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _some(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])
