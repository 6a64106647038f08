"""Section: how certain the front is, given the number of images, the seeds and the choice on validation."""

import shlex

import numpy as np
import pandas as pd

from rtune import metrics
from rtune.run import schema

from ...evaluations import evaluations
from ...objectives import number
from ...seeds import replicates
from ...statistics.optimism import optimism
from .. import text
from ..facts import Facts
from ..run_set import RunSet
from ..section import Content, Section


def content(facts: Facts) -> Content | None:
    if facts.run_set.networks.empty:
        return None
    return Content({"sentences": [*_of_images(facts), _of_seeds(facts), *_of_optimism(facts.run_set)]})


def _of_images(facts: Facts) -> list[str]:
    widths = [(high - low) / 2 for bounds in facts.intervals.values() for low, high in bounds.values()]
    unknown = [o for o in facts.run_set.objectives if o.name not in (*metrics.exact(), *metrics.of_images())]
    said = [
        f"Each accuracy on the front was measured on {facts.run_set.images} validation images, so its 95 % "
        f"confidence interval (Wilson) is at most ±{max(widths):.3f}. This is the interval of one network by "
        "itself. The members of the front were chosen by these very accuracies, which are therefore rather "
        "too high, the more so the more networks are nearly as good.",
        _of_members(len(facts.run_set.members), len(facts.within_noise)),
    ]
    if unknown:
        said.append(
            f"How much {text.listed([o.label for o in unknown])} would differ if measured again is unknown. "
            "Hence only a network without an equal in the other objectives is called clear."
        )
    return said


def _of_members(total: int, noisy: int) -> str:
    clear = total - noisy
    said = (
        f"{clear:,} of the {total:,} member{'s' * (total != 1)} of the front {'is' if clear == 1 else 'are'} "
        "clearly on it: every other network is worse in some objective, by more than chance explains. Of the "
        "networks that another one truly dominates at most 5 % are called so."
    )
    if not noisy:
        return said
    one = noisy == 1
    return (
        f"{said} {noisy:,} {'is' if one else 'are'} within noise: another network, named in the table, may "
        f"truly dominate {'it' if one else 'each'}. How probable that is depends on how often two networks "
        "fail on the same images, which is not recorded."
    )


def _of_seeds(facts: Facts) -> str:
    run_set = facts.run_set
    groups = replicates(run_set.networks, run_set.searched)
    counts = groups[groups.duplicated(keep=False)].value_counts()
    repeated = int(groups[run_set.members.index].isin(counts.index).sum())
    if not repeated:
        return _without_seeds(run_set)
    total = len(run_set.members)
    shown = (
        " The solid lines in the plots above are what 25, 50 and 75 % of the sets of seeds attain."
        if facts.surfaces
        else ""
    )
    return (
        f"{repeated} of the {total} member{'s' * (total != 1)} of the front "
        f"{'has' if repeated == 1 else 'have'} replicates from other seeds; the standard deviation between "
        f"seeds of one setting is {_spread(run_set, groups)}.{shown} Replicates take part in the front "
        "like other networks, so it may hold the best of several seeds of a setting."
    )


def _without_seeds(run_set: RunSet) -> str:
    place = shlex.quote(str(run_set.runs[0].folder.place))
    if not (run_set.networks["sampler"] == schema.REPLICATE).any():
        return (
            "Every setting was trained from one seed, so the variation between seeds is unknown; "
            f"'rtune replicate {place}' trains the settings of the front from more seeds."
        )
    return (
        "No member of the front has a replicate that was trained as long and measured on as many images, so "
        f"the variation between seeds is unknown; 'rtune replicate {place}' adds replicates, and continues "
        "those that ended too early."
    )


def _spread(run_set: RunSet, groups: "pd.Series[int]") -> str:
    """Pooled standard deviation of each objective within settings."""
    rows = run_set.networks[groups.duplicated(keep=False)]
    own = groups[rows.index]
    parts = []
    for objective in run_set.objectives:
        column = rows[objective.name].astype(float)
        residuals = column - column.groupby(own).transform("mean")
        freedom = max(1, len(rows) - own.nunique())
        parts.append(f"{number(float(np.sqrt((residuals**2).sum() / freedom)))} in {objective.label}")
    return text.listed(parts)


def _of_optimism(run_set: RunSet) -> list[str]:
    said = []
    for i, run in enumerate(run_set.runs):
        own = run_set.networks[run_set.networks["run"] == i]
        if len(run_set.runs) > 1:
            own = own.assign(trial=own["trial"].str.removeprefix(f"{run.name}/"))
        found = optimism(own, evaluations(run), run_set.objectives, own["images"], run_set.attack)
        if found is not None:
            said.append(f"{run.name}: {found.sentence}" if len(run_set.runs) > 1 else found.sentence)
    return said


SECTION = Section.of_module(__file__, "Certainty", "How certain is it", content)
