"""What a search will cost, before it is launched: `rtune search SPACE --dry-run`.

Epochs come from whole searches in simulated time: the run's own state machine decides over made-up learning
curves. Each trial has a random quality in each objective, independent of all else, and shows it through
noise that shrinks to nothing towards the last epoch; settings are not looked at and no trial diverges. So
it is known how many go on from each rung, and roughly how many are let go on later, but not which: where one
trial is better than another in everything more often than chance would have it, or trials diverge, the
true number differs: by less than 4 % with 64 recorded trials or more (docs/scaling.md). Knows neither Ray
nor files.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy as np

from rtune.cluster import resources
from rtune.cluster.resources import Room
from rtune.config import spec
from rtune.dryrun import pace
from rtune.errors import ResourceError, SpecError
from rtune.pareto.objectives import Objective
from rtune.run import summary
from rtune.run.ledger import Trial
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.plan import Plan, Values
from rtune.search.state import Search
from rtune.worker import build

# The noise of a first figure, beside the spread of the qualities, which is 1.
_NOISE = 0.5
# Simulated searches: as many as take a few seconds.
_MOST, _FEWEST, _SIMULATED_TRIALS = 20, 1, 10_000


@dataclass(frozen=True)
class DryRunOptions:
    """What a person adds to a dry run.

    Attributes:
        price: of an hour of a GPU, or of a core where trials use no GPU, in any currency.
        epoch_seconds: seconds of an epoch with its evaluation; None to measure them.
    """

    price: float | None = None
    epoch_seconds: float | None = None


@dataclass(frozen=True)
class Simulated:
    """One simulated search.

    Attributes:
        epochs: trained in all.
        busy: seconds of training, over all workers.
        wall: seconds from its begin to its end.
    """

    epochs: int
    busy: float
    wall: float


class _Blank:
    """Settings are not looked at, so there is nothing to suggest."""

    def suggest(self, known: Iterable[Trial], point: Values) -> tuple[Values, dict[str, Any], str]:
        return {}, {}, "random"


def simulate(planned: Plan, workers: int, paces: Sequence[float], seed: int) -> Simulated:
    """A whole search in simulated time; see the module for what is assumed.

    Args:
        planned: the search.
        workers: trials at once.
        paces: seconds of an epoch; each trial has one of them, at random.
        seed: of curves and paces.
    """
    levels, names = planned.rungs(), tuple(o.name for o in planned.objectives)
    blind = replace(
        planned,
        objectives=tuple(Objective(name) for name in names),
        ranges={},
        points=[],
        snap=None,
        metrics=names,
        seed=seed,
    )
    search = Search(blind, [], lambda record: None, _Blank())
    rng = np.random.default_rng(seed)
    quality: dict[str, np.ndarray] = {}
    pace_of: dict[str, float] = {}
    reached: dict[str, int] = {}
    events: list[tuple[float, int, str, int]] = []
    busy = now = 0.0
    order, idle = 0, workers

    def train(name: str) -> None:
        # What a trial shows between two rungs decides nothing: it goes from one to the next at once.
        nonlocal order, busy
        until = next((level for level in levels if level > reached[name]), planned.max_epochs)
        seconds = (until - reached[name]) * pace_of[name]
        order, busy = order + 1, busy + seconds
        heapq.heappush(events, (now + seconds, order, name, until))

    while True:
        while idle and (trial := search.next_trial()) is not None:
            if trial.id not in quality:
                quality[trial.id] = rng.standard_normal(len(names))
                pace_of[trial.id] = float(rng.choice(paces))
                reached[trial.id] = 0
            idle -= 1
            train(trial.id)
        if not events:
            break
        now, _, name, epoch = heapq.heappop(events)
        reached[name] = epoch
        noise = _NOISE * (1 - epoch / planned.max_epochs) * rng.standard_normal(len(names))
        if search.report(name, epoch, dict(zip(names, quality[name] + noise, strict=True))):
            train(name)
        else:
            idle += 1
    return Simulated(sum(reached.values()), busy, now)


def searches(planned: Plan, workers: int, paces: Sequence[float] = (1.0,)) -> list[Simulated]:
    """Several simulated searches, from seeds that follow from the plan's. Arguments as `simulate`."""
    count = min(_MOST, max(_FEWEST, _SIMULATED_TRIALS // planned.trials))
    return [simulate(planned, workers, paces, planned.seed + i) for i in range(count)]


def dry_run(search_spec: spec.Spec, limits: Limits, address: str | None, asked: DryRunOptions) -> int:
    """Prints what a search will cost; writes nothing, starts nothing. Exit code.

    Args:
        search_spec: the search file.
        limits: of the launch.
        address: of the cluster that it is meant for, which is not asked; None for this machine.
        asked: see `DryRunOptions`.

    Raises:
        SpecError: the search could not be launched.
    """
    build.check_parts(search_spec)
    planned = plan.of_spec(search_spec, limits.trials)
    here = resources.local()
    concurrency, remark = _concurrency(limits, here, address)
    measured = pace.measure(search_spec, limits, here, asked.epoch_seconds)
    simulated = searches(planned, concurrency, measured.seconds or (1.0,))
    what = f"{planned.trials:,} trials on {search_spec.file.data.dataset}, {concurrency} at once{remark}"
    click.echo(f"dry run, nothing is started or written: {what}")
    click.echo(f"epochs: {_epochs(planned, simulated)}")
    click.echo(f"seconds an epoch: {measured.words}")
    if measured.seconds:
        for line in _costs(limits, concurrency, simulated, asked.price):
            click.echo(line)
    elif asked.price is not None:
        click.echo("cost: unknown without them")
    return 0


def _concurrency(limits: Limits, here: Room, address: str | None) -> tuple[int, str]:
    """Trials at once, and a remark where this machine does not tell them."""
    if address is None and not (limits.gpus_per_trial and not pace.has_gpu(here)):
        try:
            return resources.concurrency(limits, here) or 1, ""
        except ResourceError as error:
            raise SpecError(str(error)) from None
    if limits.concurrency is not None:
        return limits.concurrency, ""
    fit, share = resources.capacity(limits, here.nodes[0]), limits.gpus_per_trial
    if fit:
        where = "this machine"
    else:  # the cluster is what must have room
        fit, where = (int(1 / share + 1e-9), "one GPU") if 0 < share < 1 else (1, "one machine")
    return fit, f" as on {where} (--concurrency tells otherwise)"


def _epochs(planned: Plan, simulated: Sequence[Simulated]) -> str:
    unstopped = planned.trials * planned.max_epochs
    if not planned.rungs():
        return f"{unstopped:,}, all trials being trained to their end"
    epochs = [s.epochs for s in simulated]
    saved = round(100 * (1 - float(np.median(epochs)) / unstopped))
    about = _span(epochs, "{:,.0f}".format)
    return (
        f"{unstopped:,} without early stopping, about {about} with it in {len(epochs)} simulated searches: "
        f"{saved} % saved"
    )


def _costs(
    limits: Limits, concurrency: int, simulated: Sequence[Simulated], price: float | None
) -> Iterable[str]:
    budget = limits.time_budget
    wall = [s.wall for s in simulated]
    yield f"time: about {_span(wall, summary.clock)}, and a few seconds for Ray and its workers to start"
    unit, each = ("GPU", limits.gpus_per_trial) if limits.gpus_per_trial else ("core", limits.cpus_per_trial)
    hours = np.array([s.busy for s in simulated]) * each / 3600
    yield f"{unit}-hours: about {_span(hours, _few)}"
    if price is not None:
        yield f"cost: about {_span(hours * price, _money)} at {price:g} for a {unit}-hour"
    if budget is not None and budget < np.median(wall):
        most = budget * concurrency * each / 3600
        cost = "" if price is None else f", {_money(most * price)}"
        yield (
            f"the time budget of {summary.clock(budget)} ends it before, after at most {_few(most)} "
            f"{unit}-hours{cost}; rtune resume goes on"
        )


def _span(values: Sequence[float] | np.ndarray, form: Callable[[float], str]) -> str:
    """`112 (104 to 121)`: median, lowest and highest, or the median alone where they are alike."""
    median, low, high = (form(float(v)) for v in (np.median(values), min(values), max(values)))
    return median if low == high else f"{median} ({low} to {high})"


def _few(value: float) -> str:
    """Three digits, or all of a large number: 0.0379, 12.9, 1,234."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _money(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"
