"""The sections of a search file, as plain values without ranges: settings of a trial and of the search.

The classes here have the fields that every search file has. `search_file()` and `trial_config()` extend them
with a sub-section for each part of the catalog that has settings, such as `pruning.rvsm`. The defaults are
the paper's (arXiv 2003.00631, section 4). This module does not import torch, so that checks are fast.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, create_model
from pydantic_core import PydanticCustomError

from rtune.config import rungs
from rtune.config.catalog import (
    ATTACK_LOSSES,
    ATTACKS,
    DATASETS,
    LOSSES,
    NETWORKS,
    PRUNERS,
    SAMPLERS,
    Part,
)
from rtune.config.catalog.part import SHARED
from rtune.config.section import (
    SEEDS,
    Before,
    Count,
    Length,
    NonNegative,
    Positive,
    Section,
    Steps,
    Strength,
    bounds,
    in_bounds,
    is_new,
)
from rtune.errors import ObjectiveError
from rtune.metrics import METRICS
from rtune.pareto.objectives import parse
from rtune.registry import PartError, Registry

# Sections whose fields can be searched, and the fields in them that cannot.
SEARCHABLE = ("model", "attack", "pruning", "training")
FIXED = ("training.max_epochs", "training.milestones", "training.deterministic")
MOST_EPOCHS, MOST_TRIALS = 1_000_000, 1_000_000
# Ten years. Longer times overflow the clocks of the operating system.
Time = Annotated[Positive, in_bounds(0, 10 * 365 * 86400)]
# Ray counts GPUs in steps of 0.0001.
_GPUS = (0.001, 10_000)

# Fields that are seconds, and may be given as a text such as `30m`.
TIMES = ("search.time_budget", "search.report_timeout")


@dataclass(frozen=True)
class Slot:
    """A field that names a part: `model.network` names a network.

    Attributes:
        section, field: the two components of its dotted path.
        parts: registry of the parts that it may name.
        shared: fields of the section that only some of the parts take (`Network.takes`).
    """

    section: str
    field: str
    parts: Registry[Any]
    shared: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The dotted path, such as `model.network`."""
        return f"{self.section}.{self.field}"

    def choices(self) -> tuple[str, ...]:
        """The names that the field accepts."""
        return tuple(part.name for part in self.parts if getattr(part, "trains", True))

    def takers(self, field: str) -> tuple[str, ...]:
        """Names of the parts that take a shared field; empty if all do."""
        found = tuple(part.name for part in self.parts if field in part.takes)
        return () if len(found) == len(self.parts) else found


SLOTS = (
    Slot("data", "dataset", DATASETS),
    Slot("model", "network", NETWORKS, shared=SHARED),
    Slot("attack", "method", ATTACKS),
    Slot("attack", "loss", ATTACK_LOSSES),
    Slot("evaluation", "method", ATTACKS),
    Slot("evaluation", "loss", ATTACK_LOSSES),
    Slot("pruning", "method", PRUNERS),
    Slot("training", "loss", LOSSES),
    Slot("search", "sampler", SAMPLERS),
)


class PartsSection(Section):
    """A section with fields that name parts. Each part may have a sub-section of its name."""

    name: ClassVar[str]

    def part(self, field: str) -> Part:
        """The part that a field names. Raises PartError."""
        (slot,) = (slot for slot in SLOTS if (slot.section, slot.field) == (self.name, field))
        return cast(Part, slot.parts[getattr(self, field)])

    def settings(self, field: str) -> dict[str, Any]:
        """The settings of the part that a field names; empty if it has none. Raises PartError."""
        part = self.part(field)
        return getattr(self, part.name).model_dump() if part.settings is not None else {}


def _folder(text: str, info: ValidationInfo) -> str:
    if is_new(info) and (not text.strip() or "\0" in text or len(text) > 4000):
        raise PydanticCustomError("folder", "Input should be the path of a folder, or null")
    return text


def _milestones(fractions: list[float], info: ValidationInfo) -> list[float]:
    ascending = [0.0, *fractions, 1.0]
    if is_new(info) and not all(one < other for one, other in itertools.pairwise(ascending)):
        raise PydanticCustomError("milestones", "Input should be ascending fractions between 0 and 1")
    return fractions


def _gpus(number: float, info: ValidationInfo) -> float:
    if is_new(info) and number and not _GPUS[0] <= number <= _GPUS[1]:
        raise PydanticCustomError(
            "gpus", "Input should be 0, or {rule}", {"rule": bounds(*_GPUS, number).removeprefix("be ")}
        )
    return number


class DataConfig(PartsSection):
    """The data set. `folder` holds its files, downloads included; `digits` needs none."""

    name = "data"

    dataset: str = "cifar10"
    folder: Annotated[str, AfterValidator(_folder)] | None = None
    crop_padding: Annotated[int, Field(ge=0), in_bounds(0, 256)] | None = Field(
        None, description="pixels; null for the data set's own default"
    )
    flip: bool | None = Field(None, description="mirror images; null for the data set's own default")


class ModelConfig(PartsSection):
    """The network. Its own settings are in the sub-section of its name."""

    name = "model"

    network: str = "resnet"
    depth: Literal[20, 32, 38, 44, 56, 110] = 20
    width: Annotated[Count, in_bounds(1, 10_000)] = 16


class AttackConfig(PartsSection):
    """The attack that generates the training images. Lengths are in pixel units of images in [0, 1]."""

    name = "attack"

    method: str = "pgd"
    loss: str = Field("cross_entropy", description="what the attack maximises")
    epsilon: Length = 8 / 255
    step_size: Length = 2 / 255
    steps: Steps = 10
    random_start: bool = True


class EvaluationConfig(PartsSection):
    """The attack on the validation images during the search. The default is the paper's A3, IFGSM-20."""

    name = "evaluation"

    method: str = "pgd"
    loss: str = Field("cross_entropy", description="what the attack maximises")
    epsilon: Length = 8 / 255
    step_size: Length = 2 / 255
    steps: Steps = 20
    random_start: bool = False
    between_rungs: Annotated[Literal["stratified", "strided"], Before("strided")] = Field(
        "stratified",
        description="which quarter of the validation images is measured between rungs: a quarter of each "
        "class, or every fourth image, as in runs of version 0.1",
    )


class PruningConfig(PartsSection):
    """The pruning method. Its own settings are in the sub-section of its name."""

    name = "pruning"

    method: str = "rvsm"


class TrainingConfig(PartsSection):
    """SGD with Nesterov momentum; `lr` is divided by 10 at the fractions `milestones` of `max_epochs`."""

    name = "training"

    max_epochs: Annotated[Count, in_bounds(1, MOST_EPOCHS)] = 200
    batch_size: Annotated[Count, in_bounds(1, 1_000_000)] = 128
    lr: Strength = 0.1
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9
    weight_decay: Annotated[NonNegative, in_bounds(0, 1)] = 5e-4
    milestones: Annotated[list[Annotated[float, Field(gt=0, le=1)]], AfterValidator(_milestones)] = [
        0.4,
        0.6,
        0.8,
    ]
    loss: str = Field("cross_entropy", description="what training minimises")
    deterministic: bool = Field(False, description="bitwise reproducible on a GPU too, but slower")


class TrialConfig(Section):
    """All settings that determine a trial's result, except its seed."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    attack: AttackConfig = AttackConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    pruning: PruningConfig = PruningConfig()
    training: TrainingConfig = TrainingConfig()


class EarlyStopping(Section):
    """Asynchronous successive halving by non-dominated rank, with rungs at grace * eta^k epochs.

    If `grace` is null, it is max_epochs / eta^2, rounded down, but at least 1. With several `brackets`,
    trials are assigned to them in turn; the first bracket starts with the first rung, the second with the
    second.
    """

    grace: Count | None = None
    eta: Annotated[int, Field(ge=2), in_bounds(2, 1000)] = 3
    brackets: Count = 1

    def levels(self, max_epochs: int) -> list[int]:
        """Epochs of the rungs, ascending."""
        grace = self.grace or rungs.default_grace(self.eta, max_epochs)
        return rungs.levels(grace, self.eta, max_epochs)


def _objective(text: str) -> str:
    try:
        parse(text)
    except ObjectiveError:
        known = ", ".join(METRICS.names())
        raise PydanticCustomError(
            "objective",
            "Input should be a metric, alone or followed by :min or :max; metrics are {known}",
            {"known": known},
        ) from None
    return text


class SearchSettings(PartsSection):
    """The search. An objective is a metric, with `:min` or `:max` to override the metric's own direction."""

    name = "search"

    trials: Annotated[Count, in_bounds(1, MOST_TRIALS)] = 64
    objectives: Annotated[list[Annotated[str, AfterValidator(_objective)]], Field(min_length=2)] = [
        "natural_accuracy",
        "robust_accuracy",
        "weight_sparsity",
    ]
    sampler: str = "auto"
    early_stopping: EarlyStopping | None = EarlyStopping()
    seed: Annotated[int, Field(ge=SEEDS[0], le=SEEDS[1])] = 0
    time_budget: Time | None = Field(None, description="seconds, or a text such as 30m, 2h, 1d")
    concurrency: Annotated[Count, in_bounds(1, 1_000_000)] | None = Field(
        None, description="trials that train at once; null for as many as fit"
    )
    cpus_per_trial: Annotated[Count, in_bounds(1, 10_000)] = 1
    gpus_per_trial: Annotated[NonNegative, AfterValidator(_gpus)] = 0
    max_failures: Annotated[int, Field(ge=0), in_bounds(0, 1_000_000)] = Field(
        2, description="how often a trial is retried from its checkpoint without completing another epoch"
    )
    report_timeout: Time = Field(
        3600.0,
        description="seconds without an epoch after which a worker counts as hanging, or a text such as 30m",
    )


class SearchFile(TrialConfig):
    """The whole search file. `points` are settings that are tried first: dotted path -> value.

    Searched values that a point does not give are sampled.
    """

    description: str = ""
    search: SearchSettings = SearchSettings()
    points: list[dict[str, str | int | float | bool]] = []
    provenance: dict[str, Any] | None = None


def slots(section: str) -> list[Slot]:
    """The fields of a section that name parts."""
    return [slot for slot in SLOTS if slot.section == section]


def search_file() -> type[SearchFile]:
    """`SearchFile` with the settings of all parts in the catalog."""
    return _assembled(_version())[0]


def trial_config() -> type[TrialConfig]:
    """`TrialConfig` with the settings of all parts in the catalog."""
    return _assembled(_version())[1]


def _version() -> tuple[int, ...]:
    return (*(slot.parts.version for slot in SLOTS), METRICS.version)


@functools.lru_cache(maxsize=8)
def _assembled(version: tuple[int, ...]) -> tuple[type[SearchFile], type[TrialConfig]]:
    sections = {name: _section(name, SearchFile) for name in dict.fromkeys(slot.section for slot in SLOTS)}
    fields: Any = {name: (model, model()) for name, model in sections.items()}
    of_trial = {name: field for name, field in fields.items() if name in TrialConfig.model_fields}
    file = create_model("SearchFile", __base__=SearchFile, __doc__=SearchFile.__doc__, **fields)
    trial = create_model("TrialConfig", __base__=TrialConfig, __doc__=TrialConfig.__doc__, **of_trial)
    return file, trial


def _section(name: str, file: type[SearchFile]) -> type[Section]:
    """A section class extended by the names and sub-sections of its parts. Raises PartError."""
    base: Any = file.model_fields[name].annotation
    fields: dict[str, Any] = {}
    for slot in slots(name):
        default = base.model_fields[slot.field].default
        description = base.model_fields[slot.field].description
        names: Any = Annotated[Literal[slot.choices()], BeforeValidator(functools.partial(_usable, slot))]
        fields[slot.field] = (names, Field(default, description=description))
    for part in parts_with_settings(name):
        assert part.settings is not None
        if part.name in base.model_fields or part.name in fields:
            raise PartError(
                f"{part.kind} {part.name!r} has settings, which would be in {name}.{part.name}; a field "
                "or another part has that name already: choose another name"
            )
        fields[part.name] = (part.settings, _defaults(part.settings, part))
    about = " ".join([base.__doc__, *_shared(name)])
    return cast(type[Section], create_model(base.__name__, __base__=base, __doc__=about, **fields))


def _shared(section: str) -> Iterator[str]:
    """A sentence for each field that only some of a section's parts take."""
    for slot in slots(section):
        for field in slot.shared:
            takers = slot.takers(field)
            yield f"`{field}` applies to {', '.join(takers) if takers else 'all'}."


def _usable(slot: Slot, name: Any) -> Any:
    """The name itself. An error if the part exists, but only `rtune evaluate` can use it."""
    if isinstance(name, str) and name in slot.parts and name not in slot.choices():
        raise PydanticCustomError(
            "part",
            "Input should be {known}; {name} is for rtune evaluate only",
            {"known": " or ".join(map(repr, slot.choices())), "name": name},
        )
    return name


def _defaults(settings: type[Section], part: Part) -> Section:
    """Settings with their default values. Raises PartError if these break the rules of their own fields."""
    try:
        return settings.model_validate(settings().model_dump())
    except ValidationError as failure:
        first = failure.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise PartError(
            f"{part.kind} {part.name!r} has a setting without a valid default: {name}: {first['msg']}"
        ) from None


def parts_with_settings(section: str) -> Iterator[Part]:
    """The parts that have a sub-section in a section."""
    for slot in slots(section):
        for part in slot.parts:
            if part.settings is not None and part.name in slot.choices():
                yield part


def fields_of(section: str) -> set[str]:
    """Names of all fields of a section, including sub-sections of parts."""
    model: Any = search_file().model_fields[section].annotation
    return set(model.model_fields)
