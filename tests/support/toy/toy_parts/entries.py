"""The entries. This module is imported with rtune's catalog, so it imports no torch."""

from rtune.config.catalog import Attack, AttackLoss, Dataset, Loss, Network, Pruner, Sampler
from rtune.config.section import Count, Fraction, Positive, Section
from rtune.metrics import Metric


class TwoStageConfig(Section):
    """Settings of the network: blocks a stage."""

    blocks: Count = 1


class MagnitudeConfig(Section):
    """Settings of the pruner."""

    sparsity: Fraction = 0.5


class SmoothedConfig(Section):
    """Settings of the loss."""

    smoothing: Fraction = 0.1


class NoiseConfig(Section):
    """Settings of the attack: its strength, as a share of epsilon."""

    share: Positive = 1.0


class SquaresConfig(Section):
    """Settings of the attack loss: a factor."""

    scale: Positive = 1.0


class ShiftedConfig(Section):
    """Settings of the sampler."""

    shift: Count = 1


NETWORK = Network(
    name="two-stage",
    label="TwoStage",
    about="a stem and two stages of pre-activation blocks",
    build="toy_parts.network:TwoStage",
    settings=TwoStageConfig,
)
DATASET = Dataset(
    name="stripes",
    label="stripes",
    about="horizontal and vertical stripes",
    build="toy_parts.dataset:STRIPES",
)
PRUNER = Pruner(
    name="magnitude",
    label="magnitude",
    about="the smallest weights go at the end of each epoch",
    build="toy_parts.pruner:Magnitude",
    settings=MagnitudeConfig,
    needs=frozenset({"convolutions"}),
)
PICKY = Pruner(
    name="picky",
    label="picky",
    about="needs what no network offers",
    build="toy_parts.pruner:Magnitude",
    needs=frozenset({"scores"}),
)
LOSS = Loss(
    name="smoothed",
    label="smoothed",
    about="cross-entropy with smoothed labels",
    build="toy_parts.loss:Smoothed",
    settings=SmoothedConfig,
)
ATTACK_LOSS = AttackLoss(
    name="squares",
    label="squares",
    about="squared distance from one-hot",
    build="toy_parts.attack_loss:Squares",
    settings=SquaresConfig,
)
ATTACK = Attack(
    name="noise",
    label="noise",
    about="random signs",
    build="toy_parts.attack:Noise",
    settings=NoiseConfig,
    trains=True,
)
SAMPLER = Sampler(
    name="shifted",
    label="shifted",
    about="random draws from another seed",
    build="toy_parts.sampler:shifted",
    settings=ShiftedConfig,
    informed=False,
)
METRIC = Metric("weight_norm", "weight norm", False, "toy_parts.metric:weight_norm")
