"""The search as one watches it: a live view on a terminal, a line an event elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rtune.run import summary
from rtune.run.ledger import Trial
from rtune.search.state import Search

_STYLES = {"finished": "green", "stopped": "yellow", "diverged": "red", "failed": "red"}
_SHOWN_ENDED = 6
# Lines beside the table's rows: the header may take three on a narrow screen, two titles, two below.
_OTHER_LINES = 7
# The share of time that goes into making pictures, at most.
_DRAWING = 0.1
# Without a terminal, a sign of life at least this often (seconds).
_HEARTBEAT = 60.0


class Progress:
    """Draws a search on a console, told of changes by `on_change` and `on_retry`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._search: Search | None = None
        self._live: Live | None = None
        self._ended: dict[tuple[str, int], None] = {}
        self._drawn: RenderableType = ""
        self._draw_after = 0.0

    @contextmanager
    def showing(self, search: Search, concurrency: int) -> Iterator[None]:
        """Draws while the context lasts."""
        self._search = search
        self._concurrency = concurrency
        self._start = self._spoken = time.monotonic()
        self._ended = {}
        if not self._console.is_terminal:
            yield
            return
        # Not redirecting: Live would draw what `Diversion` sends to a file, Ray's words above all.
        with Live(
            get_renderable=self._view,
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            self._live = live
            yield
            self._draw_after = 0.0  # the last picture is of the end
        self._live = None

    def on_change(self, name: str) -> None:
        """A trial has trained an epoch, or ended."""
        search = self._open_search()
        trial = search.ledger.trials[name]
        ended = trial.status != "running"
        if ended and (name, trial.epoch) not in self._ended:
            self._ended[name, trial.epoch] = None  # a stopped trial can come back and end again
            if self._live is None:
                self._say(self._line(trial))
        elif self._live is None and time.monotonic() - self._spoken > _HEARTBEAT:
            self._say(self._header())

    def on_retry(self, name: str, error: str) -> None:
        """A trial broke and goes on from its checkpoint."""
        self._console.print(
            f"trial {name} broke and is tried again from its checkpoint: {error}",
            soft_wrap=True,
        )

    def on_note(self, note: str) -> None:
        """Something is not as it should be, and was helped."""
        print(note, flush=True)  # to launch.log
        self._console.print(note, soft_wrap=True)

    def on_wait(self, why: str) -> None:
        """The store of the run folder does not answer."""
        self._console.print(why, soft_wrap=True)

    def _open_search(self) -> Search:
        assert self._search is not None, "told of a change outside `showing`"
        return self._search

    def _say(self, text: str) -> None:
        self._spoken = time.monotonic()
        self._console.print(text, soft_wrap=True)

    def _line(self, trial: Trial) -> str:
        search = self._open_search()
        kin = [t for t in search.ledger.trials.values() if (t.of is None) == (trial.of is None)]
        done = sum(t.status != "running" for t in kin)
        wanted = search.plan.trials if trial.of is None else len(kin)
        figures = trial.error or ""
        if trial.last is not None and trial.has_network:
            figures = summary.figures(trial.last, search.plan.objectives, gap="  ")
        return (
            f"[{summary.clock(time.monotonic() - self._start)}] {done}/{wanted} "
            f"{trial.id} {summary.outcome(trial, search.plan.max_epochs)}: {figures}  "
            f"({summary.settings(trial.values)})"
        )

    def _header(self) -> str:
        search = self._open_search()
        ledger, objectives = search.ledger, search.plan.objectives
        trials, max_epochs = search.plan.trials, search.plan.max_epochs
        states = f"{trials} trials: {_states(summary.counts(ledger, trials))}"
        if again := summary.replicates(ledger):
            states += f"; {sum(again.values())} replicates: {_states(again)}"
        left = summary.seconds_left(ledger, trials, max_epochs, self._concurrency, search.replicates_only)
        epochs = sum(t.epoch for t in list(ledger.trials.values()))
        return (
            f"{states}; {epochs} epochs; "
            f"hypervolume {summary.volume(summary.run_hypervolume(ledger, objectives))}; "
            f"elapsed {summary.clock(time.monotonic() - self._start)}"
            + (f", about {summary.clock(left)} left" if left is not None else ", starting workers")
        )

    def _view(self) -> RenderableType:
        """The picture; the last one again where making one takes long.

        Summing up ten thousand trials takes a tenth of a second, which the driver needs for other things.
        """
        begun = time.monotonic()
        if begun >= self._draw_after:
            self._drawn = self._draw()
            spent = time.monotonic() - begun
            self._draw_after = begun + spent / _DRAWING
        return self._drawn

    def _draw(self) -> RenderableType:
        search = self._open_search()
        running = [search.ledger.trials[name] for name in search.under_way()]
        names = dict.fromkeys(name for name, _ in self._ended)
        ended = [t for name in names if (t := search.ledger.trials[name]).status != "running"][-_SHOWN_ENDED:]
        # What does not fit on the screen would be laid out all the same, at milliseconds a row.
        room = max(1, self._console.height - len(ended) - _OTHER_LINES)
        hidden = max(0, len(running) - room)
        running = running[: len(running) - hidden]
        objectives = search.plan.objectives
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("trial", no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        table.add_column("status", no_wrap=True)
        for objective in objectives:
            table.add_column(objective.label, justify="right", no_wrap=True)
        table.add_column("settings", overflow="ellipsis", no_wrap=True, style="dim")
        for trial in [*ended, *running]:
            figures = trial.last or {}
            table.add_row(
                trial.id,
                f"{trial.epoch}/{summary.length(trial, search.plan.max_epochs)}",
                Text(trial.status, style=_STYLES.get(trial.status, "cyan")),
                *(o.format(figures[o.name]) if o.name in figures else "" for o in objectives),
                summary.settings(trial.values),
            )
        more = [Text(f"and {hidden} more running", style="dim")] if hidden else []
        return Group(Text(self._header(), style="bold"), table, *more, Text(self._best()))

    def _best(self) -> str:
        """The best value reached in each objective."""
        search = self._open_search()
        objectives = search.plan.objectives
        points = summary.reached(search.ledger, objectives)
        if not len(points):
            return ""
        pairs = zip(objectives, points.max(axis=0), strict=True)
        return "best so far: " + ", ".join(f"{o.label} {o.format(o.sign * best)}" for o, best in pairs)


def _states(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if n)
