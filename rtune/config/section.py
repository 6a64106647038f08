"""The base class and common field types of the sections of a search file."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

# Context of validation for the settings of a new search. Some rules hold for these only, so that a run that
# was made before a rule can still be read.
NEW = {"new": True}
# Inclusive bounds that search files and `rtune evaluate` share; lengths are in pixel units, images in [0, 1].
PIXELS = (1e-6, 1.0)
STEPS = (1, 100_000)
SEEDS = (0, 2**31 - 1)


def is_new(info: ValidationInfo) -> bool:
    """Whether the settings of a new search are validated."""
    return bool(info.context and info.context.get("new"))


def in_bounds(low: float, high: float, pixels: bool = False) -> AfterValidator:
    """A field's rule for new searches: from `low` to `high`; values outside can be nobody's wish.

    Args:
        low, high: inclusive bounds.
        pixels: whether the value is a length in pixel units; the message then suggests 8/255 for 8.
    """

    def check(value: Any, info: ValidationInfo) -> Any:
        if value is not None and is_new(info) and not low <= value <= high:
            raise PydanticCustomError(
                "bounds", "Input should {rule}", {"rule": bounds(low, high, value, pixels)}
            )
        return value

    return AfterValidator(check)


def bounds(low: float, high: float, value: float, pixels: bool = False) -> str:
    """The rule `be from LOW to HIGH`, with a hint if the value is a length in whole pixel levels."""
    unit = ", in units of pixels in [0, 1]" if pixels else ""
    hint = f"; did you mean {value:g}/255?" if pixels and 1 < value <= 255 else ""
    return f"be from {_plain(low)} to {_plain(high)}{unit}{hint}"


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) and abs(bound) < 1e15 else f"{bound:g}"


Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Length = Annotated[Positive, in_bounds(*PIXELS, pixels=True)]
Steps = Annotated[Count, in_bounds(*STEPS)]
Members = Annotated[Count, in_bounds(1, 1000)]
Noise = Annotated[NonNegative, in_bounds(0, 100)]
# Penalties, relaxations and rates: the paper's are below 10.
Strength = Annotated[Positive, in_bounds(1e-30, 1e30)]
Penalty = Annotated[NonNegative, in_bounds(0, 1e30)]


class Section(BaseModel):
    """A mapping of the search file: unknown fields and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True)
class Before:
    """Mark for a field whose default differs from the behaviour before it: `Annotated[str, Before("last")]`.

    Saved settings without the field are read with this value, new search files with the default.
    """

    value: Any
