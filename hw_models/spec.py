"""What a chip is: the schema of a chip file, every number cited, the unknown kept apart from zero.

Models are frozen and strict: a text for a number, a field too many or a figure without its source is refused.
``nsim.hw_models.catalog`` reads the files and turns a refusal into a located message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from nsim.errors import ChipFileError

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
    "host_mac": "one multiply-accumulate done by the host",
    "host_elementwise": "one elementwise operation (such as one Swish element) done by the host",
    "host_read": "one compartment's value read back to the host in one time step",
    "host_write": "one value sent from the host to a core",
}
"""The events a calibration prices, all of them and no other; what one of each is."""

Family = Literal["synapse_lists", "memory_pool", "crossbar", "convolution"]
"""How the cores of a chip hold synapses: lists per axon in a memory of their own (Loihi), lists and kernels
in a pool shared with the neurons (Loihi 2), a binary crossbar (TrueNorth), one kernel per core (Speck)."""


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


class Structure(Model):
    """Tiles, cores and chips; the mesh is ``tiles_x`` by ``tiles_y`` on each chip."""

    tiles_x: Count
    tiles_y: Count
    cores_per_tile: Count
    chips_max: Count


class CoreCount(Model):
    """Cores of a chip whose network has no mesh, or none that is published."""

    cores: Count
    chips_max: Count


class SynapseEntry(Model):
    """How synapses are packed into words: an entry is a prefix and a run of synapses of one source.

    A sparse synapse carries an index of ``index_bits_*``, a run-length one a skip of ``skip_bits_*``, a dense
    one neither. All entries of a source are packed into ceil(bits / word) words, and one word more if the
    bits in the last word are none or at least ``extra_word_from_bits``.
    """

    prefix_bits: Integer
    synapses_max: Count
    index_bits_min: Integer
    index_bits_max: Integer
    skip_bits_min: Integer
    skip_bits_max: Integer
    extra_word_from_bits: Integer


class PopulationAxons(Model):
    """Axons that carry the spikes of a group of neurons which reach the same cores.

    At most ``neurons_max`` share one; it takes one input axon where it arrives, and ``output_entries`` output
    axons for the whole group where it leaves (a neuron on its own takes one).
    """

    neurons_max: Count
    output_entries: Count


class Choices(Cited):
    """Whole numbers of which one may be chosen."""

    values: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _cited(self) -> Self:
        self._require_citation()
        return self


class Core(Model):
    """What a core with synapse lists holds: each number is the most that may be used.

    Delays up to ``delays_at_full_compartments`` cost nothing; each doubling of the delay slots beyond halves
    the compartments, up to ``max_delay``. Without ``population_axons`` every neuron has axons of its own.
    ``weight_widths``: the bits that a stored weight can have, any up to ``weight_bits`` where not given.
    """

    compartments: Count
    synaptic_words: Count
    word_bits: Count
    max_words_per_axon: Count
    input_axons: Count
    output_axons: Count
    weight_bits: Count
    weight_widths: Choices | None = None
    max_delay: Integer
    delays_at_full_compartments: Integer
    synapse_entry: SynapseEntry
    graded_spikes: bool
    population_axons: PopulationAxons | None = None


class PoolCore(Model):
    """What a core with one memory for neurons, axons and synapses holds, as far as a compiler uses it.

    ``conv_block_neurons``: the largest block of a convolution; its kernel is stored once per core.
    """

    pool_kib: Count
    neurons: Count
    neuron_groups: Count
    input_axons: Count
    axon_map_entries: Count
    synaptic_words: Count
    word_bits: Count
    weight_bits: Count
    conv_block_neurons: Count
    spike_bits: Count
    graded_spikes: bool


class CrossbarCore(Model):
    """A crossbar of ``axons`` by ``neurons`` bits: connected or not.

    A neuron has one signed weight for each of the ``axon_types``, and ``destinations`` (core, axon) pairs to
    send to. ``sram_rows`` of ``row_bits`` hold a neuron's connections, parameters and destination each.
    """

    axons: Count
    neurons: Count
    axon_types: Count
    weight_bits: Count
    potential_bits: Count
    destinations: Count
    max_delay: Count
    sram_rows: Count
    row_bits: Count
    graded_spikes: bool


class ConvCore(Model):
    """A core that holds one convolutional layer: its kernel and the state of its neurons.

    ``destinations``: layers that the output may go to. What the two memories of a core hold is a figure each,
    since it differs between cores or is not known.
    """

    input_side: Count
    output_side: Count
    channels: Count
    kernel_side: Count
    strides: Choices
    destinations: Count
    weight_bits: Count
    potential_bits: Count
    kernel_memory_kib: Figure
    neuron_memory_kib: Figure
    graded_spikes: bool


class Arithmetic(Model):
    """Widths and limits of a core's integer arithmetic (current-based leaky integrate-and-fire)."""

    decay_bits: Count
    current_decay_offset: Integer
    voltage_decay_offset: Integer
    synaptic_sum_bits: Count
    current_bits: Count
    potential_bits: Count
    bias_mantissa_bits: Count
    bias_exponent_max: Integer
    threshold_mantissa_bits: Count
    threshold_shift: Integer
    refractory_max: Count
    weight_min: Integer
    weight_max: Integer
    weight_step: Count
    weight_exponent_min: Integer
    weight_exponent_max: Integer
    weight_shift: Integer


class Noc(Model):
    """What the routers of the mesh are like, for the ``cycle`` level of timing.

    ``buffer_packets``: places in each input buffer of a router and of a core. ``cycle_ns``: the routers'
    clock; unknown also where they have none, and act when something happens.
    """

    buffer_packets: Figure
    cycle_ns: Figure

    @model_validator(mode="after")
    def _whole_and_above_zero(self) -> Self:
        places, cycle = self.buffer_packets, self.cycle_ns
        for name, figure in (("buffer_packets", places), ("cycle_ns", cycle)):
            if figure.included_in is not None:
                raise fault("a value or why_unknown", "included_in", name)
        if places.value is not None and (places.value < 1 or places.value % 1):
            raise fault("a whole number of at least 1", f"{places.value:g}", "buffer_packets", "value")
        if cycle.value == 0:
            raise fault("above 0", "0", "cycle_ns", "value")
        return self


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


class CostRule(Model):
    """The ANN side: pJ per MAC and per accumulate, of a paper's rule or of a device.

    ``others``: further figures of the same source by name, each with its unit; they price nothing here.
    """

    name: str
    title: str
    description: str
    process_nm: Count | None = None
    mac_pj: Figure
    ac_pj: Figure
    others: dict[str, Figure] = {}


class MemoryRule(Model):
    """What a paper charges for operations and for memory accesses, with no chip behind it.

    One access to a memory of n bits costs ``access_pj`` + n * ``access_pj_per_bit``.
    """

    name: str
    title: str
    description: str
    word_bits: Count
    add_pj: KnownFigure
    multiply_pj: KnownFigure
    access_pj: KnownFigure
    access_pj_per_bit: KnownFigure


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
