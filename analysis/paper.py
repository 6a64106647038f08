"""Figures of the paper (arXiv 2003.00631, its tables for CIFAR-10), drawn beside those of a run.

They are of the test images, under the paper's attacks (FGSM and IFGSM at epsilon 8/255, Carlini-Wagner);
a search's figures are of validation images, under the search attack.

Needs the standard library only: `benchmarks.claims.statements` reads this file where the package around it
cannot be imported.
"""

from typing import NamedTuple

DATASET = "cifar10"
ATTACK = "ifgsm-20"  # the paper's A3, and the default search attack
SPARSITIES = ("weight_sparsity", "channel_sparsity")


class Row(NamedTuple):
    """A row of the paper's tables; accuracies and sparsity are fractions.

    Attributes:
        key: short and unique, such as `en5 rgsm 2e-2`.
        label: the same for readers.
        network: `ResNet20`, `En5ResNet20` and so on.
        method: `dense`, `rvsm`, `rgsm` or `admm`.
        natural_accuracy, fgsm, ifgsm_20, cw: the paper's A1 to A4.
        sparsity_kind: the column of ours that `sparsity` goes with; None for dense networks.
        sparsity: of zero weights or zero channels.
    """

    key: str
    label: str
    network: str
    method: str
    natural_accuracy: float
    fgsm: float
    ifgsm_20: float
    cw: float
    sparsity_kind: str | None
    sparsity: float

    @property
    def robust_accuracy(self) -> float:
        """The counterpart of a search's robust accuracy: the accuracy under IFGSM-20."""
        return self.ifgsm_20


_NETWORKS = {"resnet20": "ResNet20", "en2": "En2ResNet20", "en5": "En5ResNet20", "resnet38": "ResNet38"}
_KINDS = {"rvsm": "weight_sparsity", "admm-weights": "weight_sparsity"}
_KINDS |= {"rgsm": "channel_sparsity", "admm-channels": "channel_sparsity"}
_SETTINGS = {"rvsm": "RVSM, beta", "rgsm": "RGSM, lambda_1"}
_PERCENT = """
resnet20 dense          76.07 51.24 47.25 59.30  0.00
en2 dense               80.34 57.11 50.02 66.77  0.00
en5 dense               81.41 58.21 51.60 66.48  0.00
resnet38 dense          78.03 54.09 49.81 61.72  0.00
resnet20 rvsm 0.01      70.26 46.68 43.79 55.59 80.91
resnet20 rvsm 0.1       73.45 49.48 45.79 57.72 56.88
resnet20 rvsm 0.5       74.08 50.64 46.67 57.24 39.92
en2 rvsm 0.01           72.81 51.98 46.62 63.10 89.86
en2 rvsm 0.1            77.78 55.48 49.26 65.56 70.55
en2 rvsm 0.5            78.47 56.13 49.54 65.57 56.34
resnet20 rgsm 5e-2      75.91 51.52 47.14 58.77  8.00
resnet20 rgsm 1e-1      71.84 48.23 45.21 57.09 25.33
en2 rgsm 5e-2           78.28 56.53 49.58 66.56 41.48
en2 rgsm 1e-1           75.87 54.65 47.77 65.41 56.74
en5 rgsm 1e-2           81.46 58.34 51.35 66.84 19.76
en5 rgsm 2e-2           80.53 57.38 50.63 66.52 53.36
resnet38 rgsm 5e-2      77.92 53.51 49.35 60.32 17.67
resnet38 rgsm 1e-1      72.95 49.78 46.48 57.92 43.80
resnet20 admm-weights   71.55 47.37 44.30 55.79 10.92
resnet20 admm-channels  63.99 42.06 39.75 51.90  4.44
"""


def _row(line: str) -> Row:
    network, method, *setting = line.split()[:-5]
    natural, fgsm, ifgsm_20, cw, sparsity = (round(float(text) / 100, 4) for text in line.split()[-5:])
    words = f"{_SETTINGS[method]} {setting[0]}" if setting else method.replace("admm-", "ADMM, ")
    return Row(
        key=" ".join([network, method, *setting]),
        label=f"{_NETWORKS[network]}, {words}",
        network=_NETWORKS[network],
        method=method.partition("-")[0],
        natural_accuracy=natural,
        fgsm=fgsm,
        ifgsm_20=ifgsm_20,
        cw=cw,
        sparsity_kind=_KINDS.get(method),
        sparsity=sparsity,
    )


ROWS = tuple(_row(line) for line in _PERCENT.strip().splitlines())

# The rows behind the headline: the first minus the second.
HEADLINE_ROWS = ("en5 rgsm 2e-2", "resnet20 rgsm 1e-1")
HEADLINE = (
    "The paper's headline: an ensemble of five (En5ResNet20, RGSM, lambda_1 = 2e-2) has at least double the "
    "channel sparsity of a single ResNet20 (RGSM, lambda_1 = 1e-1), 8.69 points more natural accuracy, and "
    "5.42 points more accuracy under IFGSM-20."
)

LAST_EPOCH = (
    "The paper tells of the network that was best on validation images among all epochs; rtune takes that of "
    "the last epoch."
)


def rows_for(dataset: str) -> list[dict[str, str | float]]:
    """The rows to draw beside networks of a dataset; only CIFAR-10 has any.

    Each has `label`, `network`, `method` and those columns of ours that it has a figure for.

    A dense row has no zero weights and no zero channels; a pruned one tells the sparsity of its method only.
    """
    if dataset != DATASET:
        return []
    return [
        {
            "label": row.label,
            "network": row.network,
            "method": row.method,
            "natural_accuracy": row.natural_accuracy,
            "robust_accuracy": row.robust_accuracy,
            **dict.fromkeys([row.sparsity_kind] if row.sparsity_kind else SPARSITIES, row.sparsity),
        }
        for row in ROWS
    ]


def percent() -> dict[str, tuple[float, ...]]:
    """Key -> A1, A2, A3, A4 and sparsity in percent, as printed in the paper."""
    figures = ("natural_accuracy", "fgsm", "ifgsm_20", "cw", "sparsity")
    return {row.key: tuple(round(100 * getattr(row, name), 2) for name in figures) for row in ROWS}
