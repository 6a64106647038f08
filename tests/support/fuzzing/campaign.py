"""Runs the checks on many examples, seeded; a failure is shown as the smallest example that fails."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from rtune.config import spaces, spec
from tests.support.fuzzing import checks, mutations
from tests.support.paths import ROOT

_ASSETS = ROOT / "tests" / "assets"
_FILES = [path.read_text() for path in [*spaces.built_in().values(), *sorted(_ASSETS.glob("*.yaml"))]]
_SEARCHES = [
    ["digits", "--name", "first", "--trials", "40", "--set", "model.width=16"],
    ["cifar10-rgsm", "--gpus-per-trial", "0.25", "--price", "2.5", "--epoch-seconds", "30"],
    ["cifar10-rgsm", "--gpus-per-trial", "0.25", "--time-budget", "8h", "--concurrency", "2"],
    [
        "fashion-mnist-rgsm",
        "--set",
        "data.folder=/nowhere",
        "--max-epochs",
        "9",
        "--seed",
        "3",
        "--sampler",
        "tpe",
    ],
    ["cifar10-paper", "--set", "model.depth=38", "--set", "attack.epsilon=8/255"],
    [
        "digits",
        "--set",
        "pruning={method: rgsm}",
        "--set",
        "points=[{model.width: 4}]",
        "--epoch-seconds",
        "1",
    ],
]
_OTHERS = [
    ["resume", "RUN", "--trials", "9", "--max-epochs", "6", "--time-budget", "1h30m"],
    ["replicate", "RUN", "--trials", "t0003", "--seeds", "2", "--concurrency", "1"],
    ["evaluate", "RUN", "--trials", "t0002,t0003", "--attacks", "natural,pgd-2", "--epsilon", "8/255"],
    ["evaluate", "RUN", "--step-size", "2/255", "--restarts", "2", "--eot-draws", "2", "--noise-draws", "3"],
    ["best", "RUN", "--where", "robust_accuracy>=0.45", "--maximize", "channel_sparsity"],
    ["best", "RUN", "--objectives", "robust_accuracy,macs:min", "--json"],
    ["status", "RUN", "--explain", "t0005"],
    ["results", "RUN", "--format", "csv"],
]


def run(examples: int, first_seed: int) -> Iterator[tuple[str, int, int]]:
    """Runs all kinds of checks; yields the kind, its number of examples, and how many were accepted.

    Args:
        examples: number of all examples; half of them are search files, the others options and logs.
        first_seed: seed of the examples.

    Raises:
        AssertionError, Exception: an example fails.
    """
    with tempfile.TemporaryDirectory() as name, _no_launches():
        folder = Path(name)
        kinds: list[tuple[str, float, st.SearchStrategy[Any], Callable[[Any], object]]] = [
            ("search files", 0.5, mutations.text(_FILES), lambda text: checks.search_file_text(text, folder)),
            ("options", 0.3, mutations.options(_commands(folder)), lambda args: checks.command(args) == 0),
            ("log lines", 0.2, *_logs(folder)),
        ]
        before = Path.cwd()
        os.chdir(folder)
        try:
            for kind, share, strategy, check in kinds:
                count = max(1, int(examples * share))
                yield kind, count, _examples(count, first_seed, strategy, check)
        finally:
            os.chdir(before)


def _examples(
    count: int, first: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], object]
) -> int:
    accepted = 0

    @seed(first)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one(example: Any) -> None:
        nonlocal accepted
        accepted += bool(check(example))

    one()
    return accepted


def _commands(folder: Path) -> list[list[str]]:
    run_folder = folder / "mixed"
    shutil.copytree(_ASSETS / "mixed", run_folder)
    searches = [["search", *words, "--dry-run"] for words in _SEARCHES]
    return searches + [[str(run_folder) if word == "RUN" else word for word in words] for words in _OTHERS]


def _logs(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    pairs = []
    for name in ("mixed", "interrupted"):
        copy = folder / f"log-{name}"
        shutil.copytree(_ASSETS / name, copy)
        pairs += [(copy, path.name, path.read_text()) for path in sorted((copy / "results").glob("*.jsonl"))]

    def check(example: tuple[int, str]) -> bool:
        run_folder, segment, text = pairs[example[0]]
        try:
            return checks.log_lines(example[1], run_folder, segment)
        finally:
            (run_folder / "results" / segment).write_text(text)

    one_of = [st.tuples(st.just(i), mutations.text([text])) for i, (_, _, text) in enumerate(pairs)]
    return st.one_of(one_of), check


def _no_launches() -> Any:
    """Neither training nor measuring: what a command does after its checks is left out."""
    from rtune.cli.actions import launches
    from rtune.dryrun import estimate, listing

    def dry_run(found: spec.Spec, *_: Any) -> int:
        return 0 * len(list(listing.lines(found)))

    patches = mock.patch.object(launches, "_launch", return_value=0)
    return _All(patches, mock.patch.object(estimate, "dry_run", dry_run), *_no_evaluation())


def _no_evaluation() -> list[Any]:
    from rtune.evaluate import evaluation

    return [mock.patch.object(evaluation, "evaluate", return_value=[])]


class _All:
    def __init__(self, *patches: Any) -> None:
        self.patches = patches

    def __enter__(self) -> None:
        for patch in self.patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self.patches:
            patch.stop()
