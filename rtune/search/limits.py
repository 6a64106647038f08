"""What may differ from launch to launch of one run."""

from dataclasses import dataclass

from rtune.config.sections import SearchSettings


@dataclass(frozen=True)
class Limits:
    """What may differ from launch to launch of one run.

    Attributes:
        trials: trials of the whole run.
        max_epochs: length of a full training.
        time_budget: seconds of this launch, None for no limit.
        concurrency: trials at once, None for as many as fit.
        cpus_per_trial: CPU cores, and threads, of a trial.
        gpus_per_trial: share of a GPU, or whole GPUs.
        max_failures: times a trial is tried again without getting an epoch further.
        report_timeout: seconds without an epoch after which a worker is taken to hang.
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
        """Which trials they ask for, as options of the command line."""
        return f"--trials {self.trials} --max-epochs {self.max_epochs}"
