"""Writes the report of runs: one self-contained page, and the front as tables and pictures."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from rtune.errors import ObjectiveError, RunError, RunFailure
from rtune.run.folder import RunFolder, storage_errors
from rtune.storage import paths
from rtune.storage.places import Place, place

from ..evaluations import evaluations
from ..objectives import ObjectiveLike
from . import figures
from . import tables as fronts
from .page import page
from .run_set import RunSet, damage

# Format -> file name.
FORMATS = {
    "html": "index.html",
    "csv": "front.csv",
    "md": "front.md",
    "tex": "front.tex",
    "parquet": "front.parquet",
    "svg": "front.svg",
    "pdf": "front.pdf",
    "png": "front.png",
}
DEFAULT = ("html", "csv", "svg", "png")
# Seconds between two checks of a run that is followed, and between two loads of its page in a browser.
_LOOK, _REFRESH = 2.0, 15


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of a comma-separated text. Raises ObjectiveError for an unknown one."""
    asked = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in asked:
        if name not in FORMATS:
            raise ObjectiveError(f"--format names {name!r}; it must be of {', '.join(FORMATS)}")
    return asked


def write(
    folders: Sequence[RunFolder],
    output: Path | None = None,
    formats: Sequence[str] = DEFAULT,
    objectives: Sequence[ObjectiveLike] | None = None,
    refresh: int | None = None,
    on_damage: Callable[[str], None] | None = None,
) -> list[str]:
    """Writes the report, each file replaced as a whole; returns the paths, in the order of `formats`.

    With results of `rtune evaluate`, evaluations.csv is added. Without a network the tables are empty and
    there are no pictures; pictures of an earlier report are deleted.

    Args:
        folders: the runs, at least one.
        output: a folder, created if missing; `report/` in the first run's folder when None.
        formats: of `FORMATS`.
        objectives: of the front; the runs' own when None.
        refresh: seconds after which a browser loads the page again; never when None.
        on_damage: called with a sentence for each run whose log is damaged.

    Raises:
        RunError: a run cannot be read, runs cannot be compared, or `output` cannot be written.
        ObjectiveError: no such objective.
    """
    seen = RunSet.of(folders, objectives)
    if on_damage is not None:
        for sentence in damage(seen):
            on_damage(sentence)
    target = place(output) if output is not None else folders[0].place / "report"
    with storage_errors():
        if target.local is not None and paths.exists(target.local) and not paths.is_folder(target.local):
            raise RunError(f"the report cannot be written to {output}, which is a file; a folder is expected")
    with storage_errors("the report cannot be written", RunFailure), tempfile.TemporaryDirectory() as scratch:
        made = _make(seen, Path(scratch), formats, refresh)
        for file in made:
            (target / file.name).write(file.read_bytes())
        for name in {FORMATS[name] for name in formats} - {file.name for file in made}:
            (target / name).delete()  # an old picture would be taken for one of this report
    return [_shown(target, file.name) for file in made]


def follow(
    folders: Sequence[RunFolder],
    output: Path | None = None,
    formats: Sequence[str] = DEFAULT,
    objectives: Sequence[ObjectiveLike] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Writes the report repeatedly while one of the runs is running; yields the path of each file once.

    A browser reloads the page until the search has ended. Arguments as `write`; `pause` waits.
    """
    told: set[str] = set()
    while True:
        live = any(folder.is_live() for folder in folders)
        before = _size(folders)
        files = write(folders, output, formats, objectives, _REFRESH if live else None)
        yield from [file for file in files if file not in told]
        told |= set(files)
        if not live:
            return
        began = time.monotonic()
        while _size(folders) == before and any(folder.is_live() for folder in folders):
            pause(_LOOK)
        # The report of a large run takes long: at most half of the time is spent on it.
        pause(min(60.0, max(_LOOK, time.monotonic() - began)))


def _size(folders: Sequence[RunFolder]) -> int:
    """Bytes of the logs, which only grow."""
    with storage_errors():
        return sum(
            sum((folder.place / part).files().values())
            for folder in folders
            for part in ("results", "evaluations")
        )


def _shown(target: Place, name: str) -> str:
    return str(Path(target.absolute) / name if target.local else target / name)


def _make(seen: RunSet, target: Path, formats: Sequence[str], refresh: int | None) -> list[Path]:
    """The files of the report, in a local folder."""
    pictures = [name for name in formats if name in ("svg", "pdf", "png") and len(seen.networks)]
    tables = [name for name in formats if name in ("csv", "md", "tex", "parquet")]
    figures.save(seen, [target / FORMATS[name] for name in pictures])
    if "html" in formats:
        (target / FORMATS["html"]).write_text(page(seen, refresh), encoding="utf-8")
    for name in tables:
        _write_table(seen, name, target / FORMATS[name])
    files = [target / FORMATS[name] for name in formats if name in ("html", *tables, *pictures)]
    evaluated = [evaluations(run).assign(run=run.name) for run in seen.runs]
    if any(len(part) for part in evaluated):
        files.append(target / "evaluations.csv")
        pd.concat([part for part in evaluated if len(part)]).to_csv(files[-1], index=False)
    return files


def _write_table(seen: RunSet, kind: str, path: Path) -> None:
    members = seen.members.assign(run=seen.members["run"].map(lambda i: seen.runs[i].name))
    if kind == "csv":
        members.to_csv(path, index=False)
    elif kind == "parquet":
        members.to_parquet(path, index=False)
    elif kind == "md":
        caption = f"The front of {seen.name}: {fronts.measured(seen)}"
        table = fronts.markdown(*fronts.front_table(seen))
        path.write_text(f"{table}\n{fronts.plain(caption)}\n", encoding="utf-8")
    else:
        path.write_text(fronts.latex(seen), encoding="utf-8")
