"""Entries that contradict themselves, and packages that a part needs."""

from typing import Any

import pytest

from rtune.config.catalog import Attack, Dataset, Loss, Network, Part, Pruner, Sampler
from rtune.registry import PartError
from tests.support.parts import ShiftConfig

BUILT = {"build": "a:b"}


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        (
            Network,
            BUILT | {"takes": ("breadth",)},
            r"network 'p' takes \('breadth',\); a tuple of some of depth",
        ),
        (Network, BUILT | {"takes": "width"}, "network 'p' takes 'width'; a tuple of some of depth, width"),
        (Loss, {"build": ""}, "loss 'p' has no build; 'module:callable' is expected"),
        (Pruner, BUILT | {"settings": dict}, "pruner 'p' has settings=<class 'dict'>; a subclass of"),
        (Pruner, BUILT | {"settings": ShiftConfig()}, "pruner 'p' has settings=ShiftConfig"),
        (
            Dataset,
            BUILT | {"settings": ShiftConfig},
            "data set 'p' has settings, which a data set cannot have",
        ),
        (Attack, BUILT | {"norm": "l1"}, "attack 'p' has the norm 'l1'; 'linf', 'l2' or None is expected"),
        (Attack, BUILT | {"steps": 0}, "attack 'p' has steps=0; a whole number of at least 1"),
        (Attack, BUILT | {"counts": True, "trains": True}, "attack 'p' counts and trains"),
        (Sampler, {}, "sampler 'p' has neither build nor mixes"),
        (Sampler, BUILT | {"mixes": {"tpe": 1.0}}, "sampler 'p' mixes others, so it cannot have build"),
        (Sampler, {"mixes": {"tpe": 0.5}}, r"sampler 'p' mixes others with the probabilities \[0.5\]"),
        (Sampler, {"mixes": {"tpe": 1.5, "random": -0.5}}, "they must be above 0 and have the sum 1"),
    ],
)
def test_an_entry_that_is_wrong_is_refused_where_it_is_made(
    kind: type[Part], fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(PartError, match=sentence):
        kind(name="p", label="p", about="p", **fields)


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.part"])
def test_a_package_that_is_not_installed_is_named(package: str) -> None:
    part = Loss(name="p", label="p", about="p", package=package, install="that-package", **BUILT)
    assert part.missing() == (
        f"p needs the package {package}, which is not installed; get it with: pip install 'that-package'"
    )
    assert Loss(name="p", label="p", about="p", package="json", **BUILT).missing() is None
