"""One launch from the command line: checks, Ray, the run folder, the trials, and the output at the end."""

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtune.cli.actions import conclusion
from rtune.cluster import resources
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.output import OutputRedirect
from rtune.cluster.start import preflight
from rtune.config import spec
from rtune.errors import LaunchError, ResourceError, SpecError, StartError
from rtune.run.folder import RunFolder, storage_errors
from rtune.search.limits import Limits
from rtune.storage.anchor import Anchor
from rtune.storage.places import Place, StorageError, place

if TYPE_CHECKING:
    from rtune.search.replicates import ReplicateRequest


@dataclass(frozen=True)
class Repeats:
    """What a launch that repeats settings trains.

    Attributes:
        asked: the original trials and the number of seeds.
        which: the value of `--trials`, for the command that continues.
        trials: number of trainings that remain.
    """

    asked: "ReplicateRequest"
    which: str
    trials: int


class Launch:
    """A launch from its checks to its conclusion.

    Args:
        search_spec: the search.
        open_folder: creates or opens the run folder, given the fingerprint of the data.
        limits: of this launch.
        address: of a Ray cluster; None or `local` for this machine.
        storage: folder that all machines must share.
        repeats: only these replicates are trained. None: the search and unfinished replicates are.
    """

    def __init__(
        self,
        search_spec: spec.Spec,
        open_folder: Callable[[str], RunFolder],
        limits: Limits,
        address: str | None,
        storage: Place,
        repeats: Repeats | None = None,
    ) -> None:
        self._spec = search_spec
        self._open_folder = open_folder
        self._limits = limits
        self._address = None if address == "local" else address  # `local`: as Ray calls it
        self._storage = storage
        self._repeats = repeats
        self._interrupt = Interrupt()
        self._remarks: list[str] = []
        self._folder: RunFolder | None = None
        self._anchor: Anchor | None = None

    def run(self) -> int:
        """Runs the launch; nothing is written before all checks have passed.

        Returns:
            The exit code.

        Raises:
            SpecError, RunError: the launch cannot begin; nothing has been written.
        """
        try:
            with self._interrupt:
                data = self._check()
                reason = self._run_trials(data)
                self._check_folder()
        except ResourceError as error:
            raise SpecError(str(error)) from None
        except LaunchError as error:
            click.echo(f"rtune: {self._broken_off(str(error))}", err=True)
            return 1
        except StartError as error:
            click.echo(f"rtune: {error}; nothing has been written", err=True)
            return 1
        except KeyboardInterrupt:
            click.echo(f"rtune: {self._interrupted()}", err=True)
            return 130
        assert self._folder is not None
        return conclusion.conclude(self._folder, reason, self._command(self._folder))

    def _check(self) -> str:
        """Checks the resources and the data, the cheapest first; the fingerprint of the data."""
        preflight.check_environment()
        if self._address is None:
            resources.concurrency(self._limits, resources.local())
        else:
            preflight.check(self._address)
        data, self._remarks = _check_data(self._spec)
        return data

    def _run_trials(self, data: str) -> str | None:
        """Starts or joins Ray, opens the run folder, runs the trials; why the launch ended early, or None."""
        from rtune.cluster import connection, launch, machines, watchdog
        from rtune.cluster.progress import Progress

        with (
            OutputRedirect() as output,
            connection.connect(self._address),
            contextlib.ExitStack() as stack,
        ):
            progress = Progress(output.console)
            here, them = resources.local() if self._address is None else connection.room(), None
            concurrency = resources.concurrency(self._limits, here)
            if self._address is not None:
                them = stack.enter_context(machines.Machines(self._limits, self._storage, progress.on_note))
            self._interrupt.listen()
            if them is not None:
                them.check_all(self._interrupt)
            if self._interrupt.requested:
                raise KeyboardInterrupt
            folder = self._open(data)
            notes = [f"note: {remark}" for remark in (*self._spec.notes, *self._remarks)]
            for line in [self._opening(concurrency), *notes]:
                output.console.print(line, soft_wrap=True, markup=False)
            with (
                _launch_log(folder, output),
                watchdog.exit_if_ray_dies(self._interrupt.screen, self._if_ray_dies),
            ):
                asked = None if self._repeats is None else self._repeats.asked
                return launch.launch(
                    folder, self._limits, concurrency, data, progress, self._interrupt, them, asked
                )

    def _open(self, data: str) -> RunFolder:
        """Creates or opens the run folder; from now on nothing is written once it is not where it was."""
        folder = self._open_folder(data)
        if folder.place.local is not None:
            with storage_errors():
                self._anchor = Anchor(folder.place.local)
            folder = copy.copy(folder)
            folder.place = folder.place.guarded(self._anchor.check)
        self._folder = folder
        return folder

    def _check_folder(self) -> None:
        """Raises LaunchError if the run folder is no longer where it was."""
        if self._anchor is not None:
            try:
                self._anchor.check()
            except StorageError as error:
                raise LaunchError(str(error)) from None

    def _present_folder(self) -> RunFolder | None:
        """The run folder, where it is now; None if it is gone."""
        assert self._folder is not None
        try:
            self._check_folder()
            return self._folder
        except LaunchError:
            pass
        now = None if self._anchor is None else self._anchor.now()
        if now is None:
            return None
        found = copy.copy(self._folder)
        found.place = place(now)
        return found

    def _opening(self, concurrency: int | None) -> str:
        """The first line of a launch."""
        assert self._folder is not None
        at_once = "as many at once as fit" if concurrency is None else f"{concurrency} at once"
        what = f"{self._limits.trials} trials"
        if self._repeats is not None:
            what = f"{self._repeats.trials} replicate{'s' * (self._repeats.trials != 1)}"
        where = ""
        if preflight.from_environment(self._address):
            where = f" on the Ray cluster at {self._address}, which RAY_ADDRESS in the environment names"
        return (
            f"{what} on {self._spec.file.data.dataset}, {at_once}{where}; run folder {self._folder.place}, "
            f"report at the end in {self._folder.place / 'report' / 'index.html'}"
        )

    def _command(self, folder: RunFolder) -> str:
        """The command line that continues this launch."""
        if self._repeats is None:
            return folder.resume_command(self._address)
        seeds = self._repeats.asked.seeds
        options = {"--trials": self._repeats.which, "--seeds": seeds, "--address": self._address}
        return folder.command("replicate", options)

    def _if_ray_dies(self) -> tuple[str, int]:
        if self._interrupt.requested:
            return self._interrupted(), 130
        return self._broken_off("Ray has died on this machine"), 1

    def _interrupted(self) -> str:
        if self._folder is None:
            return "nothing was started"
        return conclusion.how_to_go_on("interrupted", self._command(self._folder))

    def _broken_off(self, reason: str) -> str:
        if (folder := self._present_folder()) is None:
            return conclusion.gone(reason)
        return conclusion.broken_off(reason, folder, self._command(folder))


@contextlib.contextmanager
def _launch_log(folder: RunFolder, output: OutputRedirect) -> Iterator[None]:
    """Context in which the output of Ray goes to launch.log in the run folder.

    If the run is in an object store, the file is uploaded at the end.
    """
    target = folder.place / "launch.log"
    if target.local is not None:
        with storage_errors():
            output.redirect_to(target.local)
        yield
        return
    with tempfile.TemporaryDirectory(prefix="rtune-") as scratch:
        words = Path(scratch) / "launch.log"
        output.redirect_to(words)
        try:
            yield
        finally:
            with contextlib.suppress(StorageError):
                before = target.read() if target.exists() else b""
                target.write(before + words.read_bytes())


def _check_data(search_spec: spec.Spec) -> tuple[str, list[str]]:
    """Builds each part once and downloads the data if necessary, before anything is written.

    Returns:
        The fingerprint of the data, and sentences on what is odd about it.

    Raises:
        PartError, SpecError: a part cannot be used, or the data is not available.
    """
    from rtune.robust import DataError
    from rtune.worker import build, check

    check.check_parts(search_spec)
    config, seed = search_spec.file.data, search_spec.search.seed
    try:
        return build.fingerprint(config, seed), build.remarks(config, seed)
    except DataError as error:
        raise SpecError(str(error)) from None
