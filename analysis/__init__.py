"""Analysis of runs: neither torch nor Ray, so that a report is made on a laptop."""

from analysis.front import front, hypervolume
from analysis.load import load, networks, table

__all__ = ["front", "hypervolume", "load", "networks", "table"]
