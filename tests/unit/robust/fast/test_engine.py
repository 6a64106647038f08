"""Which engine a device gets, and what the GPU's engine changes, as far as a CPU can show it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rtune.robust import (
    PGD,
    RGSM,
    Attack,
    Engine,
    MobileNet,
    PreActResNet,
    Recipe,
    Split,
    Trainer,
    WideResNet,
    compact,
    cw,
    ifgsm,
    quiet,
)
from rtune.robust import fast as package
from rtune.robust.fast import engine_for
from rtune.robust.fast.chain import fits
from rtune.robust.fast.cpu.engine import CPUEngine
from rtune.robust.models.resnet import PreActBlock
from rtune.robust.random import seeded


def make(engine: Engine, attack: Attack, count: int = 48) -> Trainer:
    """At most 16 images a batch."""
    torch.manual_seed(0)
    model = MobileNet(width=2, in_channels=1)
    images = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.randint(10, (count,)))
    recipe = Recipe(max_epochs=2, batch_size=16, lr=0.05, milestones=(0.5,), crop_padding=1)
    return Trainer(model, RGSM(model, 1.0, 0.05, 1e-3), attack, split, recipe, seed=0, engine=engine)


def same(one: Trainer, other: Trainer) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_engine_for_gives_the_cpu_engine_or_the_plain_one_on_unsupported_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert engine_for("cpu") == engine_for(torch.device("cpu")) == CPUEngine(obstacle=None)
    monkeypatch.setattr(package, "obstacle", lambda: "it has no bfloat16")
    found = engine_for("cuda")
    assert type(found) is Engine
    assert found.obstacle == "it has no bfloat16"


def test_several_trainings_can_share_an_engine() -> None:
    attack, shared = PGD(0.1, 0.05, 1), engine_for("cpu")
    alone = make(engine_for("cpu"), attack)
    alone.train_epoch()
    one, other = make(shared, attack), make(shared, attack)
    for each in (one, other):
        each.train_epoch()
    assert same(one, alone)
    assert same(other, alone)


class Slower(PreActResNet):
    """A network of anybody's: the same layers in another order."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).tanh()


class Bounded(PreActBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


def test_handwritten_gradient_is_used_only_for_supported_networks() -> None:
    attack = PGD(0.1, 0.1, 1)
    model = PreActResNet(20, width=2)
    assert fits(model, attack)
    assert fits(WideResNet(10, widen=1, width=2), ifgsm(0.1, 0.1, 1))
    for other in (PGD(0.1, 0.1, 1, eot_draws=2), PGD(0.1, 0.1, 1, restarts=2), cw(0.1, 0.1, 1)):
        assert not fits(model, other)
    strange = PreActResNet(20, width=2)
    strange.blocks[0] = Bounded(2, 2, 1, 1, 0.0)
    coarse = PreActResNet(20, width=2)
    coarse.stem = nn.Conv2d(3, 2, 5, padding=2, bias=False)
    for wrong in (Slower(20, width=2), strange, coarse, MobileNet(width=2), *compact(model).members):
        assert not fits(wrong, attack)


# --- the GPU's ----------------------------------------------------------------------------------


@pytest.fixture
def gpu() -> Any:
    pytest.importorskip("triton")
    from rtune.robust.fast.gpu import engine

    return engine


def test_convolution_kernel_is_set_per_instance_and_copied_with_it(gpu: Any) -> None:
    model = WideResNet(10, widen=10, width=16, gamma=0.1)
    names = list(model.state_dict())
    gpu.GPUEngine().prepare(model)
    suited = {name for name, layer in model.named_modules() if getattr(layer, "kernel", None) is not None}
    assert "stem" in suited
    assert "blocks.1.conv1" not in suited  # 160 to 320 channels
    assert list(model.state_dict()) == names
    for twin in (copy.deepcopy(model), quiet(model)):
        assert {
            n for n, layer in twin.named_modules() if getattr(layer, "kernel", None) is not None
        } == suited
        twin.load_state_dict(model.state_dict())
    assert all(getattr(layer, "kernel", None) is None for layer in WideResNet(10).modules())
    x = torch.rand(2, 3, 4, 4)  # on a CPU, and without autocast, it is PyTorch's own
    assert torch.equal(model.stem(x), nn.functional.conv2d(x, model.stem.weight, padding=1))


def test_other_attack_than_pgd_uses_the_plain_engine(gpu: Any) -> None:
    engine = gpu.GPUEngine()
    assert engine.suited(PGD(0.1, 0.1, 1)) is engine
    plain = engine.suited(lambda model, images, labels: images)
    assert type(plain) is Engine
    assert plain.obstacle == "only PGD can be recorded, and the attack is another"


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_gpu_engine_steps_agree_with_the_plain_engine(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU nothing is recorded and nothing is bfloat16, which leaves the optimizer and the counting."""
    recorded: list[Callable[..., Tensor]] = []

    class Played:
        def __init__(self, function: Callable[..., Tensor], changed: Callable[[], Sequence[Tensor]],
                     noise: torch.Generator, generators: Sequence[torch.Generator]) -> None:  # fmt: skip
            recorded.append(function)
            self.function = function

        def __call__(self, *arguments: Tensor) -> Tensor:
            return self.function(*arguments)

    monkeypatch.setattr(gpu, "Captured", Played)
    attack = ifgsm(0.1, 0.05, 2)
    # Two batches in all: rounding grows in the later ones.
    ours, plain = (make(engine, attack, count=16) for engine in (gpu.GPUEngine(), Engine()))
    for _ in range(2):  # at two learning rates
        assert ours.train_epoch() == pytest.approx(plain.train_epoch(), rel=1e-4)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    ours.load_state_dict(plain.state_dict(), plain.epoch)
    assert ours.measure(ours.train, attack) == plain.measure(ours.train, attack)
    assert ours.measure(ours.train, attack) == plain.measure(ours.train, attack)
    assert len(recorded) == 2  # the step, and counting under this attack
    ours.measure(ours.train, cw(0.1, 0.05, 1))
    assert len(recorded) == 3

    def upside_down(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return images.flip(2)

    assert ours.measure(ours.train, upside_down) == plain.measure(ours.train, upside_down)
    assert len(recorded) == 3


def test_gpu_engine_noise_uses_a_separate_generator(gpu: Any) -> None:
    engine, generators = gpu.GPUEngine(), gpu.Generators.on(torch.device("cpu"))
    before = torch.get_rng_state()
    with engine.seeded(generators, 5):
        drawn = torch.rand(3, generator=generators.noise)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(5, torch.device("cpu")):
        assert torch.equal(torch.rand(3), drawn)
