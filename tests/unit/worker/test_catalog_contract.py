"""What every part of the catalog must do, rtune's and those of installed packages.

A package of your own is tested with the same tests:
`python -m pytest tests/unit/worker/test_catalog_contract.py -k NAME`.
"""

import copy
import io
import re

import pytest
import torch
from torch import nn

from rtune.config.catalog import (
    ATTACK_LOSSES,
    ATTACKS,
    DATASETS,
    LOSSES,
    NETWORKS,
    PRUNERS,
    SAMPLERS,
    Attack,
    Part,
)
from rtune.config.sections import SLOTS, TrialConfig, trial_config
from rtune.metrics import METRICS
from rtune.registry import resolve
from rtune.robust import PGD, AttackCrossEntropy, Network, Split, compact
from rtune.worker import build, measures

REGISTRIES = (NETWORKS, DATASETS, LOSSES, ATTACK_LOSSES, PRUNERS, ATTACKS, SAMPLERS)
PARTS = [part for registry in REGISTRIES for part in registry]
NORMS = {"linf": float("inf"), "l2": 2}
SMALL = {"wideresnet": {"depth": 10, "widen": 1}}


def config(network: str = "resnet", pruner: str = "none", loss: str = "cross_entropy") -> TrialConfig:
    """Settings of a small trial on 8 x 8 images; pruners prune within an epoch."""
    pruning = {"rvsm": {"lambda_1": 1e-3}, "rgsm": {"lambda_1": 0.05, "lambda_2": 0.01}}
    tree = {
        "data": {"dataset": "digits"},
        "model": {"network": network, "width": 2} | ({network: SMALL[network]} if network in SMALL else {}),
        "attack": {"epsilon": 0.1, "step_size": 0.1, "steps": 1},
        "evaluation": {"epsilon": 0.1, "step_size": 0.1, "steps": 1},
        "pruning": {"method": pruner} | ({pruner: pruning[pruner]} if pruner in pruning else {}),
        "training": {"max_epochs": 2, "batch_size": 16, "lr": 0.05, "loss": loss},
    }
    return trial_config().model_validate(tree)


@pytest.fixture(scope="module")
def images() -> Split:
    torch.manual_seed(0)
    labels = torch.arange(48) % 10
    return Split((torch.rand(48, 1, 8, 8) * 255).byte(), labels)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_entry_names_code_that_exists(part: Part) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", part.name)
    assert part.label
    assert part.about
    if part.build:
        assert part.load() is not None
    if part.settings is not None:
        part.settings()  # defaults for all
        assert part.settings.__doc__


def test_part_names_are_unique_within_a_section() -> None:
    for slot in SLOTS:
        assert len(set(slot.choices())) == len(slot.choices())


@pytest.mark.parametrize("name", [part.name for part in NETWORKS])
def test_every_network_trains_prunes_compacts_and_exports(name: str, images: Split) -> None:
    trial = config(name, "rgsm")
    trainer = build.trainer(trial, images, seed=0)
    figures = measures.measure_epoch(trainer, images, trial)
    for metric in METRICS:
        assert metric.low is None or figures[metric.name] >= metric.low
        assert metric.high is None or figures[metric.name] <= metric.high
    network = trainer.model
    assert isinstance(network, Network)
    shape = build.source(trial.data).image_shape
    for module in network.modules():
        if hasattr(module, "gamma") and not isinstance(module, Network):
            module.gamma = 0.0  # compared without noise
    inputs = torch.rand(4, *shape)
    small = compact(network)
    torch.testing.assert_close(small(inputs), network.eval()(inputs), rtol=1e-3, atol=1e-3)
    program = torch.export.export(
        small, (torch.zeros(2, *shape),), dynamic_shapes={"images": {0: torch.export.Dim("images")}}
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(inputs), small(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [part.name for part in PRUNERS])
def test_every_pruner_resumes_bit_for_bit(name: str, images: Split) -> None:
    trial = config(pruner=name)
    whole = build.trainer(trial, images, seed=3)
    whole.train_epoch()
    saved = {key: tensor.clone() for key, tensor in whole.state_dict().items()}
    whole.train_epoch()
    again = build.trainer(trial, images, seed=3)
    again.load_state_dict(saved, epoch=1)
    again.train_epoch()
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


@pytest.mark.parametrize("loss", [part.name for part in LOSSES])
def test_every_loss_decreases_on_a_toy_task(loss: str, images: Split) -> None:
    trial = config(loss=loss)
    easy = Split(images.images.clone(), images.labels)
    for i, label in enumerate(easy.labels.tolist()):
        easy.images[i, 0, label % 8] = 255 if label < 8 else 0
    trainer = build.trainer(trial, easy, seed=0)
    first, *_, last = [trainer.train_epoch() for _ in range(2)] + [trainer.train_epoch() for _ in range(6)]
    assert last < first


class Linear(nn.Module):
    """A classifier whose gradient is easy to follow."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


BALLS = [part for part in ATTACKS if part.norm is not None and not part.counts]


@pytest.mark.parametrize("part", BALLS, ids=lambda part: part.name)
def test_every_attack_stays_in_its_ball(part: Attack) -> None:
    arguments = part.arguments(
        epsilon=0.1,
        step_size=0.05,
        steps=3,
        restarts=2,
        eot_draws=2,
        random_start=True,
        loss=AttackCrossEntropy(),
    )
    attack = build.call(part, **arguments, **part.defaults())
    inputs, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 10
    found = attack(Linear(), inputs, labels)
    away = torch.linalg.vector_norm((found - inputs).flatten(1), ord=NORMS[part.norm], dim=1)
    assert away.max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("part", ATTACK_LOSSES, ids=lambda part: part.name)
def test_attack_increases_every_attack_loss(part: Part) -> None:
    loss = part.load()(**part.defaults())
    model, inputs, labels = Linear(), torch.rand(20, 1, 8, 8), torch.arange(20) % 10
    attack = PGD(0.1, 0.02, 10, random_start=False, loss=loss)
    clean = model(inputs).detach()
    found = attack(model, inputs, labels)
    with torch.no_grad():
        before, after = (loss(model(x), labels, clean) for x in (inputs, found))
    assert before.shape == (20,)
    assert (after >= before - 1e-6).all()


@pytest.mark.parametrize("part", [p for p in SAMPLERS if p.build], ids=lambda part: part.name)
def test_every_sampler_is_determined_by_its_seed(part: Part) -> None:
    import optuna

    def suggested() -> list[float]:
        study = optuna.create_study(
            directions=["maximize"] * 2, sampler=part.load()(seed=5, **part.defaults())
        )
        found = []
        for _ in range(3):
            trial = study.ask()
            found.append(trial.suggest_float("x", 0, 1))
            study.tell(trial, [found[-1], 1 - found[-1]])
        return found

    assert suggested() == suggested()


@pytest.mark.parametrize("metric", [m for m in METRICS if m.measure], ids=lambda metric: metric.name)
def test_every_metric_is_finite_and_does_not_change_the_network(metric: object, images: Split) -> None:
    trial = config("enresnet")
    trainer = build.trainer(trial, images, seed=0)
    before = copy.deepcopy(trainer.model.state_dict())
    value = resolve(metric.measure, metric.name)(measures.Measured(trainer, images, trial))
    assert value == value
    assert all(torch.equal(before[key], tensor) for key, tensor in trainer.model.state_dict().items())
