"""The engine for an NVIDIA GPU. Importing it needs Triton."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import PGD, Attack
from rtune.robust.data import Split, to_float
from rtune.robust.engine import Engine, Generators, Measure, Step
from rtune.robust.evaluation import right
from rtune.robust.fast.gpu import convolution, fused
from rtune.robust.fast.gpu.captured import Captured
from rtune.robust.models.parts import Conv2d


@dataclass(frozen=True)
class GPUEngine(Engine):
    """Records each training step as a CUDA graph; its Triton kernels multiply in bfloat16.

    Weights, batch statistics, pruning and sums are float32. Random numbers come from generators of the
    training, because other threads may use the global generator of torch. Only `PGD` is recorded. Another
    attack may wait for the GPU, which is not allowed in a recording, so the plain engine is used for it.
    """

    def suited(self, attack: Attack) -> Engine:
        return self if type(attack) is PGD else Engine("only PGD can be recorded, and the attack is another")

    def prepare(self, model: nn.Module) -> None:
        for layer in model.modules():
            if isinstance(layer, Conv2d) and convolution.suits(layer):
                layer.kernel = convolution.convolve

    def optimizer(
        self, model: nn.Module, lr: float, momentum: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        parameters = list(model.parameters())
        return torch.optim.SGD(
            parameters,
            # A recorded step reads the learning rate from a tensor.
            lr=torch.tensor(lr, device=parameters[0].device),
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=True,
            fused=True,
        )

    def set_lr(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"].fill_(lr)

    def attack(self, attack: Attack, model: nn.Module) -> Attack:
        return fused.FusedPGD(model, attack) if type(attack) is PGD and fused.fits(model, attack) else attack

    def autocast(self) -> AbstractContextManager[object]:
        # No cache of cast weights: a recorded step must cast the current weights each time.
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=False)

    @contextmanager
    def seeded(self, generators: Generators, seed: int) -> Iterator[None]:
        generators.noise.manual_seed(seed)
        yield

    def recorded(self, step: Step, changed: Callable[[], Sequence[Tensor]], generators: Generators) -> Step:
        return Captured(step, changed, generators.noise, [generators.data])

    def measuring(self, model: nn.Module, generators: Generators) -> Measure:
        return _Measuring(self, model, generators)


class _Measuring:
    """Measures the accuracies of one network; for each attack, the computation on a batch is recorded once.

    Args:
        engine, model, generators: as in `Engine.measuring`.
    """

    def __init__(self, engine: GPUEngine, model: nn.Module, generators: Generators) -> None:
        self._engine = engine
        self._model = model
        self._generators = generators
        self._plain = Engine().measuring(model, generators)
        self._counts: dict[PGD, Captured] = {}

    def __call__(self, split: Split, attack: Attack, seed: int) -> tuple[float, float]:
        if type(attack) is not PGD:
            return self._plain(split, attack, seed)
        with self._engine.seeded(self._generators, seed):
            count = self._counts.get(attack) or Captured(
                self._counting(attack), tuple, self._generators.noise, [self._generators.data]
            )
            self._counts[attack] = count
            self._model.eval()
            counts = torch.zeros(2, dtype=torch.long, device=split.labels.device)
            for part in zip(split.images.split(512), split.labels.split(512), strict=True):
                counts += count(*part)
            natural, robust = (counts.double() / len(split)).tolist()
            return natural, robust

    def _counting(self, attack: PGD) -> Callable[[Tensor, Tensor], Tensor]:
        faster = self._engine.attack(attack, self._model)

        def count(images: Tensor, labels: Tensor) -> Tensor:
            """Numbers of correctly classified images, without and under attack: (2,)."""
            inputs = to_float(images)
            with self._engine.autocast():
                adversarial = faster(self._model, inputs, labels)
            with torch.no_grad():
                return torch.stack([right(self._model(x), labels).sum() for x in (inputs, adversarial)])

        return count
