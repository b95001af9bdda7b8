"""What a model takes of a chip and does there, under each policy: one line each, to be set side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nsim.errors import MappingError
from nsim.frontends.model import Model
from nsim.hw_models.mapping.axons import carried_inputs
from nsim.hw_models.mapping.crossbar import PartialSums
from nsim.hw_models.mapping.crossbar_work import crossbar_work
from nsim.hw_models.mapping.flow import sent
from nsim.hw_models.mapping.grid import residents
from nsim.hw_models.mapping.layout import CrossbarLayout, Layout, crossbar_options, cut_into_cores
from nsim.hw_models.mapping.mapping import with_places
from nsim.hw_models.mapping.policies import POLICIES, Policy
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import ChipSpec, CrossbarChip
from nsim.reports.estimate import static_estimates
from nsim.simulator.host_counts import calls_beside_cores
from nsim.units import NS_PER_MS, PJ_PER_UJ


@dataclass(frozen=True)
class Footprint:
    """A layout at an assumed firing rate, or why there is none (``refused``).

    Per time step, on cores: ``ac``, ``mac`` (deliveries of stream values), ``packets``; ``mac_host`` beside
    them. Per call: ``energy_uj``, a lower bound by what ``unknown`` names, and ``time_ms``; None where no
    source gives any figure, ``unknown`` then says why. ``options``: of `nsim map`, where they decide whether
    it fits.
    """

    chip: str
    policy: str
    cores: int | None = None
    chips: int | None = None
    ac: float | None = None
    mac: float | None = None
    mac_host: float | None = None
    packets: float | None = None
    ticks: int | None = None
    energy_uj: float | None = None
    time_ms: float | None = None
    unknown: str = ""
    refused: str = ""
    options: str = ""

    @property
    def in_short(self) -> str:
        """Why it is refused, without the way out; else what its energy and time leave out."""
        if self.refused:
            return re.split(r"; |\. ", self.refused)[0]
        return f"no figure for: {self.unknown}" if self.energy_uj is not None else self.unknown


def policies_side_by_side(
    model: Model,
    chip: str,
    rate: float,
    calibration: str | None = None,
    schedule: Schedule = "pipelined",
    weight_bits: int | None = None,
    partial_sums: PartialSums = "none",
) -> list[Footprint]:
    """A footprint of the denoiser for every policy, cores in row-major order."""
    options = (rate, calibration, schedule, weight_bits, partial_sums)
    return [footprint(model, chip, policy, *options) for policy in POLICIES]


def footprint(
    model: Model,
    chip: str,
    policy: Policy,
    rate: float,
    calibration: str | None = None,
    schedule: Schedule = "pipelined",
    weight_bits: int | None = None,
    partial_sums: PartialSums = "none",
) -> Footprint:
    """What one policy takes; a refusal is part of the answer, not an error."""
    try:
        layout = cut_into_cores(model, chip, policy, schedule, weight_bits, partial_sums)
    except MappingError as error:
        given = weight_bits is not None or partial_sums != "none"
        options = crossbar_options(weight_bits, partial_sums) if given else ""
        return Footprint(chip, policy, refused=str(error), options=options)
    return footprint_of(layout, rate, calibration)


def footprint_of(layout: Layout, rate: float, calibration: str | None = None) -> Footprint:
    """What a layout takes and does; cores of a chip with a mesh are put in row-major order."""
    if isinstance(layout.chip, ChipSpec):
        return _priced(layout, layout.chip, rate, calibration)
    if isinstance(layout, CrossbarLayout):
        return _on_crossbars(layout, rate, calibration)
    spikes, values = operations_on_cores(layout)
    packets = sent(layout.laid_out, layout.grids)
    costs = layout.chip.all_costs[calibration or layout.chip.default_calibration]
    return Footprint(
        layout.chip.name,
        layout.policy,
        layout.core_count,
        layout.chips,
        ac=rate * spikes,
        mac=values,
        mac_host=_host_macs(layout),
        packets=rate * packets.spikes + packets.values,
        ticks=layout.ticks,
        unknown=costs.unlisted_events or "",
        options=layout.options,
    )


def operations_on_cores(layout: Layout) -> tuple[int, int]:
    """Weight uses per time step: by spikes if every neuron fired, and by values of streams.

    An up-sampled spike counts under every tap, as a kernel that is stored once is applied.
    """
    network, total = layout.laid_out, {"neuron": 0.0, "analog": 0.0}
    for name in layout.grids:
        for resident in residents(network, name):
            target = network.population_by_name[resident].shape
            for p in carried_inputs(network, resident):
                source = network.population_by_name[p.source]
                taps = p.kernel.taps(source.shape[1:], target[1:])
                total[source.kind] += network.share(resident) * taps
    return round(total["neuron"]), round(total["analog"])


def _priced(layout: Layout, chip: ChipSpec, rate: float, calibration: str | None) -> Footprint:
    mapping = with_places(layout, "row-major")
    (estimate,) = static_estimates(mapping, rate, chip.calibration(calibration))
    cells = estimate.report.cells
    steps = layout.laid_out.time_steps
    return Footprint(
        chip.name,
        layout.policy,
        layout.core_count,
        layout.chips,
        ac=estimate.ac_laid_out,
        mac=0,
        mac_host=estimate.mac_host,
        packets=float(cells.loc[cells["cause"] == "packet_out", "count"].sum()) / steps,
        ticks=estimate.ticks,
        energy_uj=estimate.report.total_pj / PJ_PER_UJ,
        time_ms=estimate.time_ns / NS_PER_MS,
        unknown=", ".join(estimate.report.unknown),
        options=layout.options,
    )


def _on_crossbars(layout: CrossbarLayout, rate: float, calibration: str | None) -> Footprint:
    """Cells that spikes meet, and packets, relay neurons' and the clock's among them.

    Energy is that of the cells and of the chips' floor for as long as the ticks last; cores have no places,
    so hops and crossings are left out where another figure does not contain them.
    """
    chip = layout.chip
    assert isinstance(chip, CrossbarChip)
    costs = chip.calibrations[calibration or chip.default_calibration]
    work = crossbar_work(layout.cut, rate)
    time_ns = layout.ticks * costs.tick_ns.value
    cell_pj, floor_mw = costs.energy_pj("synaptic_event_dense"), costs.floor["static"].power_mw.charge
    steps, host = layout.laid_out.time_steps, {event for _, event in calls_beside_cores(layout)}
    unknown = [e for e in ("hop_x", "hop_y", "chip_crossing") if costs.energy_pj(e) != 0]
    energy_uj = None
    if cell_pj is not None and floor_mw is not None:
        energy_uj = (steps * work.cells * cell_pj + layout.chips * floor_mw * time_ns) / PJ_PER_UJ
    return Footprint(
        chip.name,
        layout.policy,
        layout.core_count,
        layout.chips,
        ac=work.cells,
        mac=0,
        mac_host=_host_macs(layout),
        packets=work.packets,
        ticks=layout.ticks,
        energy_uj=energy_uj,
        time_ms=time_ns / NS_PER_MS,
        unknown=", ".join(sorted({*unknown, *(e for e in host if costs.energy_pj(e) is None)})),
        options=layout.options,
    )


def _host_macs(layout: Layout) -> float:
    """Multiply-accumulates of the host per time step (those of a call divided by T)."""
    counts = calls_beside_cores(layout)
    return sum(n for (_, event), n in counts.items() if event == "host_mac") / layout.laid_out.time_steps
