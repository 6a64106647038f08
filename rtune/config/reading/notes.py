"""What looks odd in a valid search file: said once when a search starts, and in a dry run."""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rtune.config.ranges import Uniform, dump
from rtune.config.sections import AttackConfig, EvaluationConfig

if TYPE_CHECKING:
    from rtune.config.spec import Spec

# Above the first number a value is odd: dotted path -> (number, what happens).
_LARGE = {
    "training.lr": (10.0, "the weights will hardly stay finite"),
    "training.batch_size": (10_000, "few steps are left in an epoch"),
    "training.weight_decay": (0.1, "the weights will hardly grow"),
    "model.enresnet.gamma": (1.0, "the noise is stronger than the signal"),
    "model.plain.gamma": (1.0, "the noise is stronger than the signal"),
    "model.wideresnet.gamma": (1.0, "the noise is stronger than the signal"),
    "model.mobilenet.gamma": (1.0, "the noise is stronger than the signal"),
    "attack.epsilon": (0.5, "an attack can turn any image into an even grey"),
    "evaluation.epsilon": (0.5, "an attack can turn any image into an even grey"),
    "data.crop_padding": (16, "a crop may have little of the image"),
}
_SHORT_TIMEOUT, _SHORT_BUDGET = 30.0, 10.0


def added(spec: "Spec") -> "Spec":
    """The spec of a new search without points that repeat others, and with a note for whatever is odd."""
    space, points, repeated = spec.space, list[dict[str, Any]](), list[dict[str, Any]]()
    seen = set[Hashable]()
    for index, point in enumerate(spec.points):
        key = space.key(point) if space.is_complete(point) else index
        (repeated if key in seen else points).append(point)
        seen.add(key)
    found = replace(spec, file=spec.file.model_copy(update={"points": points}))
    notes = [*spec.notes, *_of_points(found), *_of_values(found), *_of_attacks(found), *_of_lengths(found)]
    if repeated:
        notes.append(
            f"{len(repeated)} of the points repeat the settings of others and are left out; rtune replicate "
            "trains settings again with other seeds"
        )
    if found.trials < found.search.trials:
        count = "1 setting" if found.trials == 1 else f"{found.trials} settings"
        notes.append(
            f"search.trials is {found.search.trials}, but the search space has {count}, and each is trained "
            "once; rtune replicate trains settings again with other seeds"
        )
    return replace(found, notes=tuple(notes))


def _of_points(spec: "Spec") -> Iterator[str]:
    for index, point in enumerate(spec.points):
        for path, value in point.items():
            if path in spec.ranges and not spec.ranges[path].holds(value):
                yield (
                    f"points.{index}.{path} is {value}, outside its range {dump(spec.ranges[path])}: it is "
                    "trained, and the sampler does not learn from this value"
                )
    if (more := len(spec.points) - spec.trials) > 0:
        yield f"search.trials is {spec.trials}, so {more} of {len(spec.points)} points will not be trained"


def _of_values(spec: "Spec") -> Iterator[str]:
    for path, (usual, effect) in _LARGE.items():
        value = _largest(spec, path)
        if value is not None and value > usual and spec.is_active(path, {}):
            yield f"{path} is {'up to ' if path in spec.ranges else ''}{value}: {effect}"


def _largest(spec: "Spec", path: str) -> Any:
    domain = spec.ranges.get(path)
    if isinstance(domain, Uniform):
        return domain.high
    if domain is not None:
        return max(domain.values)
    section, *names = path.split(".")
    value = getattr(spec.file, section)
    for name in names:
        value = getattr(value, name)
    return value


def _of_attacks(spec: "Spec") -> Iterator[str]:
    for name in ("attack", "evaluation"):
        attack: AttackConfig | EvaluationConfig = getattr(spec.file, name)
        searched = any(f"{name}.{field}" in spec.searched() for field in ("epsilon", "step_size", "steps"))
        if searched or attack.method != "pgd":
            continue
        if attack.step_size > attack.epsilon:
            yield (
                f"{name}.step_size is {attack.step_size:.3g}, above {name}.epsilon, {attack.epsilon:.3g}: "
                "a single step leaves the ball from its centre"
            )
        if not attack.random_start and attack.steps * attack.step_size < attack.epsilon * (1 - 1e-9):
            yield (
                f"{name}.steps * {name}.step_size is {attack.steps * attack.step_size:.3g}, below "
                f"{name}.epsilon, {attack.epsilon:.3g}: the attack cannot reach the edge of its ball"
            )


def _of_lengths(spec: "Spec") -> Iterator[str]:
    training, search = spec.file.training, spec.search
    at = Counter(round(fraction * spec.max_epochs) for fraction in training.milestones)
    if at[0]:
        yield (
            f"{at[0]} of training.milestones round to epoch 0 of {spec.max_epochs}: training begins with a "
            "learning rate below training.lr"
        )
    if any(count > 1 for epoch, count in at.items() if epoch):
        yield (
            f"several of training.milestones fall on the same of {spec.max_epochs} epochs: the learning rate "
            "is divided by 100 or more there"
        )
    early = search.early_stopping
    if early is not None and not early.levels(spec.max_epochs):
        yield f"no rung lies before epoch {spec.max_epochs}: every trial is trained to its end"
    if search.report_timeout < _SHORT_TIMEOUT:
        yield (
            f"search.report_timeout is {search.report_timeout:g} seconds: a worker whose epoch takes longer "
            "counts as hanging"
        )
    if search.time_budget is not None and search.time_budget < _SHORT_BUDGET:
        yield f"search.time_budget is {search.time_budget:g} seconds, too little for an epoch"
