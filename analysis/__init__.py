"""Analysis of runs: neither torch nor Ray, so that a report is made on a laptop."""

from analysis.evaluations import diagnoses, evaluation_table, evaluations
from analysis.front import front, hypervolume
from analysis.load import load, networks, table

__all__ = [
    "diagnoses",
    "evaluation_table",
    "evaluations",
    "front",
    "hypervolume",
    "load",
    "networks",
    "table",
]
