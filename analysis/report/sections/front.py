"""Section: the Pareto front as sentences, scatter plots and a table."""

import math
from typing import Any

from rtune.run import schema

from ...front import knee
from ...objectives import number, values
from ...paper import LAST_EPOCH, rows_for
from .. import plot_data, text
from ..facts import Facts
from ..run_set import RunSet
from ..section import Content, Section
from ..tables import front_table

# A network is named as the sparsest useful one if it keeps this share of the best robust accuracy.
_KEPT = 0.9


def content(facts: Facts) -> Content:
    """Without a network it is one sentence on why there is none."""
    run_set = facts.run_set
    if run_set.networks.empty:
        return Content({"front": [], "nothing": text.nothing(run_set)})
    columns, rows = front_table(run_set, facts.rivals)
    pairs = plot_data.pairs(run_set.objectives)
    rows_of_paper = rows_for(run_set.dataset)
    reference = [f"{number(v)} in {text.metric(k)}" for k, v in run_set.reference.items()]
    context = {
        "front": rows,
        "columns": columns,
        "findings": findings(run_set),
        "hypervolume": number(run_set.hypervolume),
        "reference": text.listed(reference),
        "dataset": run_set.dataset,
        "images": run_set.images,
        "attack": text.attack(run_set.attack),
        "remarks": remarks(run_set),
        "slider": _slider(run_set),
        "pairs": [(x, y, f"{text.metric(y)} against {text.metric(x)} of all networks") for x, y in pairs],
        "undrawn": _undrawn(run_set),
        "paper": LAST_EPOCH if rows_of_paper else "",
        "attainment": bool(facts.surfaces),
        "sampled": _sampled(facts),
    }
    return Content(context, {"pairs": pairs, "paper": rows_of_paper})


def findings(run_set: RunSet) -> list[str]:
    """What was found, a few sentences: the size of the front, its knee, its best and sparsest members.

    Args:
        run_set: with at least one network.
    """
    members, objectives = run_set.members, run_set.objectives
    labels = [o.label for o in objectives]
    which = f"as good in {text.listed(labels)}, and better in one of them"
    if len(labels) == 1:
        which = f"better in {labels[0]}"
    is_ = "is" if len(members) == 1 else "are"
    said = [
        f"{_trials(run_set)}; {len(members):,} {is_} on the Pareto front: no other network is "
        f"{'at least ' * (len(labels) > 1)}{which}."
    ]
    middle = knee(run_set.networks, objectives)
    if middle is not None and len(members) > 1:
        said.append(
            f"The knee of the front, the best compromise, is {middle['trial']} ({middle['kind']}) with "
            f"{text.figures(middle, objectives)}: it has the largest sum of the objectives, each scaled to "
            "[0, 1] over the front."
        )
    said.append(_extremes(run_set))
    sparse = _sparsest(run_set)
    return [*said, sparse] if sparse else said


def _trials(run_set: RunSet) -> str:
    """`40 trials and 20 replicates gave 58 networks`."""
    trials = sum(len(run.trials) for run in run_set.runs)
    replicates = sum(int((run.trials["sampler"] == schema.REPLICATE).sum()) for run in run_set.runs)
    own, total = trials - replicates, len(run_set.networks)
    begun = f"{own:,} trial{'s' * (own != 1)}"
    if replicates:
        begun += f" and {replicates:,} replicate{'s' * (replicates != 1)} of them"
    return f"{begun} gave {total:,} network{'s' * (total != 1)}"


def _extremes(run_set: RunSet) -> str:
    members, objectives = run_set.members, run_set.objectives
    points = values(members, objectives)
    if len(points) < 2:
        row = members.iloc[0]
        return f"It is {row['trial']} with {text.figures(row, objectives)}."
    named = [
        f"{o.label} {text.figure(members[o.name].iloc[i], o.name)} ({members['trial'].iloc[i]})"
        for o, i in zip(objectives, points.argmax(axis=0), strict=True)
    ]
    return f"The best value of each objective: {text.listed(named)}."


def _sparsest(run_set: RunSet) -> str | None:
    """The sparsest network that keeps most of the best robust accuracy; None where either is no objective."""
    sparsities = [
        o.name
        for o in run_set.objectives
        if o.maximise and (o.name.endswith("sparsity") or o.name == "removable_channels")
    ]
    if "robust_accuracy" not in run_set.names or not sparsities or len(run_set.members) < 2:
        return None
    top = run_set.members["robust_accuracy"].max()
    kept = run_set.members[run_set.members["robust_accuracy"] >= _KEPT * top]
    row = kept.loc[kept[sparsities[0]].idxmax()]
    return (
        f"Of the members with at least {100 * _KEPT:.0f} % of the best robust accuracy, {row['trial']} has "
        f"the highest {text.metric(sparsities[0])}: {text.figures(row, run_set.objectives)}."
    )


def remarks(run_set: RunSet) -> list[str]:
    """In which settings of their data and of their evaluation the runs differ, a sentence for each."""
    said = []
    first, *others = run_set.runs
    for other in others:
        for what in ("evaluation", "data"):
            mine, its = (vars(getattr(run.folder.spec.file, what)) for run in (first, other))
            differing = [f"{key} {mine[key]} and {its[key]}" for key in mine if mine[key] != its[key]]
            if differing:
                said.append(
                    f"The accuracies of {first.name} and {other.name} were measured with different settings "
                    f"({what}: {', '.join(differing)})"
                )
    return said


def _slider(run_set: RunSet) -> dict[str, Any] | None:
    """The slider for the minimum robust accuracy: its ends are the front's, rounded down to a thousandth."""
    if "robust_accuracy" not in run_set.networks or len(run_set.members) < 2:
        return None
    column = run_set.members["robust_accuracy"]
    low, high = int(column.min() * 1000) / 1000, int(column.max() * 1000) / 1000
    if low >= high:
        return None
    return {"name": "robust_accuracy", "label": "robust accuracy", "low": low, "high": high, "step": 0.001}


def _undrawn(run_set: RunSet) -> str:
    count = math.comb(len(run_set.objectives), 2)
    if count <= plot_data.MOST_PAIRS:
        return ""
    return (
        f"{plot_data.MOST_PAIRS} of the {count} pairs of objectives are drawn; --objectives selects others."
    )


def _sampled(facts: Facts) -> str:
    networks, members, drawn = facts.run_set.networks, facts.run_set.members, facts.drawn
    if len(drawn) == len(networks):
        return ""
    others, off = len(drawn) - len(members), len(networks) - len(members)
    return f"Of the {off:,} networks off the front a random sample of {others:,} is drawn."


SECTION = Section.of_module(__file__, "Front", "What was found", content)
