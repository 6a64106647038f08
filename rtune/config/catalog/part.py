"""What a search file can name, described without importing it."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rtune.config.section import Section
from rtune.registry import resolve


@dataclass(frozen=True, kw_only=True)
class Part:
    """An entry of the catalog. Subclasses say for what kind of part, and what it can do.

    Attributes:
        name: as it is written in search files and on the command line.
        label: for readers of reports.
        about: one line for documents and help.
        build: `"module:callable"`; imported only where the part is used, so that the catalog needs no torch.
            What it is called with is said by each subclass; the fields of `settings` are always among it.
        settings: its own settings, which stand in a sub-section of its name; None if it has none.
        needs: what the network must offer, such as `convolutions`.
        package: a Python package that must be installed and does not come with rtune.
        install: what `pip install` gets it with, if not by its own name.
    """

    kind: ClassVar[str]

    name: str
    label: str
    about: str
    build: str
    settings: type[Section] | None = None
    needs: frozenset[str] = frozenset()
    package: str = ""
    install: str = ""

    def missing(self) -> str | None:
        """A sentence if a package that the part needs is not installed; None if all is there."""
        if not self.package or importlib.util.find_spec(self.package) is not None:
            return None
        return (
            f"{self.name} needs the package {self.package}, which is not installed; "
            f"get it with: pip install '{self.install or self.package}'"
        )

    def load(self) -> Any:
        """The callable behind `build`. Raises PartError."""
        return resolve(self.build, f"{self.kind} {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class Network(Part):
    """`build(in_channels=, classes=, **shared, **settings)` gives a torch module.

    It maps images (N, C, H, W) in [0, 1] to logits (N, classes). Fresh weights come from torch's global
    generator. `rtune.robust.models.Network` says what pruning, compaction and export expect.

    Attributes:
        takes: the fields of `model` that it is built with, of `depth` and `width`.
        offers: what parts that work on it may need.
    """

    kind = "network"

    takes: tuple[str, ...] = ("width",)
    offers: frozenset[str] = frozenset({"convolutions"})


@dataclass(frozen=True, kw_only=True)
class Dataset(Part):
    """`build` is a `rtune.robust.data.DataSource`: image shape, classes, split, augmentation and reader."""

    kind = "data set"


@dataclass(frozen=True, kw_only=True)
class Loss(Part):
    """`build(**settings)` gives a training loss (`rtune.robust.losses.Loss`)."""

    kind = "loss"


@dataclass(frozen=True, kw_only=True)
class AttackLoss(Part):
    """`build(**settings)` gives what a gradient attack maximises (`rtune.robust.losses.AttackLoss`)."""

    kind = "attack loss"


@dataclass(frozen=True, kw_only=True)
class Pruner(Part):
    """`build(network, **settings)` gives a `rtune.robust.Pruner`."""

    kind = "pruner"


@dataclass(frozen=True, kw_only=True)
class Attack(Part):
    """`build(...)` gives `attack(model, images, labels) -> adversarial images`.

    In `rtune evaluate` it is called with those of `epsilon`, `step_size`, `steps`, `restarts`, `eot_draws`
    that apply, and its settings. As a training or search attack (`trains`) it is called with `epsilon`,
    `step_size`, `steps`, `random_start`, `loss` (see `AttackLoss`), and its settings.

    Attributes:
        norm: `linf` or `l2`, of the ball that it stays in; None for an attack that changes nothing.
        steps: default number of gradient steps in `rtune evaluate`; None if it has none.
        steps_have_length: whether `step_size` applies.
        restarts: whether random restarts apply.
        eot: whether gradients can be averaged over noise draws (`eot-NAME`).
        noisy: whether it makes sense on a network with noise.
        trains: whether it can make training images.
        counts: whether `build` is a function that counts right answers itself, such as
            `rtune.robust.attacks.autoattack.autoattack_outcomes`.
    """

    kind = "attack"

    norm: str | None = "linf"
    steps: int | None = None
    steps_have_length: bool = False
    restarts: bool = False
    eot: bool = False
    noisy: bool = True
    trains: bool = False
    counts: bool = False


@dataclass(frozen=True, kw_only=True)
class Sampler(Part):
    """`build(seed=, **settings)` gives an Optuna sampler.

    Attributes:
        mixes: instead of `build`: each suggestion comes from one of these samplers, with these chances.
        informed: whether it looks at the trials so far.
    """

    kind = "sampler"

    build: str = ""
    mixes: Mapping[str, float] = field(default_factory=dict)
    informed: bool = True
