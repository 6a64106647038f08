"""Disturbs searches: starts them, makes the faults happen, resumes, and counts what came of it."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

import analysis
from rtune.run.folder import RunFolder
from tests.support.cluster import searches
from tests.support.cluster.chaos import check
from tests.support.cluster.chaos.faults import ENDS, KINDS, REPORT_TIMEOUT, Fault, Hit, Stuck, sequence
from tests.support.cluster.chaos.scenes import Scene

# Columns that two runs of the same search differ in.
_TIMES = ["train_seconds", "eval_seconds", "time"]
_SETTINGS = [
    *(f"--set={setting}=1" for setting in ("attack.steps", "evaluation.steps")),
    "--set=model.width=2",
    "--set=training.batch_size=128",
    f"--set=search.report_timeout={REPORT_TIMEOUT:g}",
]
# Launches in a row that may end without a fault before a search is given up.
_TRIES = 3


@dataclass(frozen=True)
class Size:
    """Of each search."""

    trials: int = 12
    epochs: int = 6


@dataclass
class Count:
    """Of a kind of fault.

    Attributes:
        injected: faults.
        survived: launches that went on.
        resumed: launches that ended by it, and were resumed.
        lost, changed, doubled: rows; see `check.Harm`.
    """

    injected: int = 0
    survived: int = 0
    resumed: int = 0
    lost: int = 0
    changed: int = 0
    doubled: int = 0


@dataclass
class Figures:
    """What came of it.

    Attributes:
        kinds: by kind of fault.
        searches, launches, rows: in all; rows are epochs in the end.
        epochs_again: epochs that were begun again, all of them under way at a fault.
        compared: searches whose table equals, bit for bit, that of the same search left alone.
        problems: what is wrong, in sentences.
    """

    kinds: dict[str, Count] = field(default_factory=dict)
    searches: int = 0
    launches: int = 0
    rows: int = 0
    epochs_again: int = 0
    compared: int = 0
    problems: list[str] = field(default_factory=list)


class Faults:
    """The faults that are still to come.

    Args:
        seed: of the sequence.
        kinds: names.
        most: how many.
        seconds: none after this time.
    """

    def __init__(self, seed: str, kinds: list[str], most: int, seconds: float) -> None:
        self._coming: Iterator[Fault] = sequence(seed, kinds)
        self._left = most if kinds else 0
        self._end = time.monotonic() + seconds
        self.next = next(self._coming) if kinds else None

    def more(self) -> bool:
        return self._left > 0 and time.monotonic() < self._end

    def done(self) -> None:
        """The next one has happened."""
        self.next = next(self._coming)
        self._left -= 1


def disturb(scene: Scene, faults: Faults, seed: int, size: Size, figures: Figures) -> None:
    """Runs searches in a scene until the faults are used up; one at a time, and two trials at once, in turn.

    A search with a problem is kept beside the scene's folder.
    """
    while faults.more():
        scene.begin()
        workers = 1 if scene.number % 2 and scene.name != "cluster" else 2
        search = Disturbed(scene, faults, seed, size, workers, figures)
        found = len(figures.problems)
        search.run()
        if len(figures.problems) > found and scene.run.local is not None:
            shutil.copytree(scene.run.local, scene.folder / f"kept-{scene.number}", dirs_exist_ok=True)


class Disturbed:
    """One search and all of its launches."""

    def __init__(
        self, scene: Scene, faults: Faults, seed: int, size: Size, workers: int, figures: Figures
    ) -> None:
        self._scene = scene
        self._faults = faults
        self._size = size
        self._workers = workers
        self._figures = figures
        sizes = ["--trials", f"{size.trials}", "--max-epochs", f"{size.epochs}"]
        self._options = [*sizes, "--concurrency", f"{workers}", "--seed", f"{seed}", *_SETTINGS]
        self._known: list[check.Record] = []
        self._torn: list[check.Record] = []
        self._happened = 0
        self._epochs = 0  # that had been saved at the last fault

    def run(self) -> None:
        """To its end, with all checks."""
        self._figures.searches += 1
        undisturbed = 0
        try:
            while True:
                before = self._happened
                if self._launch() == 0:
                    break
                undisturbed = undisturbed + 1 if self._happened == before else 0
                if undisturbed == _TRIES:
                    raise Stuck("it does not come to an end")
        except Stuck as error:
            self._problem(str(error))
            return
        self._check()

    def _launch(self) -> int:
        """One launch with its faults; its exit code."""
        self._figures.launches += 1
        here = self._scene
        if (here.run / "search.yaml").exists():
            words = ["resume", here.relative(f"{here.run}")]
        else:
            runs = here.relative(here.runs)
            words = ["search", "digits", "--name", "hit", "--runs", runs, *self._options]
        output = here.folder / f"output-{here.number}-{self._figures.launches}"
        self._say(f"launch {self._figures.launches} in {here.name}: {' '.join(words[:2])}")
        with open(output, "wb") as file:
            launch = here.start(words, file.fileno())
        try:
            last = self._hit_all(launch)
            code = self._wait(launch)
        finally:
            for process in here.family(launch):
                process.kill()
            launch.kill()
            launch.wait()
        self._look(last)
        self._judge(code, last, output)
        return code

    def _hit_all(self, launch: "subprocess.Popen[str]") -> Fault | None:
        """Makes faults happen until the launch ends or is to be left alone; the last one."""
        last: Fault | None = None
        self._epochs = self._saved()
        while self._faults.more():
            fault = self._faults.next
            assert fault is not None
            early = last is None and fault.early is not None
            if not self._wait_for(launch, fault.early if early else None, fault):
                break
            self._look(last)
            hit = Hit(self._scene, launch, random.Random(fault.seed), early)
            if not self._happens(hit, fault):
                break
            if last is not None:
                self._figures.kinds[last.kind].survived += 1
            self._count(fault, hit)
            last = fault
            if KINDS[fault.kind].codes:
                break
        return last

    def _happens(self, hit: Hit, fault: Fault) -> bool:
        """Hits as soon as there is such a process, or such a request; False if the launch ends before."""
        end = time.monotonic() + ENDS
        while not KINDS[fault.kind].hit(hit):
            if hit.launch.poll() is not None:
                return False
            if time.monotonic() > end:
                raise Stuck(f"nothing was hit in {ENDS:g} seconds by {fault}")
            time.sleep(0.05)
        return True

    def _count(self, fault: Fault, hit: Hit) -> None:
        self._say(f"  {fault}")
        self._faults.done()
        self._happened += 1
        self._figures.kinds[fault.kind].injected += 1
        self._torn += hit.torn
        self._known = [record for record in self._known if record not in hit.torn]
        self._epochs = self._saved()

    def _wait_for(self, launch: "subprocess.Popen[str]", early: float | None, fault: Fault) -> bool:
        """Waits for the moment of a fault; False if the launch has ended before."""
        end = time.monotonic() + ENDS
        while early is None and self._saved() < self._epochs + fault.after:
            if launch.poll() is not None:
                return False
            if time.monotonic() > end:
                raise Stuck(f"no epoch was saved in {ENDS:g} seconds before {fault}")
            time.sleep(0.05)
        time.sleep(fault.delay if early is None else early)
        return launch.poll() is None

    def _wait(self, launch: "subprocess.Popen[str]") -> int:
        """The exit code of a launch that is left alone."""
        saved, end = self._saved(), time.monotonic() + ENDS
        while (code := launch.poll()) is None:
            if (now := self._saved()) > saved:
                saved, end = now, time.monotonic() + ENDS
            if time.monotonic() > end:
                raise Stuck(f"a launch has not ended, and has saved no epoch for {ENDS:g} seconds")
            time.sleep(0.1)
        return code

    def _saved(self) -> int:
        trace = self._scene.trace
        return trace.read_text().count("saved") if trace.exists() else 0

    def _look(self, last: Fault | None) -> None:
        """Compares the log with what it was; any harm counts for the last fault."""
        lines = check.whole_lines(self._scene.run / "results")
        harm = check.harm(self._known, lines)
        failed = [record for record in lines if record["kind"] == "retry" and record not in self._known]
        self._known = lines
        allowed = 0 if last is None else min(KINDS[last.kind].retries, self._workers)
        if len(failed) > allowed:
            self._problem(f"{len(failed)} trials broke, {allowed} by {last}: {failed}")
        if harm == check.Harm():
            return
        self._problem(f"{harm} after {last}")
        if last is not None:
            count = self._figures.kinds[last.kind]
            count.lost += harm.lost
            count.changed += harm.changed
            count.doubled += harm.doubled

    def _judge(self, code: int, last: Fault | None, output: Path) -> None:
        """Whether a launch ended as its last fault allows."""
        if last is not None:
            count = self._figures.kinds[last.kind]
            count.survived += code == 0
            count.resumed += code != 0
        text = output.read_text(errors="replace")
        if code != 0 and code not in (KINDS[last.kind].codes if last is not None else ()):
            words = (text.strip().splitlines() or ["nothing"])[-1]
            self._problem(f"{output.name} ended with {code} after {last}: {words}")
        if "Traceback" in text:
            self._problem(f"{output.name} has a traceback after {last}")

    def _check(self) -> None:
        """The search is done: what must be true of its log, its trace and its table."""
        folder = RunFolder(self._scene.run)
        for sentence in check.problems(folder, self._size.trials, self._size.epochs):
            self._problem(sentence)
        for record in self._torn:
            if not check.comes_back(record, self._known):
                self._problem(f"torn and never seen again: {record}")
                self._figures.kinds["torn-line"].lost += 1
        # With two at once, a torn trial may get other settings.
        anew = {record["trial"] for record in self._torn if record["kind"] == "trial" and self._workers > 1}
        again, of_saved = check.epochs_again(self._scene.trace.read_text(), anew)
        self._figures.epochs_again += again
        if of_saved:
            self._problem(f"{of_saved} epochs were trained although they had been saved")
        if again > self._workers * self._happened:
            self._problem(f"{again} epochs were begun again, after {self._happened} faults")
        table = searches.check_whole(f"{self._scene.run}", self._size.epochs)
        self._figures.rows += len(table)
        if self._workers == 1:
            self._compare(table)

    def _compare(self, table: pd.DataFrame) -> None:
        """With the table of the same search left alone, which is made once."""
        runs = self._scene.folder / "alone"
        if not (runs / "alone" / "report").exists():
            words = ["search", "digits", "--name", "alone", "--runs", str(runs), *self._options]
            with open(self._scene.folder / "output-alone", "wb") as output:
                assert searches.start(self._scene.folder, *words, output=output.fileno()).wait() == 0
        alone = analysis.load(runs / "alone")
        try:
            pd.testing.assert_frame_equal(
                table.drop(columns=_TIMES), alone.drop(columns=_TIMES), check_exact=True
            )
            self._figures.compared += 1
        except AssertionError as error:
            self._problem(f"the table is not that of the search left alone: {error}")

    def _problem(self, sentence: str) -> None:
        where = f"{self._scene.name}, search {self._scene.number}, {self._workers} at once"
        self._figures.problems.append(f"{where}: {sentence}")
        self._say(f"  PROBLEM {sentence}")

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
