"""The limits of a launch: settings that may differ from launch to launch of one run."""

from dataclasses import dataclass

from rtune.config.sections import SearchSettings


@dataclass(frozen=True)
class Limits:
    """The limits of a launch: settings that may differ from launch to launch of one run.

    Attributes:
        trials: number of trials of the whole run, at least 1.
        max_epochs: epochs of a full training.
        time_budget: seconds that this launch may take; None for no limit.
        concurrency: trials that train at once; None for as many as fit.
        cpus_per_trial: CPU cores, and threads, of a trial.
        gpus_per_trial: GPUs of a trial: a fraction below 1, or a whole number.
        max_failures: how often a trial is retried without completing another epoch.
        report_timeout: seconds without an epoch after which a worker counts as hanging.
    """

    trials: int
    max_epochs: int
    time_budget: float | None
    concurrency: int | None
    cpus_per_trial: int
    gpus_per_trial: float
    max_failures: int
    report_timeout: float

    @classmethod
    def of(cls, search: SearchSettings, trials: int, max_epochs: int) -> "Limits":
        """The limits of a search file's `search` section, with these numbers of trials and epochs."""
        return cls(
            trials,
            max_epochs,
            search.time_budget,
            search.concurrency,
            search.cpus_per_trial,
            search.gpus_per_trial,
            search.max_failures,
            search.report_timeout,
        )

    def options(self) -> str:
        """The number of trials and epochs as options of the command line."""
        return f"--trials {self.trials} --max-epochs {self.max_epochs}"
