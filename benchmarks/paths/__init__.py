"""Penalty paths beside independent trainings: see `benchmarks.paths.__main__`."""
