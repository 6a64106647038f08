"""The CPU's engine trains to the weights that plain PyTorch trains to."""

import pytest
import torch

from rtune.robust import (
    ADMM,
    PGD,
    RGSM,
    RVSM,
    MobileNet,
    Network,
    PreActResNet,
    Pruner,
    Recipe,
    Split,
    Trainer,
)
from rtune.robust.fast import engine_for
from rtune.robust.models import add_noise

PRUNERS = {
    "none": Pruner,
    "rvsm": lambda model: RVSM(model, beta=1.0, lambda_1=1e-3),
    "rgsm": lambda model: RGSM(model, beta=1.0, lambda_1=0.05, lambda_2=1e-3),
    "admm": lambda model: ADMM(model, rho=1e-2, sparsity=0.8),
}
NETWORKS = {
    "resnet": lambda: PreActResNet(20, width=4, in_channels=1),
    "ensemble": lambda: PreActResNet(20, width=4, in_channels=1, members=2),
    "mobilenet": lambda: MobileNet(width=2, in_channels=1),
}


def trained(network: str, pruning: str, fast: bool, steps: int = 3) -> tuple[dict[str, torch.Tensor], float]:
    """State after a few batches, and the loss of their last."""
    torch.manual_seed(0)
    model: Network = NETWORKS[network]()
    images = torch.randint(256, (steps * 32, 1, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.randint(10, (len(images),)))
    recipe = Recipe(max_epochs=10, batch_size=32, lr=0.02, crop_padding=1)
    engine = engine_for("cpu") if fast else None
    trainer = Trainer(
        model, PRUNERS[pruning](model), PGD(0.03, 0.01, 2), split, recipe, seed=0, engine=engine
    )
    loss = trainer.train_epoch()
    return trainer.state_dict(), loss


@pytest.mark.parametrize("pruning", PRUNERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_cpu_engine_gives_the_same_weights_as_plain_pytorch(network: str, pruning: str) -> None:
    (ours, loss), (theirs, expected) = (trained(network, pruning, fast) for fast in (True, False))
    assert loss == pytest.approx(expected, rel=1e-4)
    for name, tensor in theirs.items():
        # A pixel whose gradient is nothing but rounding may go the other way; a weight at the threshold too.
        away = (ours[name] - tensor).abs() > 1e-3 * tensor.abs().max() + 1e-6
        assert away.float().mean() < 0.02, name


@pytest.mark.parametrize("members", [1, 2])
def test_noise_is_the_same_in_either_memory_order(members: int) -> None:
    """Its spread is the member's, over the whole tensor; and it is no other in channels-last memory."""
    torch.manual_seed(0)
    x = torch.randn(64, members * 8, 6, 6) * torch.arange(1, members + 1).repeat_interleave(8).view(
        1, -1, 1, 1
    )
    for images in (x, x.contiguous(memory_format=torch.channels_last)):
        noise = (add_noise(images, 0.5, members) - images).unflatten(1, (members, -1))
        for m in range(members):
            assert noise[:, m].std() == pytest.approx(0.5 * (m + 1), rel=0.03)
            assert noise[:, m].mean() == pytest.approx(0.0, abs=0.02 * (m + 1))
