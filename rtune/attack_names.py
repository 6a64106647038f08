"""The names of attacks in `rtune evaluate --attacks`, and the settings behind them. Free of torch."""

import difflib
import re
from dataclasses import dataclass
from typing import Any

# Name -> default number of steps; None for those that have none.
KINDS = {"natural": None, "fgsm": None, "ifgsm": 20, "pgd": 20, "cw": 20, "cw-l2": 200, "autoattack": None}
_EOT = ("fgsm", "ifgsm", "pgd", "cw", "cw-l2")
DEFAULT = "natural,fgsm,ifgsm-20,pgd-20,cw-20,eot-pgd-20,eot-cw-20"


class AttackNameError(Exception):
    """A name is none, or a setting is out of its range; the message says which and the rule."""


@dataclass(frozen=True)
class AttackName:
    """An attack by name, such as `eot-pgd-20`.

    Attributes:
        kind: a key of `KINDS`.
        steps: iterations; None where the kind has none.
        eot: whether gradients are averaged over noise draws.
    """

    kind: str
    steps: int | None
    eot: bool

    def __str__(self) -> str:
        return "eot-" * self.eot + self.kind + (f"-{self.steps}" if self.steps is not None else "")


@dataclass(frozen=True)
class Settings:
    """What `rtune evaluate` holds the same for all attacks.

    Attributes:
        epsilon: l-infinity radius, in pixel units of images in [0, 1].
        step_size: length of a step, in the same units.
        epsilon_l2: radius of `cw-l2`, l2, in the same units.
        restarts: random starts of `pgd` and `cw`.
        eot_draws: noise draws a gradient of the `eot-` attacks.
        noise_draws: how often a noisy network classifies each image.
        seed: of everything random.
    """

    epsilon: float
    step_size: float
    epsilon_l2: float = 0.5
    restarts: int = 1
    eot_draws: int = 10
    noise_draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epsilon", "step_size", "epsilon_l2"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise AttackNameError(f"--{_dashed(name)} is {value}; it must be above 0 and finite")
        for name, least in (("restarts", 1), ("eot_draws", 2), ("noise_draws", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise AttackNameError(
                    f"--{_dashed(name)} is {getattr(self, name)}; it must be at least {least}"
                )

    def of(self, attack: AttackName, noisy: bool) -> dict[str, Any]:
        """What decides an attack's figure, as it is recorded; None where it does not apply."""
        stepped = attack.kind in ("ifgsm", "pgd", "cw")
        norm = {"natural": None, "cw-l2": "l2"}.get(attack.kind, "linf")
        return {
            "norm": norm,
            "epsilon": {None: None, "l2": self.epsilon_l2, "linf": self.epsilon}[norm],
            "step_size": self.step_size if stepped else None,
            "steps": attack.steps,
            "restarts": self.restarts if attack.kind in ("pgd", "cw") else None,
            "eot_draws": self.eot_draws if attack.eot else None,
            # AutoAttack counts by itself.
            "noise_draws": self.noise_draws if noisy and attack.kind != "autoattack" else 1,
            "seed": self.seed,
        }


def parse(text: str) -> list[AttackName]:
    """The attacks of a comma-separated list, each once, in order.

    Raises:
        AttackNameError: a name is none, or its number of steps is below 1.
    """
    names = [_parse(part.strip()) for part in text.split(",") if part.strip()]
    if not names:
        raise AttackNameError(f"--attacks is {text!r}; at least one attack is expected")
    return list(dict.fromkeys(names))


def _parse(text: str) -> AttackName:
    match = re.fullmatch(r"(eot-)?(natural|fgsm|ifgsm|pgd|cw-l2|cw|autoattack)(?:-(-?\d+))?", text)
    if match is None:
        close = difflib.get_close_matches(text, [*KINDS, *(f"eot-{k}" for k in _EOT)], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise AttackNameError(
            f"attack {text!r} is unknown; known are {', '.join(KINDS)}, with -K for K steps "
            f"(pgd-20) and eot- before it for noisy networks (eot-pgd-20){hint}"
        )
    eot, kind, steps = match[1] is not None, match[2], match[3]
    if eot and kind not in _EOT:
        raise AttackNameError(f"attack {text!r}: eot- goes with {', '.join(_EOT)} only")
    if steps is None:
        return AttackName(kind, KINDS[kind], eot)
    if KINDS[kind] is None:
        raise AttackNameError(f"attack {text!r}: {kind} takes no number of steps")
    if int(steps) < 1:
        raise AttackNameError(f"attack {text!r} has {int(steps)} steps; it must have at least 1")
    return AttackName(kind, int(steps), eot)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
