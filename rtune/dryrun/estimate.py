"""Cost of a search before it is launched: `rtune search SPACE --dry-run`.

The number of epochs comes from whole searches in simulated time: `rtune.search.state.Search` decides over
random learning curves. Each trial has a random quality in each objective, independent of everything else, and
its results are the quality plus noise that decreases to 0 at the last epoch. Settings have no effect and no
trial diverges. The simulation therefore gives the number of trials that continue at each rung, and roughly
the number of later promotions. The true number of epochs differs if objectives are correlated or trials
diverge: by less than 4 % with 64 recorded trials or more (docs/scaling.md). Uses neither Ray nor files.
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
from rtune.dryrun import listing, pace
from rtune.errors import ResourceError, SpecError
from rtune.pareto.objectives import Objective
from rtune.run import summary
from rtune.run.ledger import Trial
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.plan import Plan, Values
from rtune.search.state import Search
from rtune.worker import check

# Standard deviation of the noise at epoch 0; that of the qualities is 1.
_NOISE = 0.5
# Bounds on the number of simulated searches, and of trials in all of them, which take a few seconds.
_MOST_SEARCHES, _FEWEST_SEARCHES, _SIMULATED_TRIALS = 20, 1, 10_000


@dataclass(frozen=True)
class DryRunOptions:
    """Options of a dry run.

    Attributes:
        price: price of a GPU-hour, or of a core-hour if trials use no GPU, in any currency; None for no
            costs.
        epoch_seconds: seconds per epoch, evaluation included; None to measure them.
    """

    price: float | None = None
    epoch_seconds: float | None = None


@dataclass(frozen=True)
class Simulated:
    """One simulated search.

    Attributes:
        epochs: number of epochs of all trials.
        busy: seconds of training, summed over all workers.
        wall: seconds from start to end.
    """

    epochs: int
    busy: float
    wall: float


class _NoSuggestions:
    """Suggests nothing: settings have no effect in the simulation."""

    def suggest(self, known: Iterable[Trial], point: Values) -> tuple[Values, dict[str, Any], str]:
        return {}, {}, "random"


def simulate(planned: Plan, workers: int, paces: Sequence[float], seed: int) -> Simulated:
    """A whole search in simulated time, under the assumptions of this module.

    Args:
        planned: the plan of the search.
        workers: trials that train at once.
        paces: possible seconds per epoch; each trial gets one of them at random.
        seed: seed of curves and paces.
    """
    levels, names = planned.rungs(), tuple(o.name for o in planned.objectives)
    blind = replace(
        planned,
        objectives=tuple(Objective(name) for name in names),
        ranges={},
        points=[],
        space=None,
        snap=None,
        metrics=names,
        seed=seed,
    )
    search = Search(blind, [], lambda record: None, _NoSuggestions())
    rng = np.random.default_rng(seed)
    quality: dict[str, np.ndarray] = {}
    pace_of: dict[str, float] = {}
    reached: dict[str, int] = {}
    events: list[tuple[float, int, str, int]] = []
    busy = now = 0.0
    order, idle = 0, workers

    def train(name: str) -> None:
        # Results between two rungs decide nothing: the simulation steps from rung to rung.
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
    """Several simulated searches with seeds derived from the plan's. Arguments as of `simulate`."""
    count = min(_MOST_SEARCHES, max(_FEWEST_SEARCHES, _SIMULATED_TRIALS // planned.trials))
    scale = max(1.0, planned.trials / _SIMULATED_TRIALS)  # a larger search is a longer one of the same course
    fewer = replace(planned, trials=min(planned.trials, _SIMULATED_TRIALS))
    found = [simulate(fewer, workers, paces, planned.seed + i) for i in range(count)]
    return [Simulated(round(s.epochs * scale), s.busy * scale, s.wall * scale) for s in found]


def dry_run(search_spec: spec.Spec, limits: Limits, address: str | None, asked: DryRunOptions) -> int:
    """Prints the expected epochs, time and cost of a search. Writes and starts nothing.

    Args:
        search_spec: the search file.
        limits: limits of the launch.
        address: address of the intended cluster, which is not contacted; None for this machine.
        asked: price and seconds per epoch.

    Returns:
        Exit code 0; 1 if no trial that was measured can be trained.

    Raises:
        SpecError: the search cannot be launched.
    """
    planned = plan.of_spec(search_spec, limits.trials)
    here = resources.local()
    concurrency, remark = _concurrency(limits, here, address)
    check.check_parts(search_spec)
    measured = pace.measure(search_spec, limits, here, asked.epoch_seconds)
    simulated = searches(planned, concurrency, measured.seconds or (1.0,))
    number = f"{planned.trials:,} trial{'s' * (planned.trials != 1)}"
    what = f"{number} on {search_spec.file.data.dataset}, {concurrency} at once{remark}"
    for note in search_spec.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"dry run, nothing is started or written: {what}")
    click.echo(f"epochs: {_epochs(planned, simulated)}")
    click.echo(f"seconds an epoch: {measured.text}")
    if measured.seconds:
        for line in _costs(limits, concurrency, simulated, asked.price):
            click.echo(line)
    elif asked.price is not None:
        click.echo("cost: unknown without the seconds of an epoch")
    click.echo("settings that were given, or are not the default:")
    for line in listing.lines(search_spec):
        click.echo(f"  {line}")
    if address is None:
        try:
            resources.concurrency(limits, here)
        except ResourceError as error:
            click.echo(f"note: on this machine the search would not start: {error}", err=True)
    for failure in measured.failures:
        click.echo(f"rtune: {failure}", err=True)
    return 1 if measured.failures and not measured.seconds else 0


def _concurrency(limits: Limits, here: Room, address: str | None) -> tuple[int, str]:
    """Trials that train at once, and a remark if this machine does not determine their number."""
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
    else:  # this machine is too small, the cluster may not be
        fit, where = (int(1 / share + 1e-9), "one GPU") if 0 < share < 1 else (1, "one machine")
    return fit, f" as on {where} (--concurrency overrides this)"


def _epochs(planned: Plan, simulated: Sequence[Simulated]) -> str:
    unstopped = planned.trials * planned.max_epochs
    if not planned.rungs():
        return f"{unstopped:,}, all trials are trained to their end"
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
    yield f"{unit}-hours: about {_span(hours, _three_digits)}"
    if price is not None:
        yield f"cost: about {_span(hours * price, _money)} at {price:g} for a {unit}-hour"
    if budget is not None and budget < np.median(wall):
        most = budget * concurrency * each / 3600
        cost = "" if price is None else f", {_money(most * price)}"
        yield (
            f"the time budget of {summary.clock(budget)} ends it earlier, after at most "
            f"{_three_digits(most)} {unit}-hours{cost}; rtune resume goes on"
        )


def _span(values: Sequence[float] | np.ndarray, form: Callable[[float], str]) -> str:
    """`112 (104 to 121)`: median, lowest and highest; the median alone if these are equal as text."""
    median, low, high = (form(float(v)) for v in (np.median(values), min(values), max(values)))
    return median if low == high else f"{median} ({low} to {high})"


def _three_digits(value: float) -> str:
    """A number with three significant digits, or with all digits before the point: 0.0379, 12.9, 1,234."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _money(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"
