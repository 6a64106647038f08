"""Section: one network, chosen by the reader; what is known of each member of the front."""

from itertools import pairwise
from typing import Any

import pandas as pd

from ... import channels
from ...evaluations import evaluations
from ...front import knee
from ...objectives import number
from ...seeds import replicates
from .. import details
from ..facts import Facts
from ..plot_data import plain
from ..run_set import RunSet
from ..section import Content, Section

# Only the first members of the front have a histogram of norms: reading a checkpoint takes time.
MOST_HISTOGRAMS = 200
_CURVES = ("natural_accuracy", "robust_accuracy", "channel_sparsity", "weight_sparsity")


def content(facts: Facts) -> Content | None:
    run_set = facts.run_set
    first = knee(run_set.networks, run_set.objectives)
    if first is None:
        return None
    return Content(
        {},
        {
            "first": str(first["trial"]),
            "members": _members(run_set),
            "validation": run_set.validation_images,
            "derived": list(facts.thresholds.columns),
        },
    )


def _members(run_set: RunSet) -> dict[str, dict[str, Any]]:
    """Trial -> curves, rows of text and histogram of channel norms, for each member of the front."""
    curves = _curves(run_set)
    attacked = _attacked(run_set)
    seeds = _seeds(run_set)
    found: dict[str, dict[str, Any]] = {}
    for count, (_, row) in enumerate(run_set.members.iterrows()):
        trial = str(row["trial"])
        rows = [*details.describe(run_set, row), *seeds.get(trial, [])]
        rows += attacked.get((row["run"], details.own_name(run_set, row)), [])
        histogram = None
        if count < MOST_HISTOGRAMS:
            histogram, why = _histogram(run_set, row)
            rows += [("channel norms", why)] if why else []
        found[trial] = {
            "curves": curves.get(trial, {"epoch": [], "images": []}),
            "rows": rows,
            "histogram": histogram,
        }
    return found


def _curves(run_set: RunSet) -> dict[str, dict[str, list[Any]]]:
    """Trial -> metrics of each front member after each epoch, and on how many images they were measured."""
    names = list(dict.fromkeys([*(o.name for o in run_set.objectives if o.is_fraction), *_CURVES]))
    found = {}
    for i, run in enumerate(run_set.runs):
        own = run_set.members[run_set.members["run"] == i]
        prefix = f"{run.name}/" if len(run_set.runs) > 1 else ""
        rows = run.rows[run.rows["trial"].isin(own["trial"].str.removeprefix(prefix))]
        for trial, part in rows[rows["robust_accuracy"].notna()].groupby("trial", observed=True):
            found[f"{prefix}{trial}"] = {name: plain(part[name]) for name in ["epoch", "images", *names]}
    return found


def _histogram(run_set: RunSet, row: "pd.Series[Any]") -> tuple[dict[str, Any] | None, str]:
    norms, why = channels.channel_norms(details.checkpoint(run_set, row))
    if norms is None:
        return None, why or "unknown"
    made = channels.histogram(norms)
    labels = [f"{low:.2g} to {high:.2g}" for low, high in pairwise(made.edges)]
    return {"labels": labels, "counts": made.counts.tolist(), "zero": made.zero, "total": made.total}, ""


def _attacked(run_set: RunSet) -> dict[tuple[int, str], list[tuple[str, str]]]:
    """(run, trial) -> a row for each evaluation of the network at its present epoch."""
    now = {
        (row["run"], details.own_name(run_set, row)): row["epoch"] for _, row in run_set.members.iterrows()
    }
    found: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for i, run in enumerate(run_set.runs):
        for record in evaluations(run).to_dict("records"):
            key = (i, str(record["trial"]))
            if now.get(key) != record["epoch"]:
                continue
            spread = f" ± {record['accuracy_std']:.3f}" if record["noise_draws"] > 1 else ""
            radius = "" if pd.isna(record["epsilon"]) else f", epsilon {record['epsilon']:.4g}"
            text = f"{record['accuracy']:.3f}{spread} of {record['images']:,} images{radius}"
            found.setdefault(key, []).append((f"{record['attack']}, {record['split']} split", text))
    return found


def _seeds(run_set: RunSet) -> dict[str, list[tuple[str, str]]]:
    """Trial -> mean and standard deviation of each objective over the seeds of its setting, if several."""
    groups = replicates(run_set.networks, run_set.searched)
    wanted = set(groups[run_set.members.index])
    found: dict[str, list[tuple[str, str]]] = {}
    rows = run_set.networks[groups.isin(wanted)]
    for _, part in rows.groupby(groups[rows.index]):
        if len(part) < 2:
            continue
        spread = [
            f"{o.label} {number(part[o.name].mean())} ± {number(part[o.name].std())}"
            for o in run_set.objectives
        ]
        text = f"{', '.join(spread)} over {len(part)} seeds ({', '.join(part['trial'])})"
        for trial in part["trial"]:
            found[str(trial)] = [("seeds", text)]
    return found


SECTION = Section.of_module(__file__, "One network", "One network", content)
