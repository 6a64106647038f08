"""cluster.yaml as Python data."""

from typing import Any

import yaml

from tests.support.paths import ROOT

Cluster = dict[str, Any]


def load() -> Cluster:
    found: Cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return found
