"""The engine for a CPU."""

from dataclasses import dataclass

from torch import nn

from rtune.robust.attacks.pgd import PGD, Attack
from rtune.robust.engine import Engine
from rtune.robust.fast.chain import fits
from rtune.robust.fast.cpu.folded import FoldedPGD
from rtune.robust.fast.cpu.memory import keep_freed_memory


@dataclass(frozen=True)
class CPUEngine(Engine):
    """Computes the training attack without autograd where possible (`FoldedPGD`); keeps freed memory."""

    def prepare(self, model: nn.Module) -> None:
        keep_freed_memory()

    def attack(self, attack: Attack, model: nn.Module) -> Attack:
        return FoldedPGD(model, attack) if type(attack) is PGD and fits(model, attack) else attack
