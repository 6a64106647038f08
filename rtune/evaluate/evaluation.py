"""The final evaluation: accuracy of a run's networks under strong attacks, on the test split.

Each result, one record for each network and attack, is written to `evaluations/` in the run folder as soon as
it is computed. A result that is already recorded is not computed again.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rtune import robust
from rtune.config import catalog
from rtune.config.attack_names import AttackName, Settings
from rtune.config.section import Section
from rtune.config.sections import EvaluationConfig
from rtune.evaluate.network import load_network, load_split
from rtune.robust import Attack, Measurement, Network, Split, diagnostics
from rtune.robust.attacks.pgd import PGD
from rtune.robust.evaluation import check_classes, outcomes
from rtune.robust.losses import AttackCrossEntropy
from rtune.run import schema
from rtune.run.checkpoint_file import CheckpointError
from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial, fold
from rtune.run.log import Writer
from rtune.worker import build

BATCH_SIZE = 256
Job = Callable[[Callable[[int], None]], dict[str, Any]]


def evaluate(
    folder: RunFolder,
    trials: list[str],
    names: list[AttackName],
    settings: Settings,
    split_name: str,
    diagnose: bool,
    console: Console,
) -> list[str]:
    """Computes the results that are not recorded yet, one network after the other, and records each at once.

    Args:
        folder: the run.
        trials: ids of the trials; the network of each is that after its last epoch.
        names: the attacks; one that does not fit a network is skipped for it.
        settings: the settings that all attacks share.
        split_name: `test` or `validation`.
        diagnose: whether to run `rtune.robust.diagnostics` too.
        console: for results, warnings and progress.

    Returns:
        A sentence for each network that could not be evaluated.

    Raises:
        PartError: an attack, or the network of the run, cannot be built.
        RunError: another evaluation of the run is in progress, or the run folder cannot be written to.
        DataError: the split is not available.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    own = folder.spec.file.evaluation
    troubles = []
    for attack in names:  # before anything is attacked: an attack that cannot be built
        if not attack.part.counts:
            _attack(attack, settings.of(attack, noisy=False), _own_settings(attack.part, own))
    split = load_split(folder, split_name, device)
    with robust.deterministic(folder.spec.file.training.deterministic), folder.evaluation() as writer:
        log = folder.read_evaluations()
        for note in log.notes:
            console.print(f"note: {note}", soft_wrap=True)
        known = {_key(record) for record in log.records}
        for name in trials:
            # Read the log again: during a search only the newest checkpoints of a trial are kept.
            trial = fold(folder.read().records).trials[name]
            try:
                network = load_network(folder, trial).to(device)
                check_classes(network, split)
                if robust.depends_on_batch(network):
                    console.print(
                        f"{trial.id} is evaluated on batches of {BATCH_SIZE} images: its noise is scaled "
                        "over the batch, so its answer to an image depends on the images beside it",
                        soft_wrap=True,
                    )
                _report_unfit(trial, names, robust.is_noisy(network), console)
                for record, job, passes in _jobs(network, split, names, settings, own, diagnose):
                    record |= {"trial": trial.id, "epoch": trial.epoch, "split": split_name}
                    if _key(record) in known:
                        console.print(f"{trial.id}  {_title(record)}: already computed")
                        continue
                    _run(record, job, passes * len(split), writer, console, device, settings.seed)
                    known.add(_key(record))
            except (CheckpointError, ValueError) as error:
                troubles.append(str(error))
            except torch.OutOfMemoryError:
                troubles.append(
                    f"{trial.id} does not fit into the device's memory with {BATCH_SIZE} images per batch"
                )
    return troubles


def _report_unfit(trial: Trial, names: list[AttackName], noisy: bool, console: Console) -> None:
    """Prints which attacks are skipped for this network, and why."""
    for reason in dict.fromkeys(reason for name in names if (reason := name.unfit(noisy))):
        left = ", ".join(str(name) for name in names if name.unfit(noisy) == reason)
        console.print(f"{trial.id} {reason}: {left} skipped", soft_wrap=True)


def _jobs(
    network: Network,
    split: Split,
    names: list[AttackName],
    settings: Settings,
    own: EvaluationConfig,
    diagnose: bool,
) -> Iterator[tuple[dict[str, Any], Job, int]]:
    """For each result: the record's fields known in advance, a job that computes the others, and its cost.

    The cost is the number of attacks on the whole split, for the progress bar.
    """
    noisy = robust.is_noisy(network)
    for name in names:
        if name.unfit(noisy):
            continue
        facts, own_settings = settings.of(name, noisy), _own_settings(name.part, own)
        record = {"kind": "evaluation", "images": len(split), **facts}
        if own_settings:  # part of the name: with other settings it is another attack
            told = ", ".join(f"{key}={value}" for key, value in own_settings.items())
            record["attack"] = f"{record['attack']}({told})"
        yield record, _evaluation(network, split, name, facts, own_settings), 1
    if diagnose:
        attack = PGD(settings.epsilon, settings.step_size, 20)
        facts = {
            **{key: getattr(attack, key) for key in ("epsilon", "step_size", "steps")},
            **{key: getattr(settings, key) for key in ("eot_draws", "noise_draws", "seed")},
        }
        yield (
            {"kind": "diagnosis", "images": len(split), **facts},
            _diagnosis(network, split, attack, settings),
            diagnostics.passes(network),
        )


def _evaluation(
    network: Network, split: Split, name: AttackName, facts: dict[str, Any], own: dict[str, Any]
) -> Job:
    def job(on_batch: Callable[[int], None]) -> dict[str, Any]:
        warnings: list[str] = []
        if name.part.counts:
            right, warnings = name.part.load()(
                network, split, facts["epsilon"], facts["seed"], BATCH_SIZE, on_batch, **own
            )
        else:
            attack = _attack(name, facts, own)
            right = outcomes(network, split, attack, facts["noise_draws"], BATCH_SIZE, on_batch)
        found = Measurement.of(right)
        return {
            "accuracy": found.accuracy,
            "accuracy_std": found.accuracy_std,
            "device": torch.cuda.get_device_name() if split.labels.is_cuda else "cpu",
            "torch": torch.__version__,
            "warnings": warnings,
        }

    return job


def _own_settings(part: catalog.Attack, config: EvaluationConfig) -> dict[str, Any]:
    """Settings that only this attack has: from the search file if it has them, else the defaults."""
    found: Section | None = getattr(config, part.name, None) if part.settings is not None else None
    return part.defaults() if found is None else found.model_dump()


def _attack(name: AttackName, facts: dict[str, Any], own: dict[str, Any]) -> Attack | None:
    """The attack, with the arguments that apply to it; None for none at all. Raises PartError."""
    part = name.part
    arguments = part.arguments(
        epsilon=facts["epsilon"],
        step_size=facts["step_size"],
        steps=facts["steps"],
        random_start=True,
        loss=AttackCrossEntropy(),
        restarts=facts["restarts"] or 1,
        eot_draws=facts["eot_draws"] or 1,
    )
    made = build.call(part, **arguments, **own)
    if made is None and part.norm is None:
        return None
    attack: Attack = build.called(part, made)
    return attack


def _diagnosis(network: Network, split: Split, attack: PGD, settings: Settings) -> Job:
    def job(on_batch: Callable[[int], None]) -> dict[str, Any]:
        found = diagnostics.diagnose(
            network, split, attack, settings.eot_draws, settings.noise_draws, on_batch
        )
        return {
            "figures": {name: asdict(figure) for name, figure in found.figures.items()},
            "zero_gradients": found.zero_gradients,
            "warnings": found.warnings,
        }

    return job


def _run(
    record: dict[str, Any],
    job: Job,
    images: int,
    writer: Writer,
    console: Console,
    device: torch.device,
    seed: int,
) -> None:
    """Runs a job with random numbers from `seed`, records its result, and prints it."""
    start = time.perf_counter()
    title = f"{record['trial']}  {_title(record)}"
    with _bar(console, title, images) as on_batch, robust.seeded(seed, device):
        found = job(on_batch)
    seconds = round(time.perf_counter() - start, 3)
    writer.append({**record, **found, "seconds": seconds, "time": round(time.time(), 3)})
    if record["kind"] == "evaluation":
        spread = f" ± {found['accuracy_std']:.3f}" if record["noise_draws"] > 1 else ""
        text = f"{found['accuracy']:.3f}{spread}"
    else:
        text = "no warnings" if not found["warnings"] else "the accuracies may be too high"
    console.print(f"{title}: {text}  ({seconds:.1f} s)", soft_wrap=True)
    for warning in found["warnings"]:
        console.print(f"    warning: {warning}", soft_wrap=True)


@contextmanager
def _bar(console: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Context with a progress bar over images, shown on a terminal only and removed at the end."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda images: progress.advance(task, images)


def _title(record: dict[str, Any]) -> str:
    name = str(record.get("attack", "diagnosis"))
    radius = "" if record["epsilon"] is None else f" ({record.get('norm', 'linf')} {record['epsilon']:.4g})"
    return name + radius


def _key(record: dict[str, Any]) -> str:
    """A key that two records share exactly if they are the same result."""
    names = schema.EVALUATION_KEY if record["kind"] == "evaluation" else schema.DIAGNOSIS_KEY
    return json.dumps([record["kind"], *(record[name] for name in names)])
