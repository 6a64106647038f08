"""Catalog entries: descriptions of the parts that a search file can name, without importing them."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rtune.config.section import Section
from rtune.registry import resolve


@dataclass(frozen=True, kw_only=True)
class Part:
    """An entry of the catalog. There is a subclass for each kind of part.

    Attributes:
        name: name in search files and on the command line.
        label: name in reports.
        about: one line for documentation and help.
        build: `"module:callable"`, imported only where the part is used, so that the catalog needs no torch.
            Each subclass documents the arguments; the fields of `settings` are always among them.
        settings: class of the part's own settings, a sub-section of its name; None if it has none.
        needs: properties that the network must offer, such as `convolutions`.
        package: an additional Python package that the part needs; empty for none.
        install: argument of `pip install` for that package, if it differs from its name.
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
        """A message if the package that the part needs is not installed; None if it is."""
        if not self.package or importlib.util.find_spec(self.package) is not None:
            return None
        return (
            f"{self.name} needs the package {self.package}, which is not installed; "
            f"get it with: pip install '{self.install or self.package}'"
        )

    def defaults(self) -> dict[str, Any]:
        """The part's own settings with their default values; empty if it has none."""
        return {} if self.settings is None else self.settings().model_dump()

    def load(self) -> Any:
        """Imports and returns the callable that `build` names. Raises PartError."""
        return resolve(self.build, f"{self.kind} {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class Network(Part):
    """`build(in_channels=, classes=, **shared, **settings)` gives a torch module.

    The module maps images (N, C, H, W) in [0, 1] to logits (N, classes). Initial weights are drawn from
    torch's global generator. `rtune.robust.models.Network` documents what pruning, compaction and export
    require.

    Attributes:
        takes: which of the fields `depth` and `width` of `model` it is built with.
        offers: properties that other parts may need (`Part.needs`).
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

    In `rtune evaluate`, `build` gets those of `epsilon`, `step_size`, `steps`, `restarts`, `eot_draws` that
    apply, and the attack's settings. For training and search (`trains`) it gets `epsilon`, `step_size`,
    `steps`, `random_start`, `loss` (see `AttackLoss`), and the attack's settings.

    Attributes:
        norm: norm of the ball that perturbations stay in, `linf` or `l2`; None if images are not changed.
        steps: default number of gradient steps in `rtune evaluate`; None if it has none.
        steps_have_length: whether `step_size` applies.
        restarts: whether random restarts apply.
        eot: whether gradients can be averaged over noise draws (`eot-NAME`).
        noisy: whether it is applicable to networks with noise.
        trains: whether it can generate training images.
        counts: whether `build` is a function that counts correct classifications itself, such as
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
        mixes: instead of `build`: sampler -> probability; each suggestion comes from one of these samplers.
        informed: whether suggestions depend on the trials so far.
    """

    kind = "sampler"

    build: str = ""
    mixes: Mapping[str, float] = field(default_factory=dict)
    informed: bool = True
