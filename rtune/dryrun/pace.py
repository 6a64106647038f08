"""Seconds per epoch on this machine, measured by training a few batches. Does not use Ray."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any, cast

import torch

from rtune.cluster.resources import Room
from rtune.config import rungs, spec
from rtune.config.sections import TrialConfig
from rtune.errors import RtuneError, SpecError
from rtune.robust import DataError, Diverged, Network, Split, footprint
from rtune.robust.data import MissingDataError
from rtune.run import summary
from rtune.run.ledger import Trial
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.state import Search
from rtune.worker import build

# Seconds for the training of a setting, and for its evaluation; seconds after which no other setting starts.
_SECONDS_EACH, _SECONDS_ALL = 1.0, 12.0
# Number of trials that are drawn to estimate how frequent each kind of setting is.
_DRAWN_TRIALS = 100
_MOST_BATCHES = 8
_WARM_UP_IMAGES = 8
# Batch size of evaluations.
_EVALUATION_IMAGES = 512


@dataclass(frozen=True)
class Pace:
    """Seconds per epoch.

    Attributes:
        seconds: one value for each trial that was drawn; empty if unknown.
        text: the values and their origin for users, or why they are unknown.
        failures: a sentence for each kind of setting whose training fails.
    """

    seconds: tuple[float, ...]
    text: str
    failures: tuple[str, ...] = ()


def has_gpu(here: Room) -> bool:
    """Whether any node has a GPU."""
    return any(node["GPU"] for node in here.nodes)


def measure(search_spec: spec.Spec, limits: Limits, here: Room, given: float | None = None) -> Pace:
    """Measures the seconds per epoch of a search's trials.

    Trials with the search's points and random settings are drawn. Those that differ in floating-point values
    only, such as the learning rate, are one kind. One trial of each kind is measured, the most frequent kind
    first, until about twelve seconds have passed. The measurement is a few batches of training, after a
    warm-up, and an evaluation on a part of the validation images, both scaled to the average epoch of a full
    training. Trials are measured alone; trials that share a GPU, memory or the threads of a core take longer.

    Args:
        search_spec: the search file.
        limits: limits of the launch; they determine threads and device.
        here: resources of this machine.
        given: seconds per epoch, if they are not to be measured.

    Raises:
        SpecError: the data cannot be read.
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
        return Pace((), _unknown(f"{missing}; rtune search would download it"))
    before = torch.get_num_threads()
    torch.set_num_threads(limits.cpus_per_trial)
    try:
        seconds, kinds, begun, failures = list[float](), 0, time.perf_counter(), list[str]()
        end, levels = limits.max_epochs, plan.of_spec(search_spec).rungs()
        measured = fmean(1 / rungs.stride(epoch, levels, end) for epoch in range(1, end + 1))
        for trials in _kinds(search_spec, limits):
            config = search_spec.trial_config(trials[0].values)
            try:
                seconds += [epoch_seconds(config, *splits, trials[0].seed, measured)] * len(trials)
                kinds += 1
            except RtuneError:
                raise
            except Exception as error:  # as a worker would meet; parts of others may raise anything
                failures.append(_failure(trials[0], error))
            if time.perf_counter() - begun > _SECONDS_ALL:
                break
    finally:
        torch.set_num_threads(before)
    if not seconds:
        return Pace((), _unknown("no setting that was tried can be trained"), tuple(failures))
    return Pace(tuple(seconds), _text(seconds, kinds, limits), tuple(failures))


def _failure(trial: Trial, error: Exception) -> str:
    told = " ".join(str(error).split())[:300]
    settings = summary.settings(trial.values) or "the given settings"
    return f"a trial with {settings} fails: {type(error).__name__}: {told}"


def _unknown(why: str) -> str:
    return (
        f"unknown ({why}); for hours give --epoch-seconds, such as train_seconds + eval_seconds in the "
        "rtune results of an earlier run"
    )


def _text(seconds: list[float], kinds: int, limits: Limits) -> str:
    mean = sum(seconds) / len(seconds)
    spread = f" on average ({min(seconds):.3g} to {max(seconds):.3g} over {kinds} kinds of settings)"
    threads = f"{limits.cpus_per_trial} thread{'s' * (limits.cpus_per_trial > 1)}"
    where = "one GPU" if limits.gpus_per_trial else threads
    return (
        f"{mean:.3g}{spread * (kinds > 1)}, from a few batches of training and evaluation on {where} of this "
        "machine, one trial at a time; trials that run at once are slower"
    )


def _kinds(search_spec: spec.Spec, limits: Limits) -> list[list[Trial]]:
    """Trials drawn from the search, grouped by all values except floats, the largest group first."""
    planned = plan.of_spec(search_spec, limits.trials).sampled_by("random")
    search = Search(planned, [], lambda record: None)
    kinds: dict[frozenset[tuple[str, Any]], list[Trial]] = {}
    for trial in islice(iter(search.next_trial, None), _DRAWN_TRIALS):
        kind = frozenset(
            (path, value) for path, value in trial.values.items() if not isinstance(value, float)
        )
        kinds.setdefault(kind, []).append(trial)
    return sorted(kinds.values(), key=len, reverse=True)


def epoch_seconds(
    config: TrialConfig, train: Split, validation: Split, seed: int, measured: float = 1.0
) -> float:
    """Seconds per epoch of one setting, evaluation included, measured as in `measure`.

    Args:
        config: the trial's settings.
        train: all training images, on the device of the trial.
        validation: all validation images, on the same device.
        seed: seed of the trial.
        measured: average share of the validation images on which an epoch's network is measured, in (0, 1].
    """
    size = min(config.training.batch_size, len(train))
    _training(
        config, _first_images(train, _WARM_UP_IMAGES), seed
    )  # warm-up: one-time work of the process and the GPU
    first = _training(config, _first_images(train, size), seed)
    batches = max(1, min(_MOST_BATCHES, int(_SECONDS_EACH / first), len(train) // size))
    spent, images = first, size
    if batches > 1:
        spent, images = _training(config, _first_images(train, batches * size), seed), batches * size
    # Training and evaluation need about as long per image and attack step: one forward and backward pass.
    step = spent / images / (config.attack.steps + 1)
    part = _first_images(
        validation,
        min(_EVALUATION_IMAGES, max(16, int(_SECONDS_EACH / step / (config.evaluation.steps + 1)))),
    )
    trainer = build.trainer(config, _first_images(train, size), seed)
    attack = build.attack(config.evaluation)
    evaluated = _seconds(lambda: trainer.measure(part, attack), part)
    network = cast(Network, trainer.model)  # `rtune.worker.build.model` gives no other
    begun = time.perf_counter()
    footprint(network, build.source(config.data).image_shape)
    once = time.perf_counter() - begun
    return spent * len(train) / images + evaluated * measured * len(validation) / len(part) + once


def _training(config: TrialConfig, part: Split, seed: int) -> float:
    trainer = build.trainer(config, part, seed)

    def epoch() -> None:
        with contextlib.suppress(Diverged):  # raised at the end of the epoch, so the time is valid
            trainer.train_epoch()

    return _seconds(epoch, part)


def _seconds(work: Callable[[], object], part: Split) -> float:
    if part.labels.is_cuda:
        work()  # the first call captures CUDA graphs, which a trial does once
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _first_images(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])
