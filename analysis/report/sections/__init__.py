"""The sections of the report's page, in their order. A new one: a module, a template, and a line here."""

from ..section import Section
from . import (
    certainty,
    comparisons,
    cost,
    evaluations,
    front,
    network,
    reproduce,
    settings,
)

SECTIONS: tuple[Section, ...] = (
    front.SECTION,
    certainty.SECTION,
    evaluations.SECTION,
    cost.SECTION,
    settings.SECTION,
    comparisons.SECTION,
    network.SECTION,
    reproduce.SECTION,
)
