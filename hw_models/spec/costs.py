"""What each event and each stretch of time costs on a chip: energies, times, the barrier, the floor."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from nsim.hw_models.spec.figures import Figure, KnownFigure, Model, fault

EVENTS = {
    "synaptic_event_conv": "one weight added to one compartment, read from a shared (convolution) entry",
    "synaptic_event_dense": "the same, read from a dense entry",
    "synaptic_event_sparse": "the same, read from a sparse entry",
    "update_idle": "one neuron visited in a tick with nothing to do",
    "update_active": "one neuron updated, whole cost (takes the place of update_idle)",
    "spike": "one neuron fires, on top of its update",
    "packet_out": "one packet leaves a core",
    "packet_in": "one packet enters a core",
    "tile_local": "one packet stays within its tile",
    "hop_x": "one packet moves one tile east or west",
    "hop_y": "one packet moves one tile north or south",
    "chip_crossing": "one packet leaves for another chip",
    "bias_write": "one compartment's bias register written between calls",
    "state_reset": "the state of one chip cleared between two calls",
    "config_load": "the configuration of one chip (synapses, axons, neurons) loaded in a call",
    "host_mac": "one multiply-accumulate done by the host",
    "host_elementwise": "one elementwise operation (such as one Swish element) done by the host",
    "host_spike_product": "one spike times a spike, or a count of such products, by the host (attention)",
    "host_read": "one compartment's value read back to the host in one time step",
    "host_write": "one value sent from the host to a core",
}
"""The events a calibration prices, all of them and no other; what one of each is."""


class EventCost(Model):
    """Energy and time of one event."""

    energy_pj: Figure
    time_ns: Figure


class FloorPower(Model):
    """Power drawn by one chip for as long as it works, whatever it does."""

    power_mw: Figure


class TilesPoint(Model):
    """Barrier time of one chip with this many tiles in use."""

    tiles: Annotated[int, Field(ge=1)]
    time_ns: KnownFigure


class ChipsPoint(Model):
    """Barrier time over this many chips."""

    chips: Annotated[int, Field(ge=2)]
    time_ns: KnownFigure


class Barrier(Model):
    """The synchronisation that ends a tick: its energy, and a table of its time.

    ``linear`` interpolates between the points of ``one_chip``; ``step`` takes the last point not above the
    tiles in use.
    """

    interpolation: Literal["linear", "step"]
    one_chip: Annotated[tuple[TilesPoint, ...], Field(strict=False, min_length=1)]
    several_chips: Annotated[tuple[ChipsPoint, ...], Field(strict=False)]
    energy_pj: Figure
    note: str | None = None

    @model_validator(mode="after")
    def _tables(self) -> Self:
        if self.one_chip[0].tiles != 1:
            raise fault("a first point at 1 tile", f"{self.one_chip[0].tiles}", "one_chip", 0, "tiles")
        sizes = {
            "one_chip": [point.tiles for point in self.one_chip],
            "several_chips": [point.chips for point in self.several_chips],
        }
        for table, column in sizes.items():
            for i, (before, after) in enumerate(pairwise(column), start=1):
                if after <= before:
                    raise fault(f"points in rising order, so above {before}", f"{after}", table, i)
        return self


class Costs(Model):
    """One set of costs for a chip: what each event and each stretch of time costs.

    ``unlisted_events``: why the events that the file does not list are unknown, when it leaves any out.
    """

    title: str
    events: dict[str, EventCost]
    unlisted_events: str | None = None
    floor: dict[str, FloorPower]

    @model_validator(mode="before")
    @classmethod
    def _unlisted(cls, data: Any) -> Any:
        why = data.get("unlisted_events") if isinstance(data, dict) else None
        if not isinstance(why, str) or not isinstance(data.get("events"), dict):
            return data
        unknown = {"energy_pj": {"why_unknown": why}, "time_ns": {"why_unknown": why}}
        return {
            **data,
            "events": {**data["events"], **{e: unknown for e in EVENTS if e not in data["events"]}},
        }

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.events:
            if name not in EVENTS:
                raise fault(f"one of the events {', '.join(EVENTS)}", repr(name), "events", name)
        missing = [name for name in EVENTS if name not in self.events]
        if missing:
            raise fault(f"the event {missing[0]!r} (why_unknown if no source gives it)", "none", "events")
        energies, times, powers = self._figures()
        for name in self.events:
            _check_inclusion(energies[name], energies | powers, "events", name, "energy_pj")
            _check_inclusion(times[name], times, "events", name, "time_ns")
        for name, power in powers.items():
            _check_inclusion(power, powers, "floor", name, "power_mw")
        return self

    def _figures(self) -> tuple[dict[str, Figure], dict[str, Figure], dict[str, Figure]]:
        """Energies and times of the events, and powers, by name."""
        energies = {name: event.energy_pj for name, event in self.events.items()}
        times = {name: event.time_ns for name, event in self.events.items()}
        return energies, times, {name: floor.power_mw for name, floor in self.floor.items()}

    def energy_pj(self, event: str) -> float | None:
        """Energy to charge for one event in pJ: None if unknown, 0.0 if another line contains it."""
        return self.events[event].energy_pj.charge

    def time_ns(self, event: str) -> float | None:
        """Time to charge for one event in ns: None if unknown, 0.0 if another event contains it."""
        return self.events[event].time_ns.charge


class TickedCosts(Costs):
    """Costs of a chip whose ticks have one length, whatever happens in them."""

    tick_ns: KnownFigure


class Calibration(Costs):
    """Costs of a chip whose cores wait for one another at the end of a tick."""

    barrier: Barrier

    @model_validator(mode="after")
    def _barrier(self) -> Self:
        energies, _, powers = self._figures()
        _check_inclusion(self.barrier.energy_pj, energies | powers, "barrier", "energy_pj")
        return self

    def barrier_ns(self, tiles: int, chips: int) -> float:
        """Time of one barrier in ns, with ``tiles`` in use on one chip, or over several ``chips``.

        On one chip: the table, see ``Barrier``. Over several, derived: the table gives only large systems, so
        the time is taken as linear in the number of chips, from a full chip to the first point and on through
        the others; ``tiles`` no longer matters. ValueError beyond the table, which covers every size the chip
        file allows.
        """
        if tiles < 1 or chips < 1:
            raise ValueError(f"a barrier over {tiles} tiles and {chips} chips")
        one = [(point.tiles, point.time_ns.value) for point in self.barrier.one_chip]
        if chips > 1:
            several = [(point.chips, point.time_ns.value) for point in self.barrier.several_chips]
            return _interpolate([(1, one[-1][1]), *several], chips)
        if self.barrier.interpolation == "step":
            return [time_ns for size, time_ns in one if size <= tiles][-1]
        return _interpolate(one, tiles)


def _check_inclusion(figure: Figure, holders: dict[str, Figure], *at: str) -> None:
    """Refuse an ``included_in`` that names no figure, or one that is itself contained in another."""
    names = [name for name, holder in holders.items() if holder.included_in is None]
    if figure.included_in is not None and figure.included_in not in names:
        raise fault(
            f"one of {', '.join(names)} (those that stand for themselves)",
            repr(figure.included_in),
            *at,
            "included_in",
        )


def _interpolate(points: list[tuple[int, float]], at: int) -> float:
    """Piecewise linear through ``points`` (rising), exact at each; ValueError outside them."""
    for (x0, y0), (x1, y1) in pairwise([points[0], *points]):
        if at == x1:
            return y1
        if x0 < at < x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    raise ValueError(f"the barrier table covers {points[0][0]} to {points[-1][0]}, asked for {at}")
