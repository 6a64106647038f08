"""Analysis of runs: neither torch nor Ray, so that a report is made on a laptop."""

from .evaluations import diagnoses, evaluation_table, evaluations
from .front import front, hypervolume, knee, reference
from .load import Run, load, networks, read, table

__all__ = [
    "Run",
    "diagnoses",
    "evaluation_table",
    "evaluations",
    "front",
    "hypervolume",
    "knee",
    "load",
    "networks",
    "read",
    "reference",
    "table",
]
