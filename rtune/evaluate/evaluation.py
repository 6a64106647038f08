"""The final evaluation: networks of a run under strong attacks, on the test split.

Whatever is found goes to the run folder's `evaluations/`, a record a network and attack, as soon as
it is known; what is there already is not run again.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rtune import robust
from rtune.config.attack_names import AttackName, Settings
from rtune.robust import Attack, Measurement, Network, Split, diagnostics
from rtune.robust.attacks import autoattack
from rtune.robust.attacks.carlini import CarliniL2
from rtune.robust.attacks.pgd import PGD, cw, fgsm, ifgsm
from rtune.robust.evaluation import check_classes, outcomes
from rtune.run import checkpoint_file, schema
from rtune.run.checkpoint_file import CheckpointError
from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial, fold
from rtune.run.log import Writer
from rtune.storage.places import StorageError
from rtune.worker import build, checkpoint

BATCH_SIZE = 256
Job = Callable[[Callable[[int], None]], dict[str, Any]]


def load_network(folder: RunFolder, trial: Trial) -> Network:
    """The network a trial has after its last epoch, from its checkpoint: evaluation mode, on the CPU.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, of another trial, settings or data set,
            or its tensors do not fit the network.
    """
    path = checkpoint_file.path_of(folder.trial_folder(trial.id), trial.epoch)
    try:
        found = checkpoint.read(path)
    except StorageError as error:
        raise CheckpointError(str(error)) from None
    try:
        config, identity = folder.spec.trial_config(trial.values), folder.spec.identity(trial.values)
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path} cannot be used: the settings that the log has for {trial.id} are none of this run's"
        ) from None
    if (found.trial, found.epoch) != (trial.id, trial.epoch):
        raise CheckpointError(
            f"{path} belongs to another network: it holds {found.trial} at epoch {found.epoch}"
        )
    if found.config != identity:
        raise CheckpointError(
            f"{path} belongs to another network: it was trained on {_dataset(found)} with other settings "
            f"than this run has for {trial.id} on {config.data.dataset}"
        )
    network = build.model(config.model, config.data.dataset)
    weights = {k.removeprefix("model."): v for k, v in found.tensors.items() if k.startswith("model.")}
    kinds = {name: tensor.dtype for name, tensor in network.state_dict().items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not fit the network of its settings: {reason}") from None
    for name, tensor in weights.items():
        if tensor.dtype != kinds[name] or not tensor.isfinite().all():
            raise CheckpointError(f"{path} holds no network: {name} is not finite, or not {kinds[name]}")
    return network.eval()


def _dataset(found: checkpoint.Checkpoint) -> str:
    data = found.config.get("data")
    return str(data.get("dataset")) if isinstance(data, dict) else "unknown data"


def load_split(folder: RunFolder, name: str, device: torch.device) -> Split:
    """The `test` or `validation` split of a run's data. Raises DataError."""
    config, seed = folder.spec.file.data, folder.spec.search.seed
    if name == "validation":
        return build.splits(config, seed, device, download=True)[1]
    where = None if config.folder is None else Path(config.folder).expanduser()
    return robust.load_test(config.dataset, where).to(device)


def evaluate(
    folder: RunFolder,
    trials: list[str],
    names: list[AttackName],
    settings: Settings,
    split_name: str,
    diagnose: bool,
    console: Console,
) -> list[str]:
    """Runs what is not recorded yet, network after network; each figure is saved once known.

    Returns:
        A sentence for each network that could not be evaluated.

    Raises:
        RunError: another evaluation of the run is going on, or nothing can be written.
        DataError: the split cannot be had.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    troubles = []
    split = load_split(folder, split_name, device)
    with robust.deterministic(folder.spec.file.training.deterministic), folder.evaluation() as writer:
        log = folder.read_evaluations()
        for note in log.notes:
            console.print(f"note: {note}", soft_wrap=True)
        known = {_key(record) for record in log.records}
        for name in trials:
            # Read again: a search may be going on, and keeps a trial's newest checkpoints only.
            trial = fold(folder.read().records).trials[name]
            try:
                network = load_network(folder, trial).to(device)
                check_classes(network, split)
                _report_unfit(trial, names, robust.is_noisy(network), console)
                for record, job, passes in _jobs(network, split, names, settings, diagnose):
                    record |= {"trial": trial.id, "epoch": trial.epoch, "split": split_name}
                    if _key(record) in known:
                        console.print(f"{trial.id}  {_title(record)}: known already")
                        continue
                    _run(record, job, passes * len(split), writer, console, device, settings.seed)
                    known.add(_key(record))
            except (CheckpointError, ValueError) as error:
                troubles.append(str(error))
            except torch.OutOfMemoryError:
                troubles.append(f"{trial.id} does not fit the device's memory at {BATCH_SIZE} images a batch")
    return troubles


def _report_unfit(trial: Trial, names: list[AttackName], noisy: bool, console: Console) -> None:
    """Says which attacks are not for this network, and why."""
    for reason in dict.fromkeys(reason for name in names if (reason := name.unfit(noisy))):
        left = ", ".join(str(name) for name in names if name.unfit(noisy) == reason)
        console.print(f"{trial.id} {reason}: {left} left out", soft_wrap=True)


def _jobs(
    network: Network, split: Split, names: list[AttackName], settings: Settings, diagnose: bool
) -> Iterator[tuple[dict[str, Any], Job, int]]:
    """For each figure: what is known of its record before, how to get the rest, passes over the split."""
    noisy = robust.is_noisy(network)
    for name in names:
        if name.unfit(noisy):
            continue
        facts = settings.of(name, noisy)
        record = {"kind": "evaluation", "images": len(split), **facts}
        yield record, _evaluation(network, split, name, facts), 1
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


def _evaluation(network: Network, split: Split, name: AttackName, facts: dict[str, Any]) -> Job:
    def job(on_batch: Callable[[int], None]) -> dict[str, Any]:
        warnings: list[str] = []
        if name.kind == "autoattack":
            right, warnings = autoattack.autoattack_outcomes(
                network, split, facts["epsilon"], facts["seed"], BATCH_SIZE, on_batch
            )
        else:
            attack = _attack(name, facts)
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


def _attack(name: AttackName, facts: dict[str, Any]) -> Attack | None:
    epsilon, step_size, steps = facts["epsilon"], facts["step_size"], name.steps or 1
    restarts, draws = facts["restarts"] or 1, facts["eot_draws"] or 1
    attacks: dict[str, Callable[[], Attack | None]] = {
        "natural": lambda: None,
        "fgsm": lambda: fgsm(epsilon, draws),
        "ifgsm": lambda: ifgsm(epsilon, step_size, steps, draws),
        "pgd": lambda: PGD(epsilon, step_size, steps, True, restarts, draws),
        "cw": lambda: cw(epsilon, step_size, steps, restarts, draws),
        "cw-l2": lambda: CarliniL2(epsilon, steps),
    }
    return attacks[name.kind]()


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
    """Runs a job under its own seed, saves its record, says what it found."""
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
        text = "nothing suspicious" if not found["warnings"] else "not to be believed as it stands"
    console.print(f"{title}: {text}  ({seconds:.1f} s)", soft_wrap=True)
    for warning in found["warnings"]:
        console.print(f"    warning: {warning}", soft_wrap=True)


@contextmanager
def _bar(console: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over images, where there is a terminal; it vanishes when done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda images: progress.advance(task, images)


def _title(record: dict[str, Any]) -> str:
    name = str(record.get("attack", "diagnosis"))
    radius = "" if record["epsilon"] is None else f" ({record.get('norm', 'linf')} {record['epsilon']:.4g})"
    return name + radius


def _key(record: dict[str, Any]) -> str:
    """What two records with the same figure have in common."""
    names = schema.EVALUATION_KEY if record["kind"] == "evaluation" else schema.DIAGNOSIS_KEY
    return json.dumps([record["kind"], *(record[name] for name in names)])
