"""AutoAttack through our door, where the answer is known exactly or what it counts can be checked."""

import torch
from torch import Tensor, nn

from rtune.robust import PGD, PreActResNet, Split, outcomes, quiet, seeded
from rtune.robust.attacks.autoattack import autoattack_outcomes, version_for
from rtune.robust.models.parts import Noise

CPU = torch.device("cpu")


class Flat(nn.Module):
    """A linear classifier, whose robustness is known exactly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(10, 64) * torch.linspace(0.2, 2, 64))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


def test_autoattack_and_pgd_give_the_exact_robust_accuracy_of_a_linear_network() -> None:
    """Robust iff for each other class j: z_y - z_j > epsilon * |w_y - w_j|_1 (no pixel near 0 or 1)."""
    torch.manual_seed(1)
    model, epsilon = Flat(), 0.05
    images = torch.randint(60, 190, (60, 1, 8, 8), dtype=torch.uint8)
    logits = model(images.float() / 255).detach()
    labels = logits.argmax(dim=1)
    gaps = logits.gather(1, labels[:, None]) - logits
    reach = epsilon * (model.weight[labels][:, None] - model.weight).abs().sum(2).detach()
    safe = ((gaps > reach) | (gaps == 0)).all(dim=1)
    assert 0.2 < safe.float().mean() < 0.9
    split = Split(images, labels)
    with seeded(0, CPU):
        right, warnings = autoattack_outcomes(model, split, epsilon, batch_size=32)
    assert torch.equal(right[0], safe)
    assert warnings == []
    # Untargeted, the cross-entropy's steepest way need not be the nearest boundary's.
    with seeded(0, CPU):
        weaker = outcomes(model, split, PGD(epsilon, epsilon / 10, 40, restarts=5))
    assert not (safe & ~weaker[0]).any()
    assert (weaker[0] & ~safe).float().mean() < 0.1


def test_autoattack_counts_an_image_as_lost_if_one_noise_draw_is_wrong() -> None:
    class NoisyFlat(Flat):
        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(0.2, members=1)

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(self.noise(images))

    torch.manual_seed(1)
    model, epsilon = NoisyFlat(), 0.06
    images = torch.randint(60, 190, (40, 1, 8, 8), dtype=torch.uint8)
    split = Split(images, quiet(model)(images.float() / 255).argmax(dim=1))
    with seeded(0, CPU):
        (right,), _ = autoattack_outcomes(model, split, epsilon)
        draws = outcomes(model, split, PGD(epsilon, epsilon / 4, 20, eot_draws=20), draws=20)
    assert 0.1 < right.float().mean() < 0.9
    assert right.float().mean() <= draws.float().mean() + 0.05


def test_autoattack_uses_its_rand_version_for_noisy_networks() -> None:
    assert version_for(PreActResNet(20, width=2, in_channels=1, members=2, gamma=0.1)) == "rand"
    assert version_for(PreActResNet(20, width=2, in_channels=1)) == "standard"
