"""How to cite a run and how to run it again."""

from dataclasses import dataclass
from typing import Any

from analysis.view import View
from rtune import __version__

_PAPER = """@article{dinh2020sparsity,
  title   = {Sparsity Meets Robustness: Channel Pruning for the Feynman-Kac Formalism
             Principled Robust Deep Neural Nets},
  author  = {Dinh, Thu and Wang, Bao and Bertozzi, Andrea L. and Osher, Stanley J. and Xin, Jack},
  journal = {arXiv preprint arXiv:2003.00631},
  year    = {2020}
}"""


@dataclass(frozen=True)
class Again:
    """What a run was: facts with their names, and its search file."""

    name: str
    facts: list[tuple[str, str]]
    search_file: str


def runs(view: View) -> list[Again]:
    """One for each run of a view."""
    found = []
    for run in view.runs:
        spec = run.folder.spec
        provenance: dict[str, Any] = dict(spec.file.provenance or {})
        launches = [f"{launch.trials} trials, {launch.concurrency} at once" for launch in run.launches]
        data = {launch.data for launch in run.launches}
        facts = {
            "command": provenance.pop("command", ""),
            "seed": str(spec.search.seed),
            "launches": "; ".join(launches),
            "images": _images(run.launches),
            "SHA-256 of the images": ", ".join(sorted(data)),
            **{name.replace("_", " "): str(value) for name, value in provenance.items()},
            "run folder": str(run.folder.place),
            "to go on": run.folder.resume_command(),
        }
        found.append(Again(run.name, [(k, v) for k, v in facts.items() if v], run.folder.text))
    return found


def _images(launches: Any) -> str:
    if not launches:
        return ""
    return f"{launches[-1].train_images:,} for training, {launches[-1].validation_images:,} for validation"


def bibtex() -> str:
    """The method's paper and this program."""
    program = (
        "@software{rtune,\n  title   = {rtune: distributed hyperparameter search for robust pruning},\n"
        "  author  = {{The rtune developers}},\n  year    = {2026},\n"
    )
    return f"{_PAPER}\n{program}  version = {{{__version__}}}\n}}"
