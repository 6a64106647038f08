"""A user without a home, as in containers that run under any number."""

from pathlib import Path

from tests.support.paths import ROOT
from tests.support.run_many import run_many

RUN = str(ROOT / "tests" / "assets" / "mixed")
NO_HOME = """
import os, pwd
def unknown(of):
    raise KeyError(of)
pwd.getpwuid = pwd.getpwnam = unknown
for name in ("HOME", "USER", "LOGNAME"):
    os.environ.pop(name, None)
"""


def test_only_what_is_in_the_home_is_missing(tmp_path: Path) -> None:
    works = [
        ["spaces"],
        ["status", RUN],
        ["best", RUN],
        ["report", RUN, "-o", "report"],
        ["search", "digits", "--dry-run", "--epoch-seconds", "1"],
    ]
    refused = [
        ["search", "cifar10-rgsm", "--dry-run"],
        ["search", "digits", "--set", "data.folder=~/x"],
    ]
    found = run_many([*works, *refused], tmp_path, NO_HOME)
    assert [(one.code, one.uncaught) for one in found] == [(0, None)] * len(works) + [(2, None)] * len(
        refused
    )
    assert "home folder" in found[len(works)].stderr
    assert "set data.folder" in found[len(works)].stderr
    assert "~/x cannot be used: the home of ~ is unknown" in found[-1].stderr
