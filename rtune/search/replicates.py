"""Trials that repeat settings with other seeds, so that one can tell a better setting from a lucky one.

A replicate is trained exactly as long as its original has been, and the search itself knows nothing of it:
no rung compares it, no sampler is told of it. Knows neither Ray nor torch.
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

# More seeds of one setting than that are a slip of the hand.
MOST_SEEDS = 1000
# The upper half of the 48 bits that a training takes; a search's own seeds lie in the lower (`Search._seed`).
_FIRST_SEED = 1 << 47


@dataclass(frozen=True)
class Asked:
    """What `rtune replicate` is asked for.

    Attributes:
        trials: ids of the search's own trials whose settings are to be repeated.
        seeds: with how many seeds each setting is to be trained in all, the trial's own among them.
    """

    trials: tuple[str, ...]
    seeds: int

    def options(self) -> str:
        """As options of `rtune replicate`."""
        return f"--trials {','.join(self.trials)} --seeds {self.seeds}"


def lacking(ledger: Ledger, asked: Asked, seed: int) -> Iterator[dict[str, Any]]:
    """Records, without their time, that begin or lengthen the replicates that are lacking.

    A trial without a network is passed over. Replicates that are shorter than their original (it has gone on
    since) are lengthened before new ones begin. Each setting has its second seed before any has its third:
    whoever interrupts it has something to compare.

    Args:
        ledger: of the run; it must take in each record before the next is asked for.
        asked: trials that the ledger has, and the number of seeds.
        seed: of the search.
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
    """With how many seeds the setting has been, or is being, trained for as long as the original."""
    return sum(trial is original or _is_outcome(trial, original.epoch) for trial in same)


def _is_outcome(trial: Trial, epochs: int) -> bool:
    """Whether a trial tells what a training of so many epochs comes to. That it diverges is an outcome."""
    if trial.status == "diverged":
        return trial.ended_epoch is not None and trial.ended_epoch <= epochs
    if trial.status == "running":
        return trial.length == epochs  # one of the search's own may end anywhere
    return trial.status != "failed" and trial.epoch == epochs


def _is_shorter(replicate: Trial, epochs: int) -> bool:
    reaches = replicate.length if replicate.status == "running" else replicate.epoch
    return replicate.status in ("running", "finished") and (reaches or 0) < epochs


def _begin(ledger: Ledger, original: Trial, seed: int, taken: set[int]) -> dict[str, Any]:
    number = next(n for n in count(1) if f"{original.id}r{n}" not in ledger.trials)
    # From the id: one whose record was lost gets the seed again that its checkpoint was trained with.
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
