"""Networks: `model.network`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from rtune.config.catalog.part import Network
from rtune.config.section import Count, Members, Noise, Section, in_bounds
from rtune.registry import Registry


def _depth_of_wideresnet(depth: int) -> int:
    if depth % 6 != 4:
        raise PydanticCustomError("depth", "Input should be 6 m + 4 with a whole m, such as 10, 28, 34 or 40")
    return depth


NoiseScale = Annotated[
    Literal["batch", "image"],
    Field(
        description="what gamma is multiplied by: the standard deviation over the batch, as in the paper, or "
        "over each image alone, so that the answer to an image does not depend on those beside it"
    ),
]


class EnResNetConfig(Section):
    """Ensemble of `members` networks with noise of strength `gamma` after each residual block."""

    members: Members = 2
    gamma: Noise = 0.1
    noise_scale: NoiseScale = "batch"


class PlainConfig(Section):
    """As `enresnet`, without skip connections."""

    members: Members = 2
    gamma: Noise = 0.1
    noise_scale: NoiseScale = "batch"


class WideResNetConfig(Section):
    """WideResNet-`depth`-`widen`; `members` and `gamma` make a noisy ensemble of it."""

    depth: Annotated[
        int, Field(ge=10, description="6 m + 4"), in_bounds(10, 10_000), AfterValidator(_depth_of_wideresnet)
    ] = 34
    widen: Annotated[Count, in_bounds(1, 1000)] = 10
    members: Members = 1
    gamma: Noise = 0.0
    noise_scale: NoiseScale = "batch"


class MobileNetConfig(Section):
    """MobileNetV1 with noise of strength `gamma` after each depthwise-separable block."""

    members: Members = 1
    gamma: Noise = 0.1
    noise_scale: NoiseScale = "batch"


NETWORKS = Registry(
    "network",
    "networks",
    Network,
    [
        Network(
            name="resnet",
            label="ResNet",
            about="pre-activation ResNet for small images (arXiv 2003.00631, section 2)",
            build="rtune.robust:PreActResNet",
            takes=("depth", "width"),
        ),
        Network(
            name="enresnet",
            label="EnResNet",
            about="ensemble of ResNets with noise after each block (arXiv 2003.00631, section 2); unless "
            "noise_scale is image, its answer to an image depends on the batch, as with all noise here",
            build="rtune.robust:PreActResNet",
            settings=EnResNetConfig,
            takes=("depth", "width"),
        ),
        Network(
            name="plain",
            label="plain",
            about="EnResNet without skip connections",
            build="rtune.robust:PlainNet",
            settings=PlainConfig,
            takes=("depth", "width"),
        ),
        Network(
            name="wideresnet",
            label="WideResNet",
            about="WideResNet without dropout (arXiv 1605.07146)",
            build="rtune.robust:WideResNet",
            settings=WideResNetConfig,
        ),
        Network(
            name="mobilenet",
            label="MobileNet",
            about="MobileNetV1 for small images (arXiv 1704.04861)",
            build="rtune.robust:MobileNet",
            settings=MobileNetConfig,
        ),
    ],
)
