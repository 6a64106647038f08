"""Replicates: trials that repeat a setting with other seeds, to measure how much results vary with the seed.

A replicate is trained for as many epochs as its original. The search ignores replicates: they are not
compared at rungs and samplers do not see them. Uses neither Ray nor torch.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from rtune.run.ledger import Ledger, Trial
from rtune.run.schema import REPLICATE

# Upper bound that catches typing errors.
MOST_SEEDS = 1000
# A training takes seeds of 48 bits. Replicates use the upper half, the search's own trials the lower
# (`Search._seed`).
_FIRST_SEED = 1 << 47


@dataclass(frozen=True)
class ReplicateRequest:
    """The replicates that a user wants.

    Attributes:
        trials: ids of the search's own trials whose settings are repeated.
        seeds: number of seeds per setting, the original's included; 1 to `MOST_SEEDS`.
    """

    trials: tuple[str, ...]
    seeds: int

    def options(self) -> str:
        """The request as options of `rtune replicate`."""
        return f"--trials {','.join(self.trials)} --seeds {self.seeds}"


def missing_records(ledger: Ledger, asked: ReplicateRequest, seed: int) -> Iterator[dict[str, Any]]:
    """Log records, without their time, that start or lengthen the replicates that are missing.

    Trials without a network are skipped. Replicates that are shorter than their original, because it has been
    promoted since, are lengthened before new ones start. Every setting gets its second seed before any gets
    its third, so that an interrupted command leaves comparable results.

    Args:
        ledger: the run's ledger. Each record must be applied to it before the next is requested.
        asked: the request; its trials must be in the ledger.
        seed: seed of the search.
    """
    alike: defaultdict[str, list[Trial]] = defaultdict(list)
    for trial in ledger.trials.values():
        alike[_key(trial)].append(trial)
    taken = {trial.seed for trial in ledger.trials.values()}
    known = [ledger.trials[name] for name in asked.trials]
    originals = [t for t in known if t.epoch and t.status not in ("diverged", "failed")]
    for seeds in range(2, asked.seeds + 1):
        for original in originals:
            same = alike[_key(original)]
            while _seeds(same, original) < seeds:
                shorter = (t for t in same if t.of == original.id and _is_shorter(t, original.epoch))
                if (found := next(shorter, None)) is not None:
                    yield {"kind": "lengthen", "trial": found.id, "epochs": original.epoch}
                    continue
                record = _begin(ledger, original, seed, taken)
                yield record
                same.append(ledger.trials[record["trial"]])
                taken.add(record["seed"])


def _seeds(same: list[Trial], original: Trial) -> int:
    """Number of seeds with which the setting is, or will be, trained for as long as the original."""
    return sum(trial is original or _is_outcome(trial, original.epoch) for trial in same)


def _is_outcome(trial: Trial, epochs: int) -> bool:
    """Whether a trial shows the result of a training of `epochs` epochs. Divergence is a result too."""
    if trial.status == "diverged":
        return trial.ended_epoch is not None and trial.ended_epoch <= epochs
    if trial.status == "running":
        return trial.length == epochs  # the search's own trials have no length: they may end at any rung
    return trial.status != "failed" and trial.epoch == epochs


def _is_shorter(replicate: Trial, epochs: int) -> bool:
    reaches = replicate.length if replicate.status == "running" else replicate.epoch
    return replicate.status in ("running", "finished") and (reaches or 0) < epochs


def _begin(ledger: Ledger, original: Trial, seed: int, taken: set[int]) -> dict[str, Any]:
    number = next(n for n in count(1) if f"{original.id}r{n}" not in ledger.trials)
    # Derived from the id: a replicate whose record was lost gets the seed of its checkpoint again.
    entropy = [seed, int(original.id[1:]), number]
    drawn = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
    return {
        "kind": "trial",
        "trial": f"{original.id}r{number}",
        "seed": next(s for s in count(_FIRST_SEED + drawn % _FIRST_SEED) if s not in taken),
        "values": original.values,
        "sampler": REPLICATE,
        "facts": {"of": original.id, "epochs": original.epoch},
    }


def _key(trial: Trial) -> str:
    return json.dumps(trial.values, sort_keys=True)
