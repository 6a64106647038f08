"""Draws docs/rooms.svg: the rooms of rtune/ and what they may import.

    python docs/rooms.py

Order and prohibitions are those of the import contracts in pyproject.toml, the words those of the table in
docs/architecture.md.
"""

import re
import tomllib
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Pixels: a row, the column of rooms with its marks, and the box of analysis/.
ROW, LEFT, WIDE, MARK, ANALYSIS = 34, 40, 640, 68, 770
INK, GREY, ROOM, SIDE = "#1f2328", "#656d76", "#ddf4ff", "#fff8c5"


def contracts() -> list[dict[str, Any]]:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return found


def layers() -> list[str]:
    """The rooms of rtune/, the highest first."""
    (found,) = [c["layers"] for c in contracts() if c.get("containers") == ["rtune"]]
    return [room.strip() for layer in found for room in layer.split("|")]


def words() -> dict[str, str]:
    """Room -> what it is for, from the page's table."""
    rows = re.findall(r"^\| `([\w.]+)/?` \| (.*?) \|", (HERE / "architecture.md").read_text(), re.MULTILINE)
    return {name.removesuffix(".py"): purpose for name, purpose in rows}


def forbidden(module: str, to: str) -> bool:
    """Whether a contract keeps `module` out of the whole room `to`."""
    return any(
        module in contract.get("forbidden_modules", [])
        and to in contract["source_modules"]
        and not any(exception.startswith(f"{to}.") for exception in contract.get("ignore_imports", []))
        for contract in contracts()
        if contract["type"] == "forbidden"
    )


def _text(x: float, y: float, content: str, size: int = 13, fill: str = INK, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" {more}>{escape(content)}</text>'


def _box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="{fill}" stroke="{GREY}"/>'


def _arrow(*points: tuple[float, float]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{GREY}" marker-end="url(#head)"/>'


def svg() -> str:
    """The picture; it names fonts and colours that every viewer has."""
    purposes, rooms = words(), layers()
    top = 34
    height = top + ROW * len(rooms) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" font-family="sans-serif">',
        "<title>The rooms of rtune and what they may import</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/></marker></defs>',
        f'<rect width="900" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 22, "rtune/: a room may import the rooms below it", fill=GREY),
        _arrow((20, top + 6), (20, height - 18)),
    ]
    for number, room in enumerate(rooms):
        y = top + ROW * number
        middle = y + (ROW - 6) / 2
        parts.append(_box(LEFT, y, WIDE, ROW - 6, ROOM))
        parts.append(_text(LEFT + 10, middle + 5, room, 14, more='font-weight="bold"'))
        parts.append(_text(LEFT + 95, middle + 5, purposes.get(room, ""), 12))
        for place, package in enumerate(("Ray", "torch"), start=-2):
            if forbidden(package.lower(), f"rtune.{room}"):
                x = LEFT + WIDE + place * MARK + 8
                parts.append(_text(x, middle + 4, f"no {package}", 11, GREY))
        # What analysis/ may import, and who may import it.
        if not forbidden(f"rtune.{room}", "analysis"):
            parts.append(_arrow((ANALYSIS, middle), (LEFT + WIDE, middle)))
        if not forbidden("analysis", f"rtune.{room}"):
            parts.append(_arrow((LEFT + WIDE, middle), (ANALYSIS, middle)))
    parts.append(_box(ANALYSIS, top, 110, ROW * len(rooms) - 6, SIDE))
    banned = [f"no {package}" for package in ("Ray", "torch") if forbidden(package.lower(), "analysis")]
    for line, content in enumerate(("analysis", purposes.get("analysis", ""), *banned)):
        size, weight, fill = (14, "bold", INK) if line == 0 else (12 if line == 1 else 11, "normal", GREY)
        style = f'text-anchor="middle" font-weight="{weight}"'
        parts.append(_text(ANALYSIS + 55, top + 26 + 22 * line, content, size, fill, style))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    (HERE / "rooms.svg").write_text(svg())
