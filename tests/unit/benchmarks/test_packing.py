"""The benchmarks of speed run where there is no GPU, on the CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import throughput
from tests.support.paths import ROOT


def run(module: str, file: Path, *options: str) -> tuple[str, Any]:
    """What a benchmark prints, and what it writes."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *options, "--json", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_packing_reports_the_total_throughput_of_parallel_trainings(tmp_path: Path) -> None:
    sizes = ["--at-once", "2", "--processes", "2", "--side", "4", "--batches", "1", "--repeats", "1"]
    said, found = run("packing", tmp_path / "packing.json", *sizes)
    assert "\n2 streams: " in said
    ways = {(row["how"], row["at_once"]): row["images_per_second"] for row in found["rows"]}
    assert list(ways) == [("textbook", 1), ("streams", 2), ("processes", 2)]
    assert all(rate > 0 for rates in ways.values() for rate in rates)


def test_throughput_has_a_row_for_each_implementation(tmp_path: Path) -> None:
    which = ["--networks", "resnet20", "--pruning", "rgsm", "--rounds", "1", "--batches", "1"]
    said, found = run("throughput", tmp_path / "throughput.json", *which)
    assert [row["implementation"] for row in found] == ["textbook", "released", "rtune"]
    for row in found:
        assert (row["network"], row["pruning"], row["device"], row["threads"]) == (
            "resnet20",
            "rgsm",
            "cpu",
            1,
        )
        assert row["images_per_second"] > 0
        assert f"{row['images_per_second']:,.0f} images/s" in said
    assert "fraction of rtune's time in each operation" in said


def test_demand_does_not_count_products_with_the_padding() -> None:
    """ResNet20 on 8x8 images, by hand: in a line of n pixels a 3x3 kernel reads 3 n - 2, with stride 2 from
    8 pixels 11 and from 4 pixels 5."""
    stem, head = 22**2 * 16, 640
    stages = 6 * 22**2 * 16 * 16, 5 * 10**2 * 32 * 32, 5 * 4**2 * 64 * 64
    halving = 11**2 * 16 * 32 + 5**2 * 32 * 64
    shortcuts = 4**2 * 16 * 32 + 2**2 * 32 * 64
    products = stem + sum(stages) + halving + shortcuts + head
    # Ten steps of two passes, and three of training.
    assert throughput.demand("cpu", 1)[0] == 23 * 2 * products
    assert throughput.demand("cpu", 5)[0] == 5 * 23 * 2 * products
