"""Catalog entries: descriptions of the parts that a search file can name, without importing them."""

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from rtune.config.section import Section
from rtune.registry import PartError, resolve

# Fields of `model` that a network may be built with.
SHARED = ("depth", "width")
NORMS = ("linf", "l2")


@dataclass(frozen=True, kw_only=True)
class Part:
    """An entry of the catalog. There is a subclass for each kind of part.

    The entry describes a part; the code of the part is another class, which may have the same name: this
    module's `Network` is the entry of a network, `rtune.robust.Network` is the base class of networks.

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

    Raises:
        PartError: the fields contradict each other or have values that are not allowed.
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

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise PartError(f"{self.kind} {self.name!r} {problem}")

    def _problems(self) -> Iterator[str]:
        """What is wrong with the entry, each as the rest of a sentence that begins with the part."""
        if not self.build:
            yield "has no build; 'module:callable' is expected"
        if self.settings is not None and not _is_section(self.settings):
            yield f"has settings={self.settings!r}; a subclass of rtune.config.section.Section is expected"

    def missing(self) -> str | None:
        """A message if the package that the part needs is not installed; None if it is."""
        if not self.package or _is_installed(self.package):
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


def _is_section(settings: object) -> bool:
    return isinstance(settings, type) and issubclass(settings, Section)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a package inside a package that is not installed
        return False


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

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if isinstance(self.takes, str) or not set(self.takes) <= set(SHARED):
            yield f"takes {self.takes!r}; a tuple of some of {', '.join(SHARED)} is expected"


@dataclass(frozen=True, kw_only=True)
class Dataset(Part):
    """`build` is a `rtune.robust.data.DataSource`: image shape, classes, split, augmentation and reader."""

    kind = "data set"

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.settings is not None:
            yield "has settings, which a data set cannot have: it is not built, but read"


@dataclass(frozen=True, kw_only=True)
class Loss(Part):
    """`build(**settings)` gives a training loss (`rtune.robust.losses.Loss`)."""

    kind = "loss"


@dataclass(frozen=True, kw_only=True)
class AttackLoss(Part):
    """`build(**settings)` gives what a gradient attack maximises (`rtune.robust.losses.AttackLoss`)."""

    kind = "attack loss"


@dataclass(frozen=True)
class Threshold:
    """The size at or below which a pruner sets a weight, or a group by its norm, to zero.

    Attributes:
        size: t = lambda_1 / beta (n,) -> thresholds (n,), in the unit of the weights; increasing in t.
        formula: the same as text, for reports.
    """

    size: Callable[[np.ndarray], np.ndarray]
    formula: str


@dataclass(frozen=True, kw_only=True)
class Pruner(Part):
    """`build(network, **settings)` gives a `rtune.robust.Pruner`.

    Attributes:
        thresholds: value of its setting `penalty` -> threshold. A pruner with thresholds has the settings
            `penalty`, `lambda_1` and `beta`; reports show them. Empty where it has none.
        sparsity: the metric of what it makes sparse; needed for thresholds.
    """

    kind = "pruner"

    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    sparsity: str = "weight_sparsity"


@dataclass(frozen=True, kw_only=True)
class Attack(Part):
    """`build(**arguments, **settings)` gives `attack(model, images, labels) -> adversarial images`.

    The names of the arguments follow from the entry alone (`arguments`) and are the same in the training, in
    the evaluation of a search, and in `rtune evaluate`:

    | argument | if | in training and search | in `rtune evaluate` |
    |---|---|---|---|
    | `epsilon` | `norm` is not None | from the search file | `--epsilon` or `--epsilon-l2` |
    | `step_size` | `steps_have_length` | from the search file | `--step-size` |
    | `steps` | `steps` is not None | from the search file | the number in its name, or `steps` |
    | `restarts` | `restarts` | 1 | `--restarts` |
    | `eot_draws` | `eot` | 1 | `--eot-draws` with `eot-` before its name, else 1 |
    | `random_start`, `loss` | `trains` | from the search file | True, and the cross-entropy |

    `loss` is a `rtune.robust.losses.AttackLoss`. An attack without a norm may be built as None: the images
    stay as they are.

    Attributes:
        norm: norm of the ball that perturbations stay in, `linf` or `l2`; None if images are not changed.
        steps: default number of gradient steps in `rtune evaluate`; None if it has none.
        steps_have_length: whether `step_size` applies.
        restarts: whether random restarts apply.
        eot: whether gradients can be averaged over noise draws (`eot-NAME`).
        noisy: whether it is applicable to networks with noise.
        trains: whether it can be the attack of the training and of a search's evaluation.
        counts: whether `build` is instead a function that counts correct classifications itself, called as
            `rtune.robust.attacks.autoattack.autoattack_outcomes` and with the settings, by `rtune evaluate`.
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

    def arguments(
        self,
        *,
        epsilon: float | None,
        step_size: float | None,
        steps: int | None,
        random_start: bool,
        loss: object,
        restarts: int = 1,
        eot_draws: int = 1,
    ) -> dict[str, Any]:
        """Those of the arguments that `build` gets."""
        applies = {
            "epsilon": (self.norm is not None, epsilon),
            "step_size": (self.steps_have_length, step_size),
            "steps": (self.steps is not None, steps),
            "restarts": (self.restarts, restarts),
            "eot_draws": (self.eot, eot_draws),
            "random_start": (self.trains, random_start),
            "loss": (self.trains, loss),
        }
        return {name: value for name, (used, value) in applies.items() if used}

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.norm is not None and self.norm not in NORMS:
            yield f"has the norm {self.norm!r}; {', '.join(map(repr, NORMS))} or None is expected"
        if self.steps is not None and not (isinstance(self.steps, int) and self.steps >= 1):
            yield f"has steps={self.steps!r}; a whole number of at least 1, or None, is expected"
        if self.counts and self.trains:
            yield "counts and trains; an attack that counts gives no images to train on"


@dataclass(frozen=True, kw_only=True)
class Sampler(Part):
    """`build(seed=, **settings)` gives an Optuna sampler; called for each suggestion, with another seed.

    Attributes:
        mixes: instead of `build`: sampler -> probability; each suggestion comes from one of these samplers,
            in its default settings. They mix no others.
        informed: whether suggestions depend on the trials so far; if not, its study is empty.
    """

    kind = "sampler"

    build: str = ""
    mixes: Mapping[str, float] = field(default_factory=dict)
    informed: bool = True

    def _problems(self) -> Iterator[str]:
        if not self.mixes and not self.build:
            yield "has neither build nor mixes; one of them is expected"
        if not self.mixes:
            yield from super()._problems()
            return
        if self.build or self.settings is not None:
            yield "mixes others, so it cannot have build or settings"
        shares = list(self.mixes.values())
        if not all(share > 0 for share in shares) or not math.isclose(sum(shares), 1):
            yield f"mixes others with the probabilities {shares}; they must be above 0 and have the sum 1"
