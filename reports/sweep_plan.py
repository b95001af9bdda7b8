"""What a sweep is to run: models and values for every axis, from flags or a YAML file, as a list of points.

models: [sddpm-digits]
time_steps: [2, 4]
sampler: [ddim:10, ddim:50]
quality: 500        # images to measure the Frechet distance with, at every point; leave out for none
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, create_model

from nsim.errors import SweepError
from nsim.hw_models.spec import Model, fault
from nsim.reports.sweep_axes import AXES, Axis, Value
from nsim.yaml_file import first_fault, load_yaml

Point = dict[str, Value]
"""Full configuration of one point: ``model``, then a value for every axis."""


def _as_tuple(values: Any) -> Any:
    """A list as the tuple that strict models take; one value may stand without its list."""
    return tuple(values) if isinstance(values, list | tuple) else (values,)


def _each_once(values: tuple[Value, ...]) -> tuple[Value, ...]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise fault("every value once", f"{value!r} twice")
    if not values:
        raise fault("at least one value", "none")
    return values


def _tuple_of(kind: Any) -> Any:
    """Type of a list of values in a plan."""
    return Annotated[tuple[kind, ...], BeforeValidator(_as_tuple), AfterValidator(_each_once)]


def _kind(axis: Axis) -> Any:
    kind: Any = axis.kind if axis.least is None else Annotated[axis.kind, Field(ge=axis.least)]
    if axis.choices:
        kind = Literal[axis.choices]
    if axis.or_text:
        kind = kind | Annotated[str, Field(pattern="=")]
    if axis.none:
        return Annotated[kind | None, BeforeValidator(lambda value: None if value == axis.none else value)]
    return kind if axis.default is not None else kind | None


class SweepPlan(Model):
    """Models, the values of every axis, and how many images quality is measured with, if it is.

    Made by `plan_sweep`; the axes of `AXES` are fields too.
    """

    models: _tuple_of(str) = ()  # type: ignore[valid-type]
    quality: Annotated[int, Field(ge=2)] | None = None

    def values(self, axis: Axis) -> tuple[Value, ...]:
        """Values of one axis."""
        values: tuple[Value, ...] = getattr(self, axis.name)
        return values

    @property
    def varied(self) -> list[str]:
        """What takes more than one value: "model" and names of axes."""
        models = ["model"] if len(self.models) > 1 else []
        return models + [axis.name for axis in AXES if len(self.values(axis)) > 1]

    @property
    def points(self) -> list[Point]:
        """Every combination, the last axis fastest."""
        names = ["model", *(axis.name for axis in AXES)]
        return [
            dict(zip(names, values, strict=True))
            for values in product(self.models, *(self.values(axis) for axis in AXES))
        ]


_FILE: type[SweepPlan] = create_model(
    "SweepPlan",
    __base__=SweepPlan,
    **{axis.name: (_tuple_of(_kind(axis)), (axis.default,)) for axis in AXES},  # type: ignore[call-overload]
)


def plan_sweep(
    models: list[str],
    flags: Mapping[str, str | None] | None = None,
    quality: int | None = None,
    file: Path | None = None,
) -> SweepPlan:
    """Make a plan of a YAML file, of flags (axis name to values with commas between), or both.

    What flags say stands in place of what the file says. Raises SweepError for a wrong file, with the
    line, a wrong flag, or a YAML file among the ``models``.
    """
    for model in models:
        if Path(model).suffix in (".yaml", ".yml"):
            raise SweepError(f"{model}: a YAML file, no model; a sweep's plan is given as --plan {model}")
    stated: dict[str, Any] = (
        {} if file is None else load_yaml(_FILE, file, SweepError).model_dump(exclude_unset=True)
    )
    if models:
        stated["models"] = models
    if quality is not None:
        stated["quality"] = quality
    for axis in AXES:
        text = (flags or {}).get(axis.name)
        if text is not None:
            stated[axis.name] = [_value(axis, part) for part in text.split(",")]
    if not stated.get("models"):
        raise SweepError(
            "nothing to sweep: name a model, for example nsim sweep sddpm-digits --time-steps 2,4"
        )
    return read_plan(stated)


def read_plan(stated: Mapping[str, Any]) -> SweepPlan:
    """A plan of plain values, as `SweepPlan.model_dump` gives them; SweepError for a value it cannot have."""
    try:
        return _FILE.model_validate(stated)
    except ValidationError as error:
        at, said = first_fault(error)
        flag = "--" + str(at[0]).replace("_", "-") if at else "the plan"
        raise SweepError(f"{flag}: {said}") from None


def _value(axis: Axis, text: str) -> Value:
    if axis.none and text.strip() == axis.none:
        return None
    try:
        return axis.kind(text.strip())
    except ValueError:
        if axis.or_text and "=" in text:
            return text.strip()
        wanted = "a whole number" if axis.kind is int else "a number"
        flag = "--" + axis.name.replace("_", "-")
        raise SweepError(f"{flag}: expected {wanted}, found {text.strip()!r}") from None
