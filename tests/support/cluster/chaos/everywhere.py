"""Disturbs searches in each scene, and the table of what came of it."""

import math
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from tests.support.cluster import hosts
from tests.support.cluster.chaos.disturb import Count, Faults, Figures, Size, disturb
from tests.support.cluster.chaos.faults import KINDS
from tests.support.cluster.chaos.scenes import SCENES, Disk

_SIZE = Size()


def chaos(
    folder: Path,
    seed: int,
    faults: int,
    seconds: float = math.inf,
    kinds: Collection[str] = tuple(KINDS),
    scenes: Collection[str] = tuple(SCENES),
    size: Size = _SIZE,
) -> Figures:
    """Disturbs searches in each scene; kinds that this machine does not permit are left out with a word.

    Args:
        folder: an empty folder on a disk.
        seed: of the searches and of the sequence of faults.
        faults: how many in all.
        seconds: no fault after about this time.
        kinds: kinds of fault.
        scenes: where.
        size: of each search.
    """
    figures = Figures()
    shares = {scene: [k for k in kinds if scene in KINDS[k].scenes] for scene in scenes}
    if shares.get("cluster") and (lacking := hosts.missing()) is not None:
        print(f"cluster is left out: {lacking}")
        shares.pop("cluster")
    for number, (name, here) in enumerate(shares.items(), start=1):
        # Of what is left, so that no fault is lost to rounding.
        left = faults - sum(count.injected for count in figures.kinds.values())
        part = len(here) / max(1, sum(len(k) for k in list(shares.values())[number - 1 :]))
        (folder / name).mkdir()
        with SCENES[name](folder / name) as scene:
            if isinstance(scene, Disk) and scene.disk is None and "full-disk" in here:
                print("full-disk is left out: mounting is not permitted")
                here.remove("full-disk")
            for kind in here:
                figures.kinds.setdefault(kind, Count())
            coming = Faults(f"{seed} {name}", here, round(left * part), seconds * part)
            disturb(scene, coming, seed, size, figures)
        seconds -= seconds * part if math.isfinite(seconds) else 0
    return figures


def table(figures: Figures) -> str:
    """A line for each kind of fault, and the sums."""
    columns = list(asdict(Count()))
    lines = [("kind", *columns)]
    total = Count()
    for kind, count in figures.kinds.items():
        values = asdict(count)
        lines.append((kind, *(str(values[column]) for column in columns)))
        for column in columns:
            setattr(total, column, getattr(total, column) + values[column])
    lines.append(("all", *(str(value) for value in asdict(total).values())))
    return "\n".join("  ".join([f"{first:12}", *(f"{v:>8}" for v in rest)]) for first, *rest in lines)
