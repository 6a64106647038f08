"""What is added to rtune refuses no old run and no old checkpoint: fields, sections, metrics and parts."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from pydantic import create_model

import analysis
from analysis.report.choose import choose
from analysis.report.run_set import RunSet
from rtune.config import saved, sections
from rtune.config.catalog import NETWORKS, PRUNERS, Network, Pruner
from rtune.config.section import Before, Count, Section
from rtune.errors import ObjectiveError
from rtune.evaluate.network import load_network
from rtune.metrics import METRICS, Metric
from rtune.run import changes, schema
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.worker import build, checkpoint
from tests.support.paths import ROOT

OLD = ROOT / "tests" / "assets"


class Extra(Section):
    """A section that no recorded run knows."""

    level: Count = 1


class ToyConfig(Section):
    """Settings of a part that no recorded run knows."""

    strength: Count = 2


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two fields in a section, one with another meaning before; a section; a metric; two parts."""
    NETWORKS.add(
        Network(name="toy", label="toy", about="a toy", build="rtune.robust:PlainNet", settings=ToyConfig)
    )
    PRUNERS.add(
        Pruner(name="toy", label="toy", about="a toy", build="rtune.robust:Pruner", settings=ToyConfig)
    )
    METRICS.add(Metric("toy", "toy", False, "rtune.worker.measures:macs"))
    file, trial = sections.search_file(), sections.trial_config()
    training: Any = create_model(
        "TrainingConfig",
        __base__=file.model_fields["training"].annotation,
        warmup=(Count, 5),
        select=(Annotated[str, Before("last")], "best"),
    )
    more: Any = {"training": (training, training()), "extra": (Extra, Extra())}
    made = (
        create_model("SearchFile", __base__=file, **more),
        create_model("TrialConfig", __base__=trial, **more),
    )
    monkeypatch.setattr(sections, "_assembled", lambda version: made)
    yield
    NETWORKS.remove("toy")
    PRUNERS.remove("toy")
    METRICS.remove("toy")


@pytest.fixture(params=["mixed", "interrupted"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


@pytest.mark.usefixtures("grown")
def test_old_run_opens_unchanged(old: Path) -> None:
    folder = RunFolder(old)
    # What the new field means for a run that did not know it, not its default.
    assert folder.spec.file.training.select == "last"
    assert folder.spec.file.training.warmup == 5
    ledger = fold(folder.read().records)
    assert ledger.launches
    for launch in ledger.launches:
        assert changes.differences(launch.search, folder.spec) == ""


@pytest.mark.usefixtures("grown")
def test_checkpoints_match_their_trials(old: Path) -> None:
    folder = RunFolder(old)
    ledger = fold(folder.read().records)
    found = 0
    for trial in ledger.trials.values():
        if not (old / "trials" / trial.id).exists():
            continue
        identity = folder.spec.identity(trial.values)
        assert identity["training"]["select"] == "last"
        newest, notes = checkpoint.newest(old / "trials" / trial.id, trial.id, identity)
        assert newest is not None, notes
        if newest.epoch == trial.epoch:
            load_network(folder, trial)
        found += 1
    assert found > 1


@pytest.mark.usefixtures("grown")
def test_tables_have_the_new_metric_and_unchanged_figures(old: Path) -> None:
    before = (OLD / "expected" / f"{old.name}.csv").read_text()
    rows = analysis.load(old)
    assert rows["toy"].isna().all()
    assert rows.drop(columns="toy").to_csv(index=False) == before
    assert not analysis.read(old).notes


@pytest.mark.usefixtures("grown")
def test_old_run_does_not_need_a_new_metric(old: Path) -> None:
    sentence = f"no network of {old.name} has toy: the run is older than this metric"
    with pytest.raises(ObjectiveError, match=sentence):
        RunSet.of([RunFolder(old)], ["robust_accuracy", "toy"])
    with pytest.raises(ObjectiveError, match=sentence):
        choose([RunFolder(old)], None, "toy:min", [])
    for objectives, one in ((None, None), (["robust_accuracy", "macs"], "macs:min")):
        with pytest.raises(ObjectiveError, match=sentence):
            choose([RunFolder(old)], objectives, one, ["robust_accuracy>0", "toy<0.5"])


@pytest.mark.usefixtures("grown")
def test_continued_trial_measures_the_new_metric(tmp_path: Path) -> None:
    from tests.support.run_folders import small_run

    tree = json.loads(json.dumps(small_run.TREE))
    tree["search"]["objectives"] = ["robust_accuracy", "toy"]
    folder = small_run.make(tmp_path, tree)
    rows = analysis.load(folder)
    assert (rows["toy"] == rows["macs"]).all()
    assert set(analysis.front(analysis.networks(rows), folder.spec.objectives)["trial"]) <= {"t0001", "t0002"}


def test_evaluations_stay_valid_when_a_column_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(OLD / "mixed", tmp_path / "mixed"))
    before = analysis.evaluations(run)
    assert len(before) > 1
    more = schema.EVALUATIONS.append(pa.field("budget", pa.int64()))
    monkeypatch.setitem(schema.RECORDS, "evaluation", more)
    records = RunFolder(run).read_evaluations()
    assert not records.notes
    assert all(record["budget"] is None for record in records.records if record["kind"] == "evaluation")
    assert len(analysis.evaluations(run)) == len(before)


def test_different_setting_is_refused_by_name(old: Path) -> None:
    file = old / "search.yaml"
    text = file.read_text()
    assert "momentum: 0.9" in text
    file.write_text(text.replace("momentum: 0.9", "momentum: 0.8"))
    folder = RunFolder(old)
    launch = fold(folder.read().records).launches[0]
    assert changes.differences(launch.search, folder.spec) == "training.momentum is 0.8 and was 0.9"
    # And no checkpoint passes for one of other settings.
    name = next(path.name for path in sorted((old / "trials").iterdir()))
    trial = fold(folder.read().records).trials[name]
    newest, notes = checkpoint.newest(old / "trials" / name, name, folder.spec.identity(trial.values))
    assert newest is None
    assert "belongs to another trial or other settings" in notes[0]


def test_settings_of_unused_parts_are_ignored() -> None:
    config = sections.trial_config().model_validate({"pruning": {"method": "rgsm"}})
    tree = saved.dump(config)
    assert set(tree["pruning"]) == {"method", "rgsm"}
    # As rtune saved them before: with every section; or with one of a package that is not here any more.
    whole = config.model_dump(mode="json")
    whole["pruning"]["of_a_package_that_is_gone"] = {"strength": 3}
    assert saved.as_today(whole) == tree
    assert saved.as_today(tree) == tree
    other = json.loads(json.dumps(tree))
    other["pruning"]["rgsm"]["beta"] = 0.5
    assert saved.as_today(other) != tree
    # A field that nobody knows is no setting of today's.
    other["training"]["unknown"] = 1
    assert saved.as_today(other) is None


def test_checkpoint_contains_only_the_section_of_its_part(tmp_path: Path) -> None:
    """Two methods with a section of their own each, and neither's is in the other's checkpoint."""
    for method in ("rvsm", "admm"):
        config = sections.trial_config().model_validate({"pruning": {"method": method}})
        assert set(saved.dump(config)["pruning"]) == {"method", method}
        assert build.pruner(config.pruning, build.model(config.model, config.data)).weights
