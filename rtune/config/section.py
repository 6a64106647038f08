"""The base class and common field types of the sections of a search file."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


class Section(BaseModel):
    """A mapping of the search file: unknown fields and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True)
class Before:
    """Mark for a field whose default differs from the behaviour before it: `Annotated[str, Before("last")]`.

    Saved settings without the field are read with this value, new search files with the default.
    """

    value: Any
