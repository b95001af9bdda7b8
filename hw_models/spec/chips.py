"""What the file of a chip says, by the family of its cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import model_validator

from nsim.errors import ChipFileError
from nsim.hw_models.spec.cores import (
    Arithmetic,
    ConvCore,
    Core,
    CoreCount,
    CrossbarCore,
    Noc,
    PoolCore,
    Structure,
)
from nsim.hw_models.spec.costs import Calibration, Costs, TickedCosts
from nsim.hw_models.spec.figures import Count, Model, fault

Family = Literal["synapse_lists", "memory_pool", "crossbar", "convolution"]
"""How the cores of a chip hold synapses: lists per axon in a memory of their own (Loihi), lists and kernels
in a pool shared with the neurons (Loihi 2), a binary crossbar (TrueNorth), one kernel per core (Speck)."""


class AnyChip(Model):
    """What the file of any chip says; the families below say what their cores and costs are."""

    name: str
    title: str
    description: str
    family: Family
    process_nm: Count | None = None
    default_calibration: str

    @model_validator(mode="before")
    @classmethod
    def _known_family(cls, data: Any) -> Any:
        families = get_args(Family)
        if isinstance(data, dict) and data.get("family", families[0]) not in families:
            raise fault(f"one of the families {', '.join(families)}", repr(data["family"]), "family")
        return data

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        if self.default_calibration not in self.all_costs:
            names = ", ".join(self.all_costs) or "(none)"
            raise fault(
                f"one of the calibrations {names}", repr(self.default_calibration), "default_calibration"
            )
        return self

    @property
    def all_costs(self) -> Mapping[str, Costs]:
        """Sets of costs by name."""
        return getattr(self, "calibrations", {})

    @property
    def cores(self) -> int:
        """Cores on one chip."""
        layout: Structure | CoreCount = self.structure  # type: ignore[attr-defined]
        if isinstance(layout, CoreCount):
            return layout.cores.value
        return layout.tiles_x.value * layout.tiles_y.value * layout.cores_per_tile.value


class ChipSpec(AnyChip):
    """A chip that networks can be laid out on: a mesh of cores with synapse lists, and a barrier.

    ``arithmetic`` may be left out: quantised networks then run in the simulator's own widths. So may ``noc``:
    all but the ``cycle`` level of timing do without.
    """

    family: Literal["synapse_lists"]
    structure: Structure
    core: Core
    arithmetic: Arithmetic | None = None
    noc: Noc | None = None
    calibrations: dict[str, Calibration]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        tiles = self.structure.tiles_x.value * self.structure.tiles_y.value
        chips = self.structure.chips_max.value
        for name, calibration in self.calibrations.items():
            barrier, at = calibration.barrier, ("calibrations", name, "barrier")
            last_tiles = barrier.one_chip[-1].tiles
            if barrier.interpolation == "linear" and last_tiles < tiles:
                raise fault(f"points up to all {tiles} tiles", f"{last_tiles}", *at, "one_chip")
            last_chips = max((point.chips for point in barrier.several_chips), default=1)
            if last_chips < chips:
                raise fault(f"points up to chips_max = {chips}", f"{last_chips}", *at, "several_chips")
        return self

    def calibration(self, name: str | None = None) -> Calibration:
        """Return the named set of costs, or the default one; ChipFileError if there is none of that name."""
        try:
            return self.calibrations[name or self.default_calibration]
        except KeyError:
            names = ", ".join(self.calibrations)
            raise ChipFileError(f"chip {self.name!r} has no calibration {name!r}. It has: {names}.") from None


class PoolChip(AnyChip):
    """A chip of cores with one memory for everything (Loihi 2)."""

    family: Literal["memory_pool"]
    structure: CoreCount
    core: PoolCore
    calibrations: dict[str, Costs]


class CrossbarChip(AnyChip):
    """A mesh of crossbar cores in ticks of one length (TrueNorth)."""

    family: Literal["crossbar"]
    structure: Structure
    core: CrossbarCore
    calibrations: dict[str, TickedCosts]


class ConvChip(AnyChip):
    """A chip of cores that hold one convolution each and work on events as they come (Speck)."""

    family: Literal["convolution"]
    structure: CoreCount
    neurons: Count
    core: ConvCore
    calibrations: dict[str, Costs]


CHIP_MODELS: dict[str, type[AnyChip]] = {
    "synapse_lists": ChipSpec,
    "memory_pool": PoolChip,
    "crossbar": CrossbarChip,
    "convolution": ConvChip,
}
"""Family to what a file of it must say."""
