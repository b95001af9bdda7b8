"""A network laid out on chips: which core holds what, what it uses of the core, and where the core is."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.frontends.quantize import quantize
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.flow import Flow, flow, within_rounds
from nsim.hw_models.mapping.layout import Layout, cut_into_cores
from nsim.hw_models.mapping.place import Order, Placement, place_rounds
from nsim.hw_models.mapping.policies import Policy
from nsim.hw_models.mapping.rounds import Regime, Rounds, check_chips, round_ends, rounds_of
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import ChipSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True)
class Mapping(Layout):
    """A model on a chip that can be simulated: a layout whose cores have places.

    ``flow``: the packets per time step that ``placement`` was made for, at ``measured`` rates or if all
    neurons fired. A model's decoder is laid out on chips of its own: ``decoder`` is its mapping, with a model
    whose network it is. ``multiplex``: the most chips there are, None for as many as it takes;
    ``round_ends``: past-the-last core of each round in which they are shared (see `rounds`).
    """

    chip: ChipSpec
    placement: Placement
    flow: Flow
    round_ends: tuple[int, ...]
    multiplex: int | None = None
    measured: bool = False
    decoder: Mapping | None = None

    @property
    def parts(self) -> tuple[Mapping, ...]:
        """This mapping and its decoder's, in the order in which their networks are called."""
        return (self,) if self.decoder is None else (self, self.decoder)

    @cached_property
    def played(self) -> Network:
        """The network that is played: the model's, or, in integers, what the cores hold of it."""
        if self.weight_bits is None:
            return self.model.network
        return quantize(self.laid_out, self.weight_bits)

    @property
    def chips(self) -> int:
        """Chips in use."""
        return self.placement.chips

    @cached_property
    def rounds(self) -> Rounds:
        """The rounds of a call; one where all cores have places of their own."""
        return rounds_of(self.laid_out, self.grids, self.times, self.round_ends)

    @property
    def ticks(self) -> int:
        """Ticks of one image's call, all rounds."""
        return sum(self.rounds.ticks)

    @cached_property
    def resident(self) -> np.ndarray:
        """Whether each core keeps its place from call to call, bool [cores]."""
        if len(self.round_ends) == 1:
            return np.ones(self.core_count, bool)
        return (self.rounds.of_core == 0) & (self.placement.chip < self.chips - 1)

    @property
    def bytes_loaded(self) -> int:
        """Bytes of synaptic memory that are loaded again in every call."""
        words = np.concatenate([grid.used["synaptic_words"].ravel() for grid in self.grids.values()])
        return int(words[~self.resident].sum()) * self.chip.core.word_bits.value // 8

    @property
    def regime(self) -> Regime:
        """What is loaded in every call."""
        if self.resident.all():
            return "resident"
        return "partly reloaded" if self.resident.any() else "reloaded"

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
            frame.update({r: grid.used[r].ravel() for r in self.resources})
            frames.append(pd.DataFrame(frame))
        return pd.concat(frames, ignore_index=True)

    def packet_hops(self) -> tuple[float, float]:
        """Packets times hops of one time step: as placed, and in row-major order."""
        row_major = place_rounds(self.round_ends, self.flow, self.chip, "row-major")
        return self.placement.packet_hops(self.flow), row_major.packet_hops(self.flow)


def map_model(
    model: Model,
    chip_name: str,
    policy: Policy = "expand",
    order: Order = "optimised",
    rate: np.ndarray | None = None,
    schedule: Schedule = "pipelined",
    weight_bits: int | None = None,
    multiplex: int | None = None,
) -> Mapping:
    """Lay a model out on a chip (a bundled name or a file): streams, partition, placement.

    ``rate``: spikes per neuron and time step of every core, as measured; all are taken to fire alike if it is
    not given. ``schedule``: all layers at once, one time step apart, or one layer after the other.
    ``weight_bits``: round the weights to so many bits, each synapse's as laid out, and play integers.
    ``multiplex``: the most chips there are; what does not fit them takes turns, see `rounds`.

    Raises ChipFileError for a chip that cannot be read, MappingError, naming layer, rule, need and limit,
    for what cannot fit, QuantizeError for bits that weights cannot have.
    """
    chip = load_chip(chip_name)
    alone = model.decoder_alone
    if multiplex is not None:
        check_chips(multiplex, chip)
        if alone is not None:
            raise MappingError(
                f"{model.name}: a denoiser and a decoder have chips of their own; how they would share "
                f"{multiplex} is not modelled. Leave --multiplex out"
            )
    layout = cut_into_cores(model, chip_name, policy, schedule, weight_bits, multiplex=multiplex)
    if alone is None:
        return with_places(layout, order, rate, multiplex)
    # the decoder's cores are numbered after the denoiser's
    first, rest = (None, None) if rate is None else np.split(rate, [layout.core_count])
    decoder = map_model(alone, chip_name, policy, order, rest, schedule, weight_bits)
    return replace(with_places(layout, order, first), decoder=decoder)


def with_places(
    layout: Layout, order: Order, rate: np.ndarray | None = None, multiplex: int | None = None
) -> Mapping:
    """Give the cores of a layout their places; see `map_model`."""
    name, cores, chip = layout.model.name, layout.core_count, layout.chip
    assert isinstance(chip, ChipSpec)
    if rate is not None and len(rate) != cores:
        raise MappingError(
            f"{name} on {chip.name}: the traffic was measured on {len(rate):,} cores, this layout has "
            f"{cores:,}; give a run of the same model, chip and policy"
        )
    ends = (cores,) if multiplex is None else round_ends(layout.grids, multiplex, chip.cores)
    packets = within_rounds(flow(layout.laid_out, layout.grids, rate), ends)
    cut = {f.name: getattr(layout, f.name) for f in fields(Layout)} | {"chip": chip}
    return Mapping(
        **cut,
        placement=place_rounds(ends, packets, chip, order),
        flow=packets,
        round_ends=ends,
        multiplex=multiplex,
        measured=rate is not None,
    )
