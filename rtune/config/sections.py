"""What a search file is made of, as plain values without ranges: a trial's settings, and the search's.

The defaults are the paper's (arXiv 2003.00631, section 4). This module stays free of torch, so
that a search file is checked at once; a test holds the names below to those of `rtune.robust`.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from rtune.config import rungs

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


class Section(BaseModel):
    """A mapping of the search file: unknown fields and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(Section):
    """Which images. `folder` holds the files (downloads go there); digits need none."""

    dataset: Literal["digits", "fashion-mnist", "cifar10", "cifar100"] = "cifar10"
    folder: str | None = None
    crop_padding: Annotated[int, Field(ge=0)] | None = Field(
        None, description="pixels; null for the data set's own default"
    )
    flip: bool | None = Field(None, description="mirror images; null for the data set's own default")


def _depth_of_wideresnet(depth: int) -> int:
    if depth % 6 != 4:
        raise PydanticCustomError("depth", "Input should be 6 m + 4 with a whole m, such as 10, 28, 34 or 40")
    return depth


class EnResNetConfig(Section):
    """Ensemble of `members` networks with noise of strength `gamma` after each residual block."""

    members: Count = 2
    gamma: NonNegative = 0.1


class PlainConfig(Section):
    """As `enresnet`, of networks without skip connections."""

    members: Count = 2
    gamma: NonNegative = 0.1


class WideResNetConfig(Section):
    """WideResNet-`depth`-`widen`; `members` and `gamma` make a noisy ensemble of it."""

    depth: Annotated[int, Field(ge=10, description="6 m + 4"), AfterValidator(_depth_of_wideresnet)] = 34
    widen: Count = 10
    members: Count = 1
    gamma: NonNegative = 0.0


class MobileNetConfig(Section):
    """MobileNetV1 with noise of strength `gamma` after each depthwise-separable block."""

    members: Count = 1
    gamma: NonNegative = 0.1


class ModelConfig(Section):
    """PreActResNet-`depth`, or another network, which takes the section of its name.

    `depth` is that of resnet, enresnet and plain; `width` counts for all.
    """

    network: Literal["resnet", "enresnet", "plain", "wideresnet", "mobilenet"] = "resnet"
    depth: Literal[20, 32, 38, 44, 56, 110] = 20
    width: Count = 16
    enresnet: EnResNetConfig = EnResNetConfig()
    plain: PlainConfig = PlainConfig()
    wideresnet: WideResNetConfig = WideResNetConfig()
    mobilenet: MobileNetConfig = MobileNetConfig()


class AttackConfig(Section):
    """PGD on the training images: pixel units of images in [0, 1]."""

    epsilon: Positive = 8 / 255
    step_size: Positive = 2 / 255
    steps: Count = 10
    random_start: bool = True


class EvaluationConfig(Section):
    """The search attack, on the validation images; the default is the paper's A3, IFGSM-20."""

    epsilon: Positive = 8 / 255
    step_size: Positive = 2 / 255
    steps: Count = 20
    random_start: bool = False


class RVSMConfig(Section):
    """RVSM (sparse weights); `lambda_1` is the paper's lambda."""

    beta: Positive = 1e-2
    lambda_1: NonNegative = 1e-6
    penalty: Literal["l0", "l1", "transformed_l1"] = "l0"


class RGSMConfig(Section):
    """RGSM (sparse channels)."""

    beta: Positive = 1.0
    lambda_1: NonNegative = 5e-2
    lambda_2: NonNegative = 1e-5
    penalty: Literal["group_l0", "group_lasso"] = "group_l0"


class ADMMConfig(Section):
    """ADMM towards a fixed `sparsity` (the paper's p, as a fraction)."""

    rho: Positive = 1e-2
    sparsity: Fraction = 0.8
    granularity: Literal["weights", "channels"] = "weights"


class PruningConfig(Section):
    """A method and its own section."""

    method: Literal["none", "rvsm", "rgsm", "admm"] = "rvsm"
    rvsm: RVSMConfig = RVSMConfig()
    rgsm: RGSMConfig = RGSMConfig()
    admm: ADMMConfig = ADMMConfig()


class TrainingConfig(Section):
    """SGD with Nesterov momentum; the rate is divided by 10 at `milestones` of `max_epochs`."""

    max_epochs: Count = 200
    batch_size: Count = 128
    lr: Positive = 0.1
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9
    weight_decay: NonNegative = 5e-4
    milestones: list[Annotated[float, Field(gt=0, le=1)]] = [0.4, 0.6, 0.8]
    deterministic: bool = Field(False, description="the same bits each time on a GPU too, but slower")


class TrialConfig(Section):
    """Everything that decides a trial's outcome, but its seed."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    attack: AttackConfig = AttackConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    pruning: PruningConfig = PruningConfig()
    training: TrainingConfig = TrainingConfig()


# Section -> the field whose value opens one of its sub-sections (those it names).
SELECTORS = {"model": "network", "pruning": "method"}
# Plain fields that count only under some values of their section's selector.
ONLY_UNDER = {"model.depth": ("resnet", "enresnet", "plain")}
# What may be searched, and what in there may not.
SEARCHABLE = ("model", "attack", "pruning", "training")
FIXED = ("training.max_epochs", "training.milestones", "training.deterministic")

Objective = Literal[
    "natural_accuracy", "robust_accuracy", "weight_sparsity", "channel_sparsity", "removable_channels"
]


class EarlyStopping(Section):
    """Asynchronous successive halving by Pareto rank: rungs at grace * eta^k epochs.

    `grace` null: max_epochs / eta^2, rounded down, but at least 1. With several `brackets` trials take
    turns to start with the first rung, the second, and so on.
    """

    grace: Count | None = None
    eta: Annotated[int, Field(ge=2)] = 3
    brackets: Count = 1

    def levels(self, max_epochs: int) -> list[int]:
        """Epochs of the rungs, ascending."""
        grace = self.grace or rungs.default_grace(self.eta, max_epochs)
        return rungs.levels(grace, self.eta, max_epochs)


class SearchSettings(Section):
    """How to search; all objectives are fractions in [0, 1] and maximised."""

    trials: Count = 64
    objectives: Annotated[list[Objective], Field(min_length=2)] = [
        "natural_accuracy",
        "robust_accuracy",
        "weight_sparsity",
    ]
    sampler: Literal["auto", "random", "tpe", "nsga2", "gp"] = "auto"
    early_stopping: EarlyStopping | None = EarlyStopping()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    time_budget: Positive | None = Field(None, description="seconds, or a text such as 30m, 2h, 1d")
    concurrency: Count | None = Field(None, description="trials at once; null for as many as fit")
    cpus_per_trial: Count = 1
    gpus_per_trial: NonNegative = 0
    max_failures: Annotated[int, Field(ge=0)] = Field(
        2, description="times a trial is tried again from its checkpoint without getting an epoch further"
    )
    report_timeout: Positive = Field(
        3600.0,
        description="seconds that an epoch may take before its worker is taken to hang, or a text as 30m",
    )


class SearchFile(TrialConfig):
    """The whole file. `points` are settings tried first, as dotted paths with their values.

    Searched values that a point leaves open are sampled.
    """

    description: str = ""
    search: SearchSettings = SearchSettings()
    points: list[dict[str, str | int | float | bool]] = []
    provenance: dict[str, Any] | None = None
