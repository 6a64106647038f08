"""The states of the trials in a run folder's Optuna study."""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from rtune.cluster.journal import FILE


def states(folder: Path) -> list[str]:
    study = optuna.load_study(
        study_name="rtune", storage=JournalStorage(JournalFileBackend(str(folder / FILE)))
    )
    return [t.state.name for t in study.trials]
