"""What a worker needs to know to train one trial."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """One trial, as the driver gives it to a worker.

    Attributes:
        trial: the trial's id, such as `t0001`.
        seed: of the trial's weights, batches and attacks.
        config: the trial's settings: a `TrialConfig` as a dict.
        run: path or URI of the run folder.
        folder: path or URI of the trial's folder, where its checkpoints are.
        max_epochs: the epoch after which the trial ends.
        logged: number of epochs that are already in the run's log.
        rungs: epochs at which trials are compared.
        threads: CPU threads that the trial may use.
        device: `cpu` or `cuda`.
        shares_gpu: whether it shares its GPU with other trials.
        versions: what the machine must have (`rtune.worker.machine.versions`); None to skip the check.
    """

    trial: str
    seed: int
    config: dict[str, Any]
    run: str
    folder: str
    max_epochs: int
    logged: int = 0
    rungs: tuple[int, ...] = ()
    threads: int = 1
    device: str = "cpu"
    shares_gpu: bool = False
    versions: dict[str, str] | None = None

    def to_config(self) -> dict[str, Any]:
        """As the config of a Ray Tune trial, which has to be a dict."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """The inverse of `to_config`."""
        return cls(**config)
