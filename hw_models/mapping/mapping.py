"""A network laid out on chips: which core holds what, what it uses of the core, and where the core is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.html_table import html_table
from nsim.hw_models.catalog import find_chip_file, load_chip
from nsim.hw_models.mapping.flow import Flow, flow
from nsim.hw_models.mapping.grid import RESOURCES, CoreGrid
from nsim.hw_models.mapping.partition import partition
from nsim.hw_models.mapping.place import Order, Placement, place, place_row_major
from nsim.hw_models.mapping.policies import Policy, lay_out
from nsim.hw_models.mapping.schedule import Schedule, Timetable, timetable
from nsim.hw_models.spec import ChipSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Mapping:
    """A model on a chip.

    ``laid_out`` is the network as the cores hold it: analog streams expanded into synapses, or carried by
    the host (``policy``). ``grids`` gives the cores of each population, in order of execution. ``flow``: the
    packets per time step that ``placement`` was made for, at ``measured`` rates or if all neurons fired.
    A model's decoder is laid out on chips of its own: ``decoder`` is its mapping, with a model whose network
    it is.
    """

    model: Model
    chip: ChipSpec
    chip_file: Path
    laid_out: Network
    grids: dict[str, CoreGrid]
    placement: Placement
    flow: Flow
    policy: Policy = "expand"
    measured: bool = False
    schedule: Schedule = "pipelined"
    decoder: Mapping | None = None

    @property
    def parts(self) -> tuple[Mapping, ...]:
        """This mapping and its decoder's, in the order in which their networks are called."""
        return (self,) if self.decoder is None else (self, self.decoder)

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
        return self.placement.chips

    @cached_property
    def layer_of_core(self) -> np.ndarray:
        """Population name of every core (object array)."""
        return np.repeat([*self.grids], [grid.size for grid in self.grids.values()]).astype(object)

    @cached_property
    def cores(self) -> pd.DataFrame:
        """One row per core: place, layer, block (first and past-the-last index), and resources in use."""
        import pandas as pd

        frames = []
        for grid in self.grids.values():
            index = np.indices(grid.shape).reshape(3, -1)
            place = self.placement
            ids = grid.core_ids.ravel()
            frame = {
                "core": ids,
                "chip": place.chip[ids],
                "tile_x": place.tile_x[ids],
                "tile_y": place.tile_y[ids],
                "layer": grid.population,
            }
            cuts = {"row": grid.rows, "column": grid.columns, "channel": grid.channels}
            for (axis, segments), i in zip(cuts.items(), index, strict=True):
                frame[f"{axis}_first"] = np.array([a for a, _ in segments])[i]
                frame[f"{axis}_end"] = np.array([b for _, b in segments])[i]
            frame.update({r: grid.used[r].ravel() for r in RESOURCES})
            frames.append(pd.DataFrame(frame))
        return pd.concat(frames, ignore_index=True)

    def packet_hops(self) -> tuple[float, float]:
        """Packets times hops of one time step: as placed, and in row-major order."""
        row_major = place_row_major(self.core_count, self.chip)
        return self.placement.packet_hops(self.flow), row_major.packet_hops(self.flow)

    def utilization(self) -> dict[str, tuple[int, int]]:
        """Resource to (used, available on the cores in use); cores and chips likewise.

        The compartments available shrink where long delays take more accumulator slots.
        """
        total = {"cores": (self.core_count, self.chips * self.chip.cores)}
        for resource in RESOURCES[:-1]:
            used = sum(int(grid.used[resource].sum()) for grid in self.grids.values())
            available = sum(grid.limits[resource] * grid.size for grid in self.grids.values())
            total[resource] = (used, available)
        return total

    def binding(self) -> dict[str, str]:
        """For each population, the resource of which its fullest core has least left."""
        return {
            name: max(RESOURCES, key=lambda r: grid.used[r].max() / grid.limits[r])
            for name, grid in self.grids.items()
        }

    def _repr_html_(self) -> str:
        use = [(r.replace("_", " "), u, m, f"{u / m:.0%}") for r, (u, m) in self.utilization().items()]
        binding = self.binding()
        layers = [
            (name, int(grid.used["compartments"].sum()), grid.size, "x".join(map(str, grid.block)), binds)
            for (name, grid), binds in zip(self.grids.items(), binding.values(), strict=True)
        ]
        title = f"{self.model.name} on {self.chip.title}: {self.core_count:,} cores on {self.chips} chip(s)"
        note = f"weights: {self.model.weights}"
        return html_table(title, ("resource", "used", "available", "share"), use, note) + html_table(
            "Layers", ("layer", "compartments", "cores", "block (y, x, channels)", "binds"), layers
        )


def map_model(
    model: Model,
    chip_name: str,
    policy: Policy = "expand",
    order: Order = "optimised",
    rate: np.ndarray | None = None,
    schedule: Schedule = "pipelined",
) -> Mapping:
    """Lay a model out on a chip (a bundled name or a file): streams, partition, placement.

    ``rate``: spikes per neuron and time step of every core, as measured; all are taken to fire alike if it is
    not given. ``schedule``: all layers at once, one time step apart, or one layer after the other.

    Raises ChipFileError for a chip that cannot be read, MappingError, naming layer, rule, need and limit,
    for what cannot fit.
    """
    chip_file = find_chip_file(chip_name)
    chip = load_chip(chip_name)
    laid_out = lay_out(model.network, policy, chip)
    grids = partition(laid_out, chip, schedule)
    cores = sum(grid.size for grid in grids.values())
    decoder = None
    if model.decoder is not None:
        # the decoder's cores are numbered after the denoiser's
        alone = replace(model, name=f"{model.name}, decoder", network=model.decoder, decoder=None, codes=None)
        own = None if rate is None else rate[cores:]
        decoder = map_model(alone, chip_name, policy, order, own, schedule)
        rate = None if rate is None else rate[:cores]
    if rate is not None and len(rate) != cores:
        raise MappingError(
            f"{model.name} on {chip.name}: the traffic was measured on {len(rate):,} cores, this layout has "
            f"{cores:,}; give a run of the same model, chip and policy"
        )
    packets = flow(laid_out, grids, rate)
    placement = place(cores, packets, chip, order)
    return Mapping(
        model,
        chip,
        chip_file,
        laid_out,
        grids,
        placement,
        packets,
        policy,
        measured=rate is not None,
        schedule=schedule,
        decoder=decoder,
    )
