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

from analysis import again, details, matters, pagedata, sidebyside, sure, words
from analysis.evaluations import diagnoses, evaluation_table, evaluations
from analysis.objectives import Objective, number
from analysis.paper import rows_for
from analysis.tables import front_table
from analysis.view import View, remarks
from rtune.run import schema

SPLITS = ("test", "validation")
_HERE = Path(__file__).parent


def page(view: View, refresh: int | None = None) -> str:
    """The page of a view; with `refresh` a browser loads it anew after so many seconds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    common: dict[str, Any] = {
        "name": view.name,
        "description": " ".join(dict.fromkeys(r.folder.spec.file.description for r in view.runs)).strip(),
        "refresh": refresh,
        "made": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
        "dataset": view.dataset,
        "saved": words.saved(view),
        "counts": list(_counts(view).items()),
        "broken": _broken(view),
        "notes": [note for run in view.runs for note in [*run.notes, *run.evaluated.notes]],
        "runs": again.runs(view),
        "bibtex": again.bibtex(),
        "front": [],
        "nothing": words.nothing(view),
    }
    scripts = {
        "style": Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        "plotly": Markup(get_plotlyjs()),
        "plots_script": Markup((_HERE / "plots.js").read_text(encoding="utf-8")),
        "report_script": Markup((_HERE / "report.js").read_text(encoding="utf-8")),
    }
    data = _empty(view)
    if len(view.networks):
        found, more = _found(view)
        common, data = common | found, data | more
    common["sections"] = _sections(common)
    return environment.get_template("report.html.j2").render(**common, **scripts, data=_embedded(data))


def _found(view: View) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page says of networks, and what its plots are drawn from."""
    _ = view.members, view.hypervolume  # what the two threads share
    # Half of the time is spent outside the interpreter; more threads than this would wait for each other.
    with ThreadPoolExecutor(1) as pool:
        compared = pool.submit(sidebyside.sections, view)
        certainty, found = sure.certainty(view), matters.findings(view)
        differences = sidebyside.differences(view)
    drawn = pagedata.shown(view)
    columns, rows = front_table(view, certainty.probability)
    uncertain = set(certainty.within_noise)
    data: dict[str, Any] = {
        "points": pagedata.points(view, drawn, uncertain, found.derived),
        "kinds": sorted(view.networks["kind"].unique()),
        "pairs": pagedata.pairs(view.objectives),
        "intervals": certainty.intervals,
        "attainment": certainty.surfaces,
        "paper": rows_for(view.dataset),
        "importance": found.importance,
        "axes": pagedata.axes(view, drawn),
        "slices": found.slices,
        "derived": list(found.derived),
        "members": details.members(view),
        "knee": pagedata.of_knee(view),
        "differences": differences,
    }
    data["labels"] = _labels() | found.labels
    context = {
        "front": rows,
        "columns": columns,
        "findings": words.findings(view),
        "sparsest": words.sparsest(view),
        "hypervolume": number(view.hypervolume),
        "reference": words.listed([f"{number(v)} in {_label(k)}" for k, v in view.reference.items()]),
        "images": view.images,
        "attack": words.attack(view.attack),
        "remarks": remarks(view),
        "least": _least(view),
        "pairs": [(x, y, f"{_label(y)} against {_label(x)} of all networks") for x, y in data["pairs"]],
        "undrawn": pagedata.undrawn(view.objectives),
        "paper": bool(data["paper"]),
        "attainment": bool(certainty.surfaces),
        "thinned": _thinned(view, drawn),
        "sure": certainty.sentences,
        "evaluations": [
            (split, f" of {run.name}" if len(view.runs) > 1 else "", *table)
            for split in SPLITS
            for run in view.runs
            if (table := evaluation_table(run, split))[1]
        ],
        **_warnings(view),
        "band": found.sentences,
        "importance": found.table,
        "importance_remark": found.remark,
        "slices": [one["name"] for one in found.slices],
        "slice_labels": {one["name"]: found.labels.get(one["name"], one["name"]) for one in found.slices},
        "slice_metrics": [(o.name, o.label) for o in view.objectives],
        "comparisons": compared.result(),
        "differences": [
            f"{words.listed(list(one['names']))}, in {_label(one['x'])} and {_label(one['y'])}"
            for one in data["differences"]
        ],
    }
    return context, data


def _empty(view: View) -> dict[str, Any]:
    """The data of a page without networks."""
    return {
        "objectives": view.names,
        "fractions": [name for name in schema.METRICS if Objective(name, True).is_fraction],
        "maximise": {o.name: o.maximise for o in view.objectives},
        "labels": _labels(),
        "validation": view.validation_images,
        "points": {"id": [], "kind": [], "front": [], "noise": [], "metrics": {}, "values": {}},
        "kinds": [],
        "intervals": {},
        "attainment": [],
        "members": {},
        "differences": [],
        "derived": [],
        "knee": None,
        "cost": pagedata.cost(view),
        "ends": pagedata.ends(view),
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


def _counts(view: View) -> dict[str, int]:
    counts = Counter(status for run in view.runs for status in run.trials["status"])
    found = {status: counts[status] for status in schema.STATUSES if counts[status]}
    wanted = sum(
        max(0, run.wanted - int((run.trials["sampler"] != schema.REPLICATE).sum())) for run in view.runs
    )
    return found | ({"waiting": wanted} if wanted else {})


def _broken(view: View) -> list[str]:
    return [
        f"{trial} {status}: {error}"
        for run in view.runs
        for trial, status, error in run.trials.loc[
            run.trials["error"].fillna("") != "", ["trial", "status", "error"]
        ].itertuples(index=False)
    ]


def _least(view: View) -> dict[str, Any] | None:
    """The slider for the least robust accuracy: rounded ends a thousandth beyond the front's."""
    if "robust_accuracy" not in view.networks or len(view.members) < 2:
        return None
    values = view.members["robust_accuracy"]
    low, high = int(values.min() * 1000) / 1000, int(values.max() * 1000) / 1000
    if low >= high:
        return None
    return {"name": "robust_accuracy", "label": "robust accuracy", "low": low, "high": high, "step": 0.001}


def _thinned(view: View, drawn: pd.DataFrame) -> str:
    if len(drawn) == len(view.networks):
        return ""
    others = len(drawn) - len(view.members)
    off = len(view.networks) - len(view.members)
    return f"of the {off:,} networks off the front {others:,} are drawn, at random"


def _warnings(view: View) -> dict[str, Any]:
    """What evaluations and diagnoses warn of; and whose figures are of networks that are no more."""
    prefix = {i: f"{run.name}/" if len(view.runs) > 1 else "" for i, run in enumerate(view.runs)}
    now = dict(zip(view.networks["trial"], view.networks["epoch"], strict=True))
    warned, diagnosed, left = [], [], []
    for i, run in enumerate(view.runs):
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
