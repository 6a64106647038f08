"""benchmarks.packing runs where there is no GPU, on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_trainings_at_once_are_counted_together(tmp_path: Path) -> None:
    sizes = ["--images", "32", "--batch", "16", "--steps", "1", "--width", "2", "--repeats", "1"]
    file = tmp_path / "packing.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.packing", "--at-once", "1", "2", *sizes, "--json", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 at once: " in done.stdout
    rows = json.loads(file.read_text())["images_per_second"]
    assert [len(rows[count]) for count in ("1", "2")] == [1, 1]
    assert all(value > 0 for spent in rows.values() for value in spent)
