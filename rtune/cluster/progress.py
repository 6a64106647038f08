"""Shows the progress of a search: a live table on a terminal, otherwise one line per event."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rtune import clock
from rtune.run import summary
from rtune.run.ledger import Trial
from rtune.search.state import Search

_STYLES = {"finished": "green", "stopped": "yellow", "diverged": "red", "failed": "red"}
# Ended trials in the table.
_SHOWN_ENDED = 6
# Lines besides the table's rows: up to three of header on a narrow screen, two of titles, two below.
_OTHER_LINES = 7
# The largest fraction of time spent on drawing.
_DRAWING = 0.1
# Without a terminal, a line at least this often (seconds).
_HEARTBEAT = 60.0


class Progress:
    """Shows a search on a console; the launch calls `on_change` and the other methods after each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._search: Search | None = None
        self._live: Live | None = None
        self._ended: dict[tuple[str, int], None] = {}
        self._drawn: RenderableType = ""
        self._draw_after = 0.0

    @contextmanager
    def showing(self, search: Search, concurrency: int) -> Iterator[None]:
        """Context in which the search is shown."""
        self._search = search
        self._concurrency = concurrency
        self._start, self._printed = clock.running(), time.monotonic()
        self._ended = {}
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        # Not redirecting: Live would draw Ray's output, which `OutputRedirect` sends to a file.
        with Live(
            get_renderable=self._view,
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            self._live = live
            yield
            self._draw_after = 0.0  # so that the last drawing shows the end
        self._live = None

    def on_change(self, name: str) -> None:
        """A trial has completed an epoch, or ended."""
        search = self._open_search()
        trial = search.ledger.trials[name]
        ended = trial.status != "running"
        if ended and (name, trial.epoch) not in self._ended:
            self._ended[name, trial.epoch] = None  # a stopped trial can come back and end again
            if self._live is None:
                self._print(self._line(trial))
        elif self._live is None and time.monotonic() - self._printed > _HEARTBEAT:
            self._print(self._header())

    def on_retry(self, name: str, error: str) -> None:
        """A trial has failed and is retried from its checkpoint."""
        self._console.print(f"{name}: the worker failed; the trial is retried: {error}", soft_wrap=True)

    def on_note(self, note: str) -> None:
        """Something unusual happened that needs no action."""
        print(note, flush=True)  # to launch.log
        self._console.print(note, soft_wrap=True)

    def on_wait(self, why: str) -> None:
        """The storage of the run folder does not answer."""
        self._console.print(why, soft_wrap=True)

    def _open_search(self) -> Search:
        assert self._search is not None, "called outside `showing`"
        return self._search

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        self._console.print(text, soft_wrap=True)

    def _line(self, trial: Trial) -> str:
        search = self._open_search()
        same_kind = [t for t in search.ledger.trials.values() if (t.of is None) == (trial.of is None)]
        done = sum(t.status != "running" for t in same_kind)
        wanted = search.plan.trials if trial.of is None else len(same_kind)
        figures = trial.error or ""
        if trial.last is not None and trial.has_network:
            figures = summary.figures(trial.last, search.plan.objectives, gap="  ")
        return (
            f"[{summary.clock(clock.running() - self._start)}] {done}/{wanted} "
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
            f"elapsed {summary.clock(clock.running() - self._start)}"
            + (f", about {summary.clock(left)} left" if left is not None else ", starting workers")
        )

    def _view(self) -> RenderableType:
        """The current drawing; the previous one while drawing would take more than its share of time.

        Summarising ten thousand trials takes a tenth of a second, and the driver has other work to do.
        """
        start = time.monotonic()
        if start >= self._draw_after:
            self._drawn = self._draw()
            spent = time.monotonic() - start
            self._draw_after = start + spent / _DRAWING
        return self._drawn

    def _draw(self) -> RenderableType:
        search = self._open_search()
        running = [search.ledger.trials[name] for name in search.under_way()]
        names = dict.fromkeys(name for name, _ in self._ended)
        ended = [t for name in names if (t := search.ledger.trials[name]).status != "running"][-_SHOWN_ENDED:]
        # rich would lay out rows that do not fit on the screen too, which takes milliseconds per row.
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
        """The best value of each objective so far."""
        search = self._open_search()
        objectives = search.plan.objectives
        points = summary.reached(search.ledger, objectives)
        if not len(points):
            return ""
        pairs = zip(objectives, points.max(axis=0), strict=True)
        return "best so far: " + ", ".join(f"{o.label} {o.format(o.sign * best)}" for o, best in pairs)


def _states(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if n)
