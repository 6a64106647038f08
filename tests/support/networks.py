"""Small instances of every network, for tests that must hold for each."""

from collections.abc import Callable

from rtune.robust import MobileNet, Network, PlainNet, PreActResNet, WideResNet

# Called with members and gamma; images of shape (1, H, W).
SMALL: dict[str, Callable[..., Network]] = {
    "resnet": lambda **settings: PreActResNet(20, width=4, in_channels=1, **settings),
    "plain": lambda **settings: PlainNet(20, width=4, in_channels=1, **settings),
    "wideresnet": lambda **settings: WideResNet(10, widen=2, width=3, in_channels=1, **settings),
    "mobilenet": lambda **settings: MobileNet(width=2, in_channels=1, **settings),
}
