"""Section: how to reproduce the runs, and how to cite the method and rtune."""

import datetime
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtune import __version__
from rtune.run.ledger import Launch

from ..facts import Facts
from ..run_set import RunSet
from ..section import Content, Section

_PAPER = """@article{dinh2020sparsity,
  title   = {Sparsity Meets Robustness: Channel Pruning for the Feynman-Kac Formalism
             Principled Robust Deep Neural Nets},
  author  = {Dinh, Thu and Wang, Bao and Bertozzi, Andrea L. and Osher, Stanley J. and Xin, Jack},
  journal = {arXiv preprint arXiv:2003.00631},
  year    = {2020}
}"""


@dataclass(frozen=True)
class Recipe:
    """What it takes to repeat a run.

    Attributes:
        name: of the run.
        launches: how many it had.
        facts: name and text: versions, seed, commands, digests.
        search_file: its text.
    """

    name: str
    launches: int
    facts: list[tuple[str, str]]
    search_file: str


def content(facts: Facts) -> Content:
    return Content({"recipes": recipes(facts.run_set), "bibtex": bibtex()})


def recipes(run_set: RunSet) -> list[Recipe]:
    """One for each run."""
    found = []
    for run in run_set.runs:
        spec = run.folder.spec
        provenance: dict[str, Any] = dict(spec.file.provenance or {})
        data = {launch.data for launch in run.launches if launch.data}
        facts = {
            "command": provenance.pop("command", ""),
            "seed": str(spec.search.seed),
            **_launches(run.launches, run.folder.place),
            "images": _images(run.launches),
            "SHA-256 of the images": ", ".join(sorted(data)),
            **{name.replace("_", " "): str(value) for name, value in provenance.items()},
            "run folder": str(run.folder.place),
            "to continue": run.folder.resume_command(),
        }
        known = [(k, v) for k, v in facts.items() if v]
        found.append(Recipe(run.name, len(run.launches), known, run.folder.text))
    return found


def _launches(launches: Sequence[Launch], place: object) -> dict[str, str]:
    """The command of each launch; a later one may have asked for more than the search file."""
    found = {}
    for number, launch in enumerate(launches, start=1):
        began = datetime.datetime.fromtimestamp(launch.time)
        what = "FILE.yaml" if launch.command == "search" else shlex.quote(str(place))
        # The first versions with `replicate` did not record its options.
        unknown = "with options that were not recorded" if launch.command == "replicate" else ""
        found[f"launch {number}"] = (
            f"rtune {launch.command} {what} {launch.asked or unknown} "
            f"({began:%Y-%m-%d %H:%M}, {launch.concurrency} at once)"
        )
    return found


def _images(launches: Sequence[Launch]) -> str:
    if not launches:
        return ""
    return f"{launches[-1].train_images:,} for training, {launches[-1].validation_images:,} for validation"


def bibtex() -> str:
    """The paper of the method, and rtune."""
    program = (
        "@software{rtune,\n  title   = {rtune: distributed hyperparameter search for robust pruning},\n"
        "  author  = {{The rtune developers}},\n  year    = {2026},\n"
    )
    return f"{_PAPER}\n{program}  version = {{{__version__}}}\n}}"


SECTION = Section.of_module(__file__, "Reproduce, cite", "To reproduce and to cite", content)
