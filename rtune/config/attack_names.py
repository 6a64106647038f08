"""The names of attacks in `rtune evaluate --attacks` (`eot-pgd-20`), and the settings that attacks share."""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from rtune.config.catalog import ATTACKS, Attack
from rtune.config.section import PIXELS, SEEDS, STEPS, bounds
from rtune.config.sections import EvaluationConfig
from rtune.errors import AttackNameError

DEFAULT = "natural,fgsm,ifgsm-20,pgd-20,cw-20,eot-pgd-20,eot-cw-20"
# Inclusive bounds. Radii and steps are in pixel units; the l2 diameter of 32 x 32 x 3 images in [0, 1] is 55.
_BOUNDS = {
    "epsilon": PIXELS,
    "step_size": PIXELS,
    "epsilon_l2": (1e-6, 1000),
    "restarts": (1, 10_000),
    "eot_draws": (2, 10_000),
    "noise_draws": (1, 10_000),
    "seed": SEEDS,
}


@dataclass(frozen=True)
class AttackName:
    """An attack by name, such as `eot-pgd-20`.

    Attributes:
        kind: name of an attack in the catalog.
        steps: number of iterations; None if the attack has none.
        eot: whether gradients are averaged over noise draws (expectation over transformation).
    """

    kind: str
    steps: int | None
    eot: bool

    def __str__(self) -> str:
        return "eot-" * self.eot + self.kind + (f"-{self.steps}" if self.steps is not None else "")

    @property
    def part(self) -> Attack:
        """The attack's catalog entry."""
        return ATTACKS[self.kind]

    def unfit(self, noisy: bool) -> str | None:
        """Why the attack cannot be used on a network with (`noisy`) or without noise; None if it can."""
        if self.eot and not noisy:
            return "has no noise to average over"
        if noisy and not self.part.noisy:
            return "is noisy and so has no least perturbation"
        return None


@dataclass(frozen=True)
class Settings:
    """The settings of `rtune evaluate` that all attacks share.

    Attributes:
        epsilon: l-infinity radius, in pixel units of images in [0, 1].
        step_size: step size, in the same units.
        epsilon_l2: radius of the attacks with the norm l2, in the same units.
        restarts: number of random restarts of the attacks that have restarts.
        eot_draws: noise draws per gradient of the `eot-` attacks.
        noise_draws: how often a noisy network classifies each image.
        seed: seed of everything random.

    Raises:
        AttackNameError: a setting is out of its bounds (`_BOUNDS`).
    """

    epsilon: float
    step_size: float
    epsilon_l2: float = 0.5
    restarts: int = 1
    eot_draws: int = 10
    noise_draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                option = "--" + name.replace("_", "-")
                rule = bounds(least, most, value, pixels=name in ("epsilon", "step_size"))
                raise AttackNameError(f"{option} is {value}; it must {rule}")

    def of(self, attack: AttackName, noisy: bool) -> dict[str, Any]:
        """The settings that determine an attack's result, as recorded; None if one does not apply."""
        part = attack.part
        return {
            "attack": f"{attack}-rand" if part.counts and noisy else str(attack),
            "norm": part.norm,
            "epsilon": {None: None, "l2": self.epsilon_l2, "linf": self.epsilon}[part.norm],
            "step_size": self.step_size if part.steps_have_length else None,
            "steps": attack.steps,
            "restarts": self.restarts if part.restarts else None,
            "eot_draws": self.eot_draws if attack.eot else None,
            "noise_draws": self.noise_draws if noisy and not part.counts else 1,
            "seed": self.seed,
        }


def of_run(own: EvaluationConfig, source: str, given: dict[str, Any]) -> Settings:
    """The settings of an evaluation; those that are not given are of the run's search file.

    Args:
        own: `evaluation` of the search file.
        source: the search file, for messages.
        given: fields of `Settings`; None as `epsilon` or `step_size` for that of the search file. With
            `epsilon` alone, the step size is a quarter of it.

    Raises:
        AttackNameError: a value is out of bounds; the message names the option or the search file's field.
    """
    found = dict(given)
    for name in ("epsilon", "step_size"):
        if found[name] is None and (name == "epsilon" or given["epsilon"] is None):
            found[name], (low, high) = getattr(own, name), _BOUNDS[name]
            if not low <= found[name] <= high:
                option = "--" + name.replace("_", "-")
                rule = bounds(low, high, found[name], pixels=True)
                raise AttackNameError(
                    f"{source}: evaluation.{name} is {found[name]}; it must {rule}; give {option} for "
                    "this evaluation"
                )
    if found["step_size"] is None:
        found["step_size"] = max(given["epsilon"] / 4, _BOUNDS["step_size"][0])
    return Settings(**found)


def parse(text: str) -> list[AttackName]:
    """The attacks of a comma-separated list, in order and without duplicates.

    Raises:
        AttackNameError: a name is unknown, its number of steps is out of bounds, or the list is empty.
    """
    names = [_parse(part.strip()) for part in text.split(",") if part.strip()]
    if not names:
        raise AttackNameError(f"--attacks is {text!r}; at least one attack is expected")
    return list(dict.fromkeys(names))


def _parse(text: str) -> AttackName:
    kinds = "|".join(map(re.escape, sorted(ATTACKS.names(), key=len, reverse=True)))
    match = re.fullmatch(rf"(eot-)?({kinds})(?:-(-?[0-9]{{1,12}}))?", text)
    eots = [part.name for part in ATTACKS if part.eot]
    if match is None:
        shown = text if len(text) < 60 else text[:57] + "..."
        close = difflib.get_close_matches(shown, [*ATTACKS.names(), *(f"eot-{name}" for name in eots)], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise AttackNameError(
            f"attack {shown!r} is unknown; known are {', '.join(ATTACKS.names())}, with -K for K steps "
            f"(pgd-20) and eot- before it for noisy networks (eot-pgd-20){hint}"
        )
    eot, kind, steps = match[1] is not None, match[2], match[3]
    if eot and kind not in eots:
        raise AttackNameError(f"attack {text!r}: eot- goes with {', '.join(eots)} only")
    usual = ATTACKS[kind].steps
    if steps is None:
        return AttackName(kind, usual, eot)
    if usual is None:
        raise AttackNameError(f"attack {text!r}: {kind} takes no number of steps")
    if not STEPS[0] <= int(steps) <= STEPS[1]:
        raise AttackNameError(f"attack {text!r} has {int(steps)} steps; it must {bounds(*STEPS, int(steps))}")
    return AttackName(kind, int(steps), eot)
