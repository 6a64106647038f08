"""The front as a table: for the page, as Markdown, and as LaTeX for a paper."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..objectives import Objective
from .run_set import RunSet
from .text import attack, figure

_ALWAYS = ("weight_sparsity", "channel_sparsity", "removable_channels")
_ACCURACIES = ("natural_accuracy", "robust_accuracy")
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def metrics(run_set: RunSet) -> list[str]:
    """The metrics in a table of the front: the objectives, the sparsities, then the costs."""
    return list(dict.fromkeys([*run_set.names, *_ALWAYS, "parameters", "macs"]))


def used(run_set: RunSet) -> list[str]:
    """Searched values that at least one member of the front has."""
    return [path for path in run_set.searched if run_set.members[path].notna().any()]


def front_table(
    run_set: RunSet, rivals: Mapping[str, str] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, one row a member, trial first; images if some were measured on fewer.

    Args:
        run_set: with a front.
        rivals: trial -> what may truly dominate it, for a column of its own.
    """
    names, paths = metrics(run_set), used(run_set)
    certain = ["may be dominated by"] if rivals else []
    cut = ["images"] if (run_set.members["images"] < run_set.validation_images).any() else []
    columns = ["trial", *(Objective(name, True).label for name in names), *certain, *cut, "epoch", *paths]
    rows = [
        [
            str(row["trial"]),
            *(figure(row[name], name) for name in names),
            *([rivals[row["trial"]] or "none"] if rivals else []),
            *(f"{row[name]:,}" for name in cut),
            str(row["epoch"]),
            *(value(row[path]) for path in paths),
        ]
        for row in run_set.members.to_dict("records")
    ]
    return columns, rows


def value(setting: Any) -> str:
    """A searched value, four significant digits of a number; empty where it does not apply."""
    if setting is None or (not isinstance(setting, str) and pd.isna(setting)):
        return ""
    return f"{setting:.4g}" if isinstance(setting, float) else str(setting)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in GitHub's Markdown, numbers aligned to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(plain, cells)) + " |"

    rule = "|---|" + "---:|" * (len(columns) - 1)
    return "\n".join([line(columns), rule, *map(line, rows)]) + "\n"


def plain(text: str) -> str:
    """Text with Markdown's special characters escaped: names of runs are arbitrary."""
    return re.sub(r"([\\|*_~$`\[\]])", r"\\\1", html.escape(text, quote=False))


def latex(run_set: RunSet) -> str:
    """A table with booktabs: accuracies and sparsities in percent, the best of each in bold.

    Needs `\\usepackage{booktabs}`.
    """
    names = list(dict.fromkeys([*run_set.names, "weight_sparsity", "channel_sparsity"]))
    best = {
        name: run_set.members[name].min() if _is_minimised(run_set, name) else run_set.members[name].max()
        for name in names
    }
    rows = []
    for row in run_set.members.to_dict("records"):
        figures = [_latex_figure(row[name], name, row[name] == best[name]) for name in names]
        cells = [
            escape(str(row["trial"])),
            escape(str(row["kind"])),
            *figures,
            f"{row['parameters'] / 1000:,.1f}k",
        ]
        rows.append("  " + " & ".join(cells) + r" \\")
    heads = [
        escape(Objective(n, True).label) + (r" (\%)" if Objective(n, True).is_fraction else "") for n in names
    ]
    head = " & ".join(["trial", "network", *heads, "parameters"])
    caption = escape(f"The front of {run_set.name}: {measured(run_set)}")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\label{tab:front}",
            rf"\begin{{tabular}}{{ll{'r' * (len(names) + 1)}}}",
            r"\toprule",
            f"  {head} " + r"\\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def measured(run_set: RunSet) -> str:
    """On which images, and under which attack, the figures of a table were measured."""
    images = f" ({run_set.images} images)" if run_set.images else ""
    robust = (
        f"; the robust accuracy under {attack(run_set.attack)}" if "robust_accuracy" in run_set.names else ""
    )
    return (
        f"validation split of {run_set.dataset}{images}{robust}; "
        "parameters and MACs without removable channels."
    )


def escape(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def _is_minimised(run_set: RunSet, name: str) -> bool:
    return any(o.name == name and not o.maximise for o in run_set.objectives)


def _latex_figure(found: Any, name: str, is_best: bool) -> str:
    if pd.isna(found):
        return "--"
    text = f"{100 * found:.1f}" if Objective(name, True).is_fraction else Objective(name).format(found)
    return rf"\textbf{{{text}}}" if is_best else text
