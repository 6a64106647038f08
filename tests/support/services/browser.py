"""Debian's Chromium, without a window, for tests of pages."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATH = shutil.which("chromium") or shutil.which("chromium-browser")
# It may run as root here, and asks nobody about updates.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needed = pytest.mark.skipif(PATH is None, reason="no chromium on this machine")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Context in which a browser runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=PATH, args=_ARGUMENTS)
        try:
            yield found
        finally:
            found.close()


class Seen:
    """A page that is open, and what it has said: errors on its console, requests beside its own file."""

    def __init__(
        self, browser: Any, file: Path, width: int = 1280, scheme: str = "light", mark: str = ""
    ) -> None:
        self._context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self._context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"{file.as_uri()}{mark}")
        self.page.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=30_000)

    def check(self) -> None:
        """It has not complained, nor asked for anything but itself; closes it."""
        where = self.page.url.partition("#")[0]
        self._context.close()
        assert self.errors == []
        assert [url.partition("#")[0] for url in self.requests] == [where]

    def text(self, where: str) -> str:
        """The text of the first element that a CSS selector finds."""
        return " ".join(self.page.inner_text(where).split())

    def tells(self, script: str) -> Any:
        """What a JavaScript expression is in the page."""
        return self.page.evaluate(script)
