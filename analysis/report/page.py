"""The report's page: one HTML file that needs nothing but itself."""

import datetime
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.evaluations import diagnoses, evaluation_table, evaluations
from analysis.objectives import Objective, number
from analysis.paper import rows_for
from analysis.report import details, plot_data, text
from analysis.report.run_set import RunSet, remarks
from analysis.report.sections import certainty, comparisons, reproduce, settings
from analysis.report.tables import front_table
from rtune.run import schema

SPLITS = ("test", "validation")
_HERE = Path(__file__).parent / "static"


def page(run_set: RunSet, refresh: int | None = None) -> str:
    """The page of a run_set; with `refresh` a browser loads it anew after so many seconds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    common: dict[str, Any] = {
        "name": run_set.name,
        "description": " ".join(dict.fromkeys(r.folder.spec.file.description for r in run_set.runs)).strip(),
        "refresh": refresh,
        "made": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
        "dataset": run_set.dataset,
        "saved": text.saved(run_set),
        "counts": list(_counts(run_set).items()),
        "broken": _broken(run_set),
        "notes": [note for run in run_set.runs for note in [*run.notes, *run.evaluated.notes]],
        "runs": reproduce.runs(run_set),
        "bibtex": reproduce.bibtex(),
        "front": [],
        "nothing": text.nothing(run_set),
    }
    scripts = {
        "style": Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        "plotly": Markup(get_plotlyjs()),
        "plots_script": Markup((_HERE / "plots.js").read_text(encoding="utf-8")),
        "report_script": Markup((_HERE / "page.js").read_text(encoding="utf-8")),
    }
    data = _empty(run_set)
    if len(run_set.networks):
        found, more = _found(run_set)
        common, data = common | found, data | more
    common["sections"] = _sections(common)
    return environment.get_template("page.html.j2").render(**common, **scripts, data=_embedded(data))


def _found(run_set: RunSet) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page says of networks, and what its plots are drawn from."""
    _ = run_set.members, run_set.hypervolume  # what the two threads share
    # Half of the time is spent outside the interpreter; more threads than this would wait for each other.
    with ThreadPoolExecutor(1) as pool:
        compared = pool.submit(comparisons.sections, run_set)
        certain, found = certainty.certainty(run_set), settings.findings(run_set)
        differences = comparisons.differences(run_set)
    drawn = plot_data.shown(run_set)
    columns, rows = front_table(run_set, certain.probability)
    uncertain = set(certain.within_noise)
    data: dict[str, Any] = {
        "points": plot_data.points(run_set, drawn, uncertain, found.derived),
        "kinds": sorted(run_set.networks["kind"].unique()),
        "pairs": plot_data.pairs(run_set.objectives),
        "intervals": certain.intervals,
        "attainment": certain.surfaces,
        "paper": rows_for(run_set.dataset),
        "importance": found.importance,
        "axes": plot_data.axes(run_set, drawn),
        "slices": found.slices,
        "derived": list(found.derived),
        "members": details.members(run_set),
        "knee": plot_data.of_knee(run_set),
        "differences": differences,
    }
    data["labels"] = _labels() | found.labels
    context = {
        "front": rows,
        "columns": columns,
        "findings": text.findings(run_set),
        "sparsest": text.sparsest(run_set),
        "hypervolume": number(run_set.hypervolume),
        "reference": text.listed([f"{number(v)} in {_label(k)}" for k, v in run_set.reference.items()]),
        "images": run_set.images,
        "attack": text.attack(run_set.attack),
        "remarks": remarks(run_set),
        "least": _least(run_set),
        "pairs": [(x, y, f"{_label(y)} against {_label(x)} of all networks") for x, y in data["pairs"]],
        "undrawn": plot_data.undrawn(run_set.objectives),
        "paper": bool(data["paper"]),
        "attainment": bool(certain.surfaces),
        "thinned": _thinned(run_set, drawn),
        "sure": certain.sentences,
        "evaluations": [
            (split, f" of {run.name}" if len(run_set.runs) > 1 else "", *table)
            for split in SPLITS
            for run in run_set.runs
            if (table := evaluation_table(run, split))[1]
        ],
        **_warnings(run_set),
        "band": found.sentences,
        "importance": found.table,
        "importance_remark": found.remark,
        "slices": [one["name"] for one in found.slices],
        "slice_labels": {one["name"]: found.labels.get(one["name"], one["name"]) for one in found.slices},
        "slice_metrics": [(o.name, o.label) for o in run_set.objectives],
        "comparisons": compared.result(),
        "differences": [
            f"{text.listed(list(one['names']))}, in {_label(one['x'])} and {_label(one['y'])}"
            for one in data["differences"]
        ],
    }
    return context, data


def _empty(run_set: RunSet) -> dict[str, Any]:
    """The data of a page without networks."""
    return {
        "objectives": run_set.names,
        "fractions": [name for name in schema.METRICS if Objective(name, True).is_fraction],
        "maximise": {o.name: o.maximise for o in run_set.objectives},
        "labels": _labels(),
        "validation": run_set.validation_images,
        "points": {"id": [], "kind": [], "front": [], "noise": [], "metrics": {}, "values": {}},
        "kinds": [],
        "intervals": {},
        "attainment": [],
        "members": {},
        "differences": [],
        "derived": [],
        "knee": None,
        "cost": plot_data.cost(run_set),
        "ends": plot_data.ends(run_set),
    }


def _labels() -> dict[str, str]:
    return {name: _label(name) for name in schema.METRICS}


def _embedded(data: dict[str, Any]) -> Markup:
    """JSON that no text in it can break out of."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _label(name: str) -> str:
    return Objective(name, True).label


def _sections(context: dict[str, Any]) -> list[tuple[str, str]]:
    titles = {
        "front": "Found",
        "sure": "How sure",
        "cost": "Cost",
        "settings": "Settings",
        "compare": "Comparisons",
        "network": "One network",
        "again": "Cite, run again",
    }
    missing = set() if context["front"] else {"sure", "settings", "compare", "network"}
    if not context.get("comparisons"):
        missing.add("compare")
    return [(name, title) for name, title in titles.items() if name not in missing]


def _counts(run_set: RunSet) -> dict[str, int]:
    counts = Counter(status for run in run_set.runs for status in run.trials["status"])
    found = {status: counts[status] for status in schema.STATUSES if counts[status]}
    wanted = sum(
        max(0, run.wanted - int((run.trials["sampler"] != schema.REPLICATE).sum())) for run in run_set.runs
    )
    return found | ({"waiting": wanted} if wanted else {})


def _broken(run_set: RunSet) -> list[str]:
    return [
        f"{trial} {status}: {error}"
        for run in run_set.runs
        for trial, status, error in run.trials.loc[
            run.trials["error"].fillna("") != "", ["trial", "status", "error"]
        ].itertuples(index=False)
    ]


def _least(run_set: RunSet) -> dict[str, Any] | None:
    """The slider for the least robust accuracy: rounded ends a thousandth beyond the front's."""
    if "robust_accuracy" not in run_set.networks or len(run_set.members) < 2:
        return None
    values = run_set.members["robust_accuracy"]
    low, high = int(values.min() * 1000) / 1000, int(values.max() * 1000) / 1000
    if low >= high:
        return None
    return {"name": "robust_accuracy", "label": "robust accuracy", "low": low, "high": high, "step": 0.001}


def _thinned(run_set: RunSet, drawn: pd.DataFrame) -> str:
    if len(drawn) == len(run_set.networks):
        return ""
    others = len(drawn) - len(run_set.members)
    off = len(run_set.networks) - len(run_set.members)
    return f"of the {off:,} networks off the front {others:,} are drawn, at random"


def _warnings(run_set: RunSet) -> dict[str, Any]:
    """What evaluations and diagnoses warn of; and whose figures are of networks that are no more."""
    prefix = {i: f"{run.name}/" if len(run_set.runs) > 1 else "" for i, run in enumerate(run_set.runs)}
    now = dict(zip(run_set.networks["trial"], run_set.networks["epoch"], strict=True))
    warned, diagnosed, left = [], [], []
    for i, run in enumerate(run_set.runs):
        for row in evaluations(run).to_dict("records"):
            trial = f"{prefix[i]}{row['trial']}"
            if row["epoch"] == now.get(trial):
                about = f"{trial} {row['attack']}, {row['split']} split"
                warned += [f"{about}: {warning}" for warning in row["warnings"]]
            elif trial in now:
                left.append(f"{trial} at epoch {row['epoch']} (now {now[trial]})")
        diagnosed += [
            found | {"trial": f"{prefix[i]}{found['trial']}"}
            for found in diagnoses(run)
            if found["epoch"] == now.get(f"{prefix[i]}{found['trial']}")
        ]
    return {"attack_warnings": warned, "diagnoses": diagnosed, "left_behind": list(dict.fromkeys(left))}
