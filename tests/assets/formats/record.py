"""Records a run of an early format with the code of that time.

    git worktree add --detach CHECKOUT COMMIT
    python -m tests.assets.formats.record NAME CHECKOUT [OPTION OF THE EVALUATION ...]

README.md has the commits. A recorded run is never recorded again: it would be of the same format.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.assets.record import KEPT, records
from tests.support.cluster.searches import kill

HERE = Path(__file__).resolve().parent
OLD = [sys.executable, "-c", "from rtune.cli import main; main()"]
EVALUATION = ["--attacks", "natural,fgsm", "--noise-draws", "2"]


def main(name: str, checkout: Path, *options: str) -> None:
    """A search killed with stopped, finished and unfinished trials; an evaluation, a replicate if it can."""
    with tempfile.TemporaryDirectory(prefix="rtune-") as scratch:
        folder = Path(scratch)
        (folder / "search.yaml").write_bytes((HERE / "search.yaml").read_bytes())
        run = folder / "runs" / name
        _search(folder, checkout, run)
        finished = next(r["trial"] for r in records(run) if r.get("decision") == "finish")
        has = _said(folder, checkout, "--help")
        if "replicate" in has:
            _said(folder, checkout, "replicate", name, "--trials", finished, "--seeds", "2")
        if "evaluate" in has:
            _said(folder, checkout, "evaluate", name, "--trials", finished, *EVALUATION, *options)
        for pattern in KEPT:
            for file in sorted(run.glob(pattern)):
                content = file.read_bytes()
                assert not any(str(path).encode() in content for path in (folder, checkout, Path.home()))
                target = HERE / name / file.relative_to(run)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        (HERE / name / "results.csv").write_text(_said(folder, checkout, "results", name))


def _search(folder: Path, checkout: Path, run: Path) -> None:
    command = [*OLD, "search", "search.yaml", "--name", run.name, "--concurrency", "2"]
    process = subprocess.Popen(
        command, cwd=folder, env=_environment(checkout), start_new_session=True, text=True
    )
    while process.poll() is None:
        log = records(run)
        ended = {r["trial"]: r.get("decision") for r in log if r.get("decision") in ("stop", "finish")}
        begun = [r["trial"] for r in log if r.get("decision") == "continue" and r["trial"] not in ended]
        if set(ended.values()) == {"stop", "finish"} and begun:
            kill(process)
            return
        time.sleep(0.01)
    raise RuntimeError("the search ended before it could be killed; record again")


def _said(folder: Path, checkout: Path, *args: str) -> str:
    done = subprocess.run(
        [*OLD, *args], cwd=folder, env=_environment(checkout), capture_output=True, text=True
    )
    assert done.returncode == 0, json.dumps([args, done.stdout, done.stderr])
    return done.stdout


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), *sys.argv[3:])
