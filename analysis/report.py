"""The report of a run: one page that needs nothing but itself, the front as CSV, its picture."""

import tempfile
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis import figures
from analysis.evaluations import diagnoses, evaluation_table, evaluations
from analysis.front import front, hypervolume
from analysis.load import load, networks
from rtune.ledger import fold
from rtune.runfolder import RunFailure, RunFolder, storage_errors
from rtune.storage import place

SPLITS = ("test", "validation")
FIGURES = ("weight_sparsity", "channel_sparsity", "removable_channels")


def write(folder: RunFolder, output: Path | None = None) -> list[str]:
    """Writes index.html, front.csv, front.svg and front.png; returns where they are, the page first.

    Where `rtune evaluate` has been, evaluations.csv too. Each file is replaced as a whole.

    A run without a network gets a page that says so, and an empty front.csv.

    Args:
        folder: the run.
        output: a folder, made if need be; `report/` in the run folder when None.

    Raises:
        RunError: `output` cannot be written.
    """
    target = place(output) if output is not None else folder.place / "report"
    with storage_errors("the report cannot be written", RunFailure), tempfile.TemporaryDirectory() as scratch:
        made = _make(folder, Path(scratch))
        for file in made:
            (target / file.name).write(file.read_bytes())
    here = target.local
    return [str(here.resolve() / file.name if here else target / file.name) for file in made]


def _make(folder: RunFolder, target: Path) -> list[Path]:
    """The report's files in a folder of this machine, the page first."""
    final = networks(load(folder))
    objectives: list[str] = list(folder.spec.search.objectives)
    members = front(final, objectives)
    files = [target / "index.html", target / "front.csv"]
    files[0].write_text(_page(folder, final, members), encoding="utf-8")
    members.to_csv(files[1], index=False)
    evaluated = evaluations(folder)
    if not evaluated.empty:
        files.append(target / "evaluations.csv")
        evaluated.to_csv(files[-1], index=False)
    if final.empty:
        return files
    pictures = [target / "front.svg", target / "front.png"]
    figures.save_static(final, objectives, folder.spec.searched(), pictures)
    return files + pictures


def _page(folder: RunFolder, final: pd.DataFrame, members: pd.DataFrame) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    search = folder.spec
    objectives: list[str] = list(search.search.objectives)
    log = folder.read()
    ledger = fold(log.records)
    columns, rows = _table(members, objectives, search.searched())
    plot = ""
    if not members.empty:
        figure = figures.interactive(final, objectives, search.searched())
        plot = figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    counts = pd.Series([t.status for t in ledger.trials.values()], dtype=str).value_counts()
    attack = search.file.evaluation
    epochs = dict(zip(final["trial"], final["epoch"], strict=True))  # figures of earlier ones are past
    return environment.get_template("report.html.j2").render(
        name=folder.name,
        description=search.file.description,
        front=rows,
        networks=len(final),
        objectives=[figures.label(name) for name in objectives],
        hypervolume=hypervolume(final[objectives].to_numpy(float)),
        plot=Markup(plot),
        columns=columns,
        dataset=search.file.data.dataset,
        attack=f"{'PGD' if attack.random_start else 'IFGSM'}-{attack.steps} "
        f"(epsilon {attack.epsilon:.4g}, step size {attack.step_size:.4g})",
        counts=list(counts.items()),
        epochs=sum(t.epoch for t in ledger.trials.values()),
        broken=[f"{t.id} {t.status}: {t.error}" for t in ledger.trials.values() if t.error],
        evaluations=[(split, *found) for split in SPLITS if (found := evaluation_table(folder, split))[1]],
        diagnoses=[d for d in diagnoses(folder) if d["epoch"] == epochs.get(d["trial"])],
        attack_warnings=[
            f"{row['trial']} {row['attack']}, {row['split']} split: {warning}"
            for row in evaluations(folder).to_dict("records")
            for warning in row["warnings"]
            if row["epoch"] == epochs.get(row["trial"])
        ],
        notes=[*log.notes, *folder.read_evaluations().notes],
        search_file=folder.text,
    )


def _table(
    members: pd.DataFrame, objectives: list[str], searched: list[str]
) -> tuple[list[str], list[list[str]]]:
    """Headings and cells; searched values that no member has are left out."""
    metrics = list(dict.fromkeys([*objectives, *FIGURES]))
    used = [path for path in searched if members[path].notna().any()]
    columns = ["trial", *map(figures.label, metrics), "parameters", "MACs", "epoch", *used]
    rows = [
        [
            str(row["trial"]),
            *(f"{row[name]:.3f}" for name in metrics),
            f"{row['parameters']:,.0f}",
            f"{row['macs']:,.0f}",
            str(row["epoch"]),
            *(_value(row[path]) for path in used),
        ]
        for row in members.to_dict("records")
    ]
    return columns, rows


def _value(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
