"""A network cut into the cores of a chip of any family: what each holds and uses, without places yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.frontends.quantize import check_weight_bits
from nsim.html_table import html_table
from nsim.hw_models.catalog import find_chip_file, load_any_chip
from nsim.hw_models.mapping.axons import spiking_inputs
from nsim.hw_models.mapping.conv_cores import partition_conv
from nsim.hw_models.mapping.crossbar import CrossbarCut, PartialSums, partition_crossbar
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.partition import partition
from nsim.hw_models.mapping.place import check_room
from nsim.hw_models.mapping.policies import Policy, lay_out
from nsim.hw_models.mapping.pool import partition_pool
from nsim.hw_models.mapping.retime import retime
from nsim.hw_models.mapping.schedule import Schedule, Timetable, timetable
from nsim.hw_models.spec import AnyChip, ChipSpec, CrossbarChip

PARTITIONS: dict[str, Callable[[Network, Any, Schedule], dict[str, CoreGrid]]] = {
    "memory_pool": partition_pool,
    "convolution": partition_conv,
}
"""Family of a chip to how its cores are filled; those apart whose weights may have few bits."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """A model on the cores of a chip.

    ``laid_out`` is the network as the cores hold it: analog streams expanded into synapses, or carried as
    ``policy`` says. ``grids`` gives the cores of each population, in order of execution. ``weight_bits``:
    bits that weights are rounded to, None where they stay real numbers.
    """

    model: Model
    chip: AnyChip
    chip_file: Path
    laid_out: Network
    grids: dict[str, CoreGrid]
    policy: Policy = "expand"
    schedule: Schedule = "pipelined"
    weight_bits: int | None = None

    @property
    def weights(self) -> str:
        """In words where the weights come from, and what was done to them."""
        rounded = "" if self.weight_bits is None else f", rounded to {self.weight_bits} bits"
        return f"{self.model.weights}{rounded}"

    @cached_property
    def times(self) -> Timetable:
        """When each population runs."""
        return timetable(self.laid_out, self.schedule)

    @property
    def ticks(self) -> int:
        """Ticks of one image's call."""
        return self.times.ticks(self.grids)

    @property
    def core_count(self) -> int:
        """Cores in use."""
        return sum(grid.size for grid in self.grids.values())

    @property
    def chips(self) -> int:
        """Chips in use."""
        return -(-self.core_count // self.chip.cores)

    @property
    def relays(self) -> dict[str, CoreGrid]:
        """The cores of relay populations, by name."""
        kinds = self.laid_out.population_by_name
        return {name: grid for name, grid in self.grids.items() if kinds[name].relay is not None}

    @property
    def longest_delay(self) -> int:
        """Ticks that the spikes which wait longest wait in their targets."""
        delays = [self.times.delay(p) for n in self.grids for p in spiking_inputs(self.laid_out, n)]
        return max(delays, default=0)

    @property
    def resources(self) -> tuple[str, ...]:
        """Of what a core of this chip has only so much."""
        return tuple(next(iter(self.grids.values())).limits)

    @cached_property
    def layer_of_core(self) -> np.ndarray:
        """Population name of every core (object array)."""
        return np.repeat([*self.grids], [grid.size for grid in self.grids.values()]).astype(object)

    @property
    def options(self) -> str:
        """The options of `nsim map` that this layout was made with, where they decide whether it fits."""
        return "" if self.weight_bits is None else f"--weight-bits {self.weight_bits}"

    def utilization(self) -> dict[str, tuple[int, int]]:
        """Resource to (used, available on the cores in use); cores likewise, on the chips that hold them.

        The compartments available shrink where long delays take more accumulator slots.
        """
        total = {"cores": (self.core_count, -(-self.core_count // self.chip.cores) * self.chip.cores)}
        for resource in (r for r in self.resources if r != "words_per_axon"):
            used = sum(int(grid.used[resource].sum()) for grid in self.grids.values())
            available = sum(grid.limits[resource] * grid.size for grid in self.grids.values())
            total[resource] = (used, available)
        return total

    def binding(self) -> dict[str, str]:
        """For each population, the resource of which its fullest core has least left."""
        return {
            name: max(self.resources, key=lambda r: grid.used[r].max() / grid.limits[r])
            for name, grid in self.grids.items()
        }

    def _repr_html_(self) -> str:
        use = [(r.replace("_", " "), u, m, f"{u / m:.0%}") for r, (u, m) in self.utilization().items()]
        binding = self.binding()
        layers = [
            (name, int(grid.used[self.resources[0]].sum()), grid.size, "x".join(map(str, grid.block)), binds)
            for (name, grid), binds in zip(self.grids.items(), binding.values(), strict=True)
        ]
        title = f"{self.model.name} on {self.chip.title}: {self.core_count:,} cores on {self.chips} chip(s)"
        note = f"weights: {self.weights}"
        return html_table(title, ("resource", "used", "available", "share"), use, note) + html_table(
            "Layers", ("layer", self.resources[0], "cores", "block (y, x, channels)", "binds"), layers
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossbarLayout(Layout):
    """A layout on crossbars; ``grids`` are the cores that hear spikes, ``cut`` has all others."""

    cut: CrossbarCut
    partial_sums: PartialSums = "none"

    @property
    def core_count(self) -> int:
        """Cores in use, for splitters and all else too."""
        return self.cut.core_count

    @property
    def ticks(self) -> int:
        """Ticks of one image's call."""
        return self.cut.times.ticks(max(self.laid_out.depth[name] for name in self.grids))

    @property
    def options(self) -> str:
        """The options of `nsim map` that this layout was made with."""
        return crossbar_options(self.weight_bits, self.partial_sums)


def crossbar_options(weight_bits: int | None, partial_sums: PartialSums) -> str:
    """Options of `nsim map` as they are written."""
    bits = "" if weight_bits is None else f"--weight-bits {weight_bits} "
    return f"{bits}--partial-sums {partial_sums}"


def cut_into_cores(
    model: Model,
    chip_name: str,
    policy: Policy = "expand",
    schedule: Schedule = "pipelined",
    weight_bits: int | None = None,
    partial_sums: PartialSums = "none",
    multiplex: int | None = None,
) -> Layout:
    """Lay a model out on the cores of a chip of any family (a bundled name or a file); see `map_model`.

    ``partial_sums``: on crossbars, whether neurons that hear more than a core has axons get their sums in
    parts ("relay"); see `nsim.hw_models.mapping.crossbar`. Cores beyond the largest known system are refused
    unless they are to share chips (``multiplex``).

    Raises ChipFileError for a chip that cannot be read, MappingError, naming layer, rule, need and limit,
    for what cannot fit a core, or on the largest known system of the chip.
    """
    chip = load_any_chip(chip_name)
    if multiplex is not None and not isinstance(chip, ChipSpec):
        raise MappingError(
            f"{model.name} on {chip.name}: taking turns on {multiplex} chip(s) is worked out for chips that "
            "can be simulated (loihi, for example); leave --multiplex out"
        )
    laid_out = lay_out(model.network, policy, chip)
    if isinstance(chip, ChipSpec):
        laid_out = retime(laid_out, chip.core.max_delay.value, schedule)
    check_weight_bits(weight_bits)
    if partial_sums != "none" and not isinstance(chip, CrossbarChip):
        raise MappingError(
            f"{model.name} on {chip.name}: --partial-sums {partial_sums} is for crossbars (truenorth, for "
            "example); leave it out"
        )
    made: dict[str, Any] = {
        "model": model,
        "chip": chip,
        "chip_file": find_chip_file(chip_name),
        "laid_out": laid_out,
        "policy": policy,
        "schedule": schedule,
        "weight_bits": weight_bits,
    }
    if isinstance(chip, CrossbarChip):
        cut = partition_crossbar(laid_out, chip, schedule, weight_bits, partial_sums)
        check_room(cut.core_count, chip)
        return CrossbarLayout(**made, grids=cut.grids, cut=cut, partial_sums=partial_sums)
    if isinstance(chip, ChipSpec):
        grids = partition(laid_out, chip, schedule, weight_bits)
    elif weight_bits is not None:
        raise MappingError(
            f"{model.name} on {chip.name}: weights of {weight_bits} bits can only be laid out where synapses "
            "are stored in lists (on loihi, for example) or on crossbars (truenorth); leave --weight-bits out"
        )
    else:
        grids = PARTITIONS[chip.family](laid_out, chip, schedule)
    if multiplex is None:
        check_room(sum(grid.size for grid in grids.values()), chip)
    return Layout(**made, grids=grids)
