"""The study that optuna-dashjournal opens."""

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from rtune.cluster.journal import FILE, OptunaJournal
from rtune.search.state import Search
from tests.support.plans import drive, make_plan
from tests.support.studies import states

NAMES = {
    "finished": "COMPLETE",
    "stopped": "RUNNING",
    "running": "RUNNING",
    "diverged": "FAIL",
    "failed": "FAIL",
}


def test_a_search_is_an_optuna_study_while_it_runs_and_after_it(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = []
    search = Search(make_plan("random", trials=20), [], log.append)
    journal = OptunaJournal(tmp_path, search.plan, [])
    search.watch(journal.add)
    broken = [search.next_trial().id, search.next_trial().id]
    search.end(broken[0], "diverged", "the loss is nan")
    search.end(broken[1], "failed", "no memory")
    drive(search, None, steps=30)
    trials = list(search.ledger.trials.values())
    assert states(tmp_path) == [NAMES[t.status] for t in trials]
    for trial in trials:
        search.end(trial.id, "failed", "its node is gone")  # of those that run; others have ended
    drive(search, None)
    journal.close()
    after = {"stopped": "PRUNED"}
    trials = list(search.ledger.trials.values())
    assert states(tmp_path) == [after.get(t.status, NAMES[t.status]) for t in trials]
    assert {"COMPLETE", "PRUNED", "FAIL"} == set(states(tmp_path))
    study = optuna.load_study(
        study_name="rtune", storage=JournalStorage(JournalFileBackend(str(tmp_path / FILE)))
    )
    for frozen, trial in zip(study.trials, trials, strict=True):
        assert frozen.user_attrs["trial"] == trial.id
        assert frozen.params.items() <= trial.values.items()
        if trial.status == "finished":
            assert tuple(frozen.values) == trial.objectives(search.plan.objectives)
    # The next launch writes it anew, and a stopped trial can go on.
    OptunaJournal(tmp_path, search.plan, log)
    assert states(tmp_path) == [NAMES[t.status] for t in trials]


def test_a_folder_that_cannot_be_written_harms_nothing(tmp_path: Path) -> None:
    search = Search(make_plan("random", trials=3), [], lambda record: None)
    journal = OptunaJournal(tmp_path / "missing", search.plan, [])
    search.watch(journal.add)
    drive(search, None)
    journal.close()
    assert search.is_done()
