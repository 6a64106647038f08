"""What a section of the report's page is: a module, a template and, if it has plots, a script."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .facts import Facts


@dataclass(frozen=True)
class Content:
    """What a section shows.

    Attributes:
        context: variables of its template.
        data: plain JSON values for its script, which finds them as `Plots.data.sections.NAME`. Without data
            the script is left out of the page.
    """

    context: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: unique; the HTML id is `section-NAME`.
        title: in the navigation.
        heading: above the section.
        content: what it shows of a run set; None leaves the section out.
        template: Jinja2 file with its HTML below the heading; `macros.html.j2` can be imported.
        script: JavaScript file that draws its plots; None where it has none.
        in_thread: whether `content` is computed in a second thread while the others are computed. For a
            content that takes long. It must not use those properties of `Facts` that others use.
    """

    name: str
    title: str
    heading: str
    content: Callable[[Facts], Content | None]
    template: Path
    script: Path | None = None
    in_thread: bool = False

    @classmethod
    def of_module(
        cls,
        file: str | Path,
        title: str,
        heading: str,
        content: Callable[[Facts], Content | None],
        in_thread: bool = False,
    ) -> "Section":
        """The section of the module `file`: named as it, with `NAME.html.j2` and `NAME.js` beside it."""
        path = Path(file)
        script = path.with_suffix(".js")
        return cls(
            path.stem,
            title,
            heading,
            content,
            path.with_suffix(".html.j2"),
            script if script.exists() else None,
            in_thread,
        )
