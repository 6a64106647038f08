"""Section: what `rtune evaluate` measured, and its warnings."""

from typing import Any

from ...evaluations import diagnoses, evaluation_table, evaluations
from ..facts import Facts
from ..run_set import RunSet
from ..section import Content, Section

SPLITS = ("test", "validation")


def content(facts: Facts) -> Content | None:
    run_set = facts.run_set
    if run_set.networks.empty:
        return None
    tables = [
        (split, f" of {run.name}" if len(run_set.runs) > 1 else "", *table)
        for split in SPLITS
        for run in run_set.runs
        if (table := evaluation_table(run, split))[1]
    ]
    context = {"tables": tables, **_warnings(run_set)}
    return Content(context) if any(context.values()) else None


def _warnings(run_set: RunSet) -> dict[str, list[Any]]:
    """Warnings of attacks, diagnoses, and which evaluations are of an earlier epoch of their trial."""
    prefix = {i: f"{run.name}/" if len(run_set.runs) > 1 else "" for i, run in enumerate(run_set.runs)}
    now = dict(zip(run_set.networks["trial"], run_set.networks["epoch"], strict=True))
    warned, diagnosed, outdated = [], [], []
    for i, run in enumerate(run_set.runs):
        for row in evaluations(run).to_dict("records"):
            trial = f"{prefix[i]}{row['trial']}"
            if row["epoch"] == now.get(trial):
                about = f"{trial} {row['attack']}, {row['split']} split"
                warned += [f"{about}: {warning}" for warning in row["warnings"]]
            elif trial in now:
                outdated.append(f"{trial} at epoch {row['epoch']} (now {now[trial]})")
        diagnosed += [
            found | {"trial": f"{prefix[i]}{found['trial']}"}
            for found in diagnoses(run)
            if found["epoch"] == now.get(f"{prefix[i]}{found['trial']}")
        ]
    return {"attack_warnings": warned, "diagnoses": diagnosed, "outdated": list(dict.fromkeys(outdated))}


SECTION = Section.of_module(__file__, "Evaluation", "Accuracy under other attacks", content)
