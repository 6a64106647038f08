"""What `rtune resume` and `rtune replicate` find out about a run before its launch begins."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rtune.cli.actions import selection
from rtune.cli.own_analysis import analysis
from rtune.config import spec
from rtune.config.reading.overrides import OPTION
from rtune.errors import RunError
from rtune.run import changes, schema, summary
from rtune.run.folder import RunFolder, find_run
from rtune.run.ledger import Ledger, fold
from rtune.search.limits import Limits

if TYPE_CHECKING:
    from rtune.search.replicates import ReplicateRequest


def found(run: str, runs: str) -> tuple[RunFolder, list[dict[str, Any]], Ledger]:
    """A run that can be continued, its records, and the ledger of the records.

    Raises:
        RunError: there is no such run, another launch is running, or search.yaml and the log do not agree.
    """
    folder = find_run(run, runs)
    with folder.launch():
        pass  # find out whether the run can be written to before Ray starts
    records = folder.read().records
    ledger = fold(records)
    if ledger.trials and not ledger.launches:
        raise RunError(
            f"the log of {folder.place} has lost the record of its first launch, so it is unknown whether "
            "search.yaml and the data are the original ones; start a new search"
        )
    begun = ledger.launches[0] if ledger.launches else None
    if begun and (found := changes.differences(begun.search, folder.spec)):
        raise RunError(
            f"{folder.place / 'search.yaml'} has been changed since the search began: {found}; "
            "restore it, or start a new search with it"
        )
    for trial in ledger.trials.values():
        try:
            folder.spec.identity(trial.values)
        except (ValueError, KeyError, TypeError):
            raise RunError(
                f"the log of {folder.place} has settings for {trial.id} that do not belong to this search; "
                "the record has been edited"
            ) from None
    return folder, records, ledger


def same_data(folder: RunFolder, ledger: Ledger) -> Callable[[str], RunFolder]:
    """A function of the data's fingerprint that returns the folder; RunError if the data has changed."""
    # Launches of schema 1 did not record the data: they have an empty text.
    begun = next((launch.data for launch in ledger.launches if launch.data), None)

    def check(data: str) -> RunFolder:
        if begun is not None and begun != data:
            config = folder.spec.file.data
            raise RunError(
                f"the images or labels of {config.dataset} in {config.folder or 'its package'} are not those "
                f"that {folder.place} began with; restore them, or start a new search"
            )
        return folder

    return check


def originals(folder: RunFolder, ledger: Ledger, which: str) -> list[str]:
    """The original trials that `--trials` selects; the name of a replicate selects its original."""
    networks = analysis.networks(analysis.load(folder))
    originals = {trial.id: trial.of for trial in ledger.trials.values() if trial.of is not None}
    meant = ",".join(originals.get(part.strip(), part) for part in which.split(","))
    return selection.choose(folder, meant, networks[networks["sampler"] != schema.REPLICATE])


def limits(folder: RunFolder, ledger: Ledger, options: dict[str, Any]) -> Limits:
    """Limits of this launch: from the options, else from the latest launch, else from the search file."""
    longest = summary.max_epochs(ledger, folder.spec)
    max_epochs = options.get("max_epochs", longest)
    if max_epochs < longest:
        raise RunError(
            f"--max-epochs is {max_epochs}, but a full training of {folder.place} already has {longest} "
            "epochs; it can only be increased"
        )
    sections = {"max_epochs": "training"}
    spec.check_options({f"{sections.get(key, 'search')}.{key}": value for key, value in options.items()})
    tree = folder.spec.to_tree()
    tree["training"]["max_epochs"] = max_epochs
    tree["search"].update({key: value for key, value in options.items() if key != "max_epochs"})
    settings = spec.from_tree(tree, {}, OPTION).search
    trials = options.get("trials", summary.trials(ledger, folder.spec))
    if trials < len(ledger.own):
        raise RunError(
            f"--trials is {trials}, but {folder.place} has already started {len(ledger.own)} trials"
        )
    most = folder.spec.most_trials(trials, [trial.values for trial in ledger.own.values()])
    return Limits.of(settings, most, max_epochs)


def left(
    folder: RunFolder,
    records: list[dict[str, Any]],
    ledger: Ledger,
    limits: Limits,
    asked: "ReplicateRequest | None" = None,
) -> int:
    """Number of trials that a launch with these limits would train; with `asked`, of replicates only."""
    from rtune.search import plan
    from rtune.search.state import Search

    planned = plan.of_launch(folder.spec, limits, ledger)
    begin = plan.launch_record(folder.spec, planned, limits, 1, "", (1, 1), "resume")
    search = Search(planned, [*records, begin], lambda record: None, replicates_only=asked is not None)
    if asked is not None:
        search.replicate(asked)
    return search.remaining()
