"""One number of a chip file: cited, with its range, the unknown kept apart from zero."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError


def fault(expected: str, found: str, *at: str | int) -> PydanticCustomError:
    """Build the refusal of what stands ``at`` this place, relative to the model being validated."""
    return PydanticCustomError(
        "fault", "expected {expected}, found {found}", {"expected": expected, "found": found, "at": at}
    )


class Model(BaseModel):
    """Base of everything in a chip file: frozen, strict, no field but those declared."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_fields(cls, data: Any) -> Any:
        """Refuse an unknown field with the list of those that exist (``extra`` alone would not list them)."""
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                raise fault(f"one of the fields {', '.join(cls.model_fields)}", repr(key), key)
        return data


class Cited(Model):
    """Where a number comes from.

    ``source`` is a key of references.bib, ``where`` the table or section in it. ``confidence`` is H (read in
    a primary source), M (one careful secondary source, or several that agree) or L (one weak source).
    """

    source: str | None = None
    where: str | None = None
    confidence: Literal["H", "M", "L"] | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _known_source(self, info: ValidationInfo) -> Self:
        keys: Collection[str] | None = (info.context or {}).get("sources")
        if self.source is not None and keys is not None and self.source not in keys:
            raise fault("a key of references.bib", repr(self.source), "source")
        return self

    def _require_citation(self) -> None:
        for field in ("source", "confidence"):
            if getattr(self, field) is None:
                raise fault(f"the field {field!r} beside a value", "none")


class Figure(Cited):
    """A physical quantity: a value, or why it is unknown, or the event or floor that already contains it.

    The unit is in the name of the field that holds it. Unknown is never 0: a 0 is allowed only where a source
    publishes one, with a note. ``low`` and ``high`` bound the value where sources disagree.
    """

    value: Annotated[float, Field(ge=0)] | None = None
    low: Annotated[float, Field(ge=0)] | None = None
    high: Annotated[float, Field(ge=0)] | None = None
    why_unknown: str | None = None
    included_in: str | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        given = [f for f in ("value", "why_unknown", "included_in") if getattr(self, f) is not None]
        if len(given) != 1:
            raise fault("exactly one of value, why_unknown, included_in", " and ".join(given) or "none")
        if self.value is None:
            for bound in ("low", "high"):
                if getattr(self, bound) is not None:
                    raise fault("low and high only beside a value", bound, bound)
            return self
        self._require_citation()
        if self.value == 0 and self.note is None:
            raise fault("a note saying who publishes a 0 (an unknown is why_unknown)", "none", "value")
        if self.low is not None and self.low > self.value:
            raise fault(f"low at most the value {self.value:g}", f"{self.low:g}", "low")
        if self.high is not None and self.high < self.value:
            raise fault(f"high at least the value {self.value:g}", f"{self.high:g}", "high")
        return self

    @property
    def charge(self) -> float | None:
        """What to charge: the value; 0.0 if something else contains it; None if unknown."""
        return 0.0 if self.included_in is not None else self.value


class KnownFigure(Figure):
    """A figure that has to have a value."""

    value: Annotated[float, Field(ge=0)]


class Integer(Cited):
    """A whole number read in a source."""

    value: int

    @model_validator(mode="after")
    def _cited(self) -> Self:
        self._require_citation()
        return self


class Count(Integer):
    """A whole number of things, at least 1."""

    value: Annotated[int, Field(ge=1)]


class Choices(Cited):
    """Whole numbers of which one may be chosen."""

    values: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _cited(self) -> Self:
        self._require_citation()
        return self
