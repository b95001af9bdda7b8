"""Read the architecture files of SANA-FE as chips: the user's own copy, nothing bundled.

What such a file leaves at 0 is a cost that nobody fitted: it becomes unknown. What its format cannot say
(synaptic memory, axons, synapse formats, static power) is Loihi's, or unknown, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nsim.errors import ChipFileError
from nsim.hw_models.spec import EVENTS, ChipSpec

PJ_PER_J, NS_PER_S = 1e12, 1e9
KEY = "sanafe"


class Unit(BaseModel):
    """A named part of an architecture and its attributes."""

    model_config = ConfigDict(frozen=True)

    name: str
    attributes: dict[str, Any] = {}


class CoreUnits(Unit):
    """The parts of a core that cost something."""

    axon_in: list[Unit] = Field(min_length=1)
    synapse: list[Unit] = Field(min_length=1)
    soma: list[Unit] = Field(min_length=1)
    axon_out: list[Unit] = Field(min_length=1)


class Tile(Unit):
    """A tile and its cores."""

    core: list[CoreUnits] = Field(min_length=1)


class Architecture(Unit):
    """A mesh of tiles."""

    tile: list[Tile] = Field(min_length=1)


class ArchitectureFile(BaseModel):
    """What is read of a SANA-FE architecture file: one kind of tile with one kind of core."""

    architecture: Architecture


def to_chip(file: ArchitectureFile, like: ChipSpec, where: str) -> ChipSpec:
    """Make a chip of an architecture; capacities that it does not give are those of ``like``.

    ChipFileError for an attribute that is no number, or a mesh without width and height.
    """
    tile = file.architecture.tile[0]
    core = tile.core[0]
    mesh = file.architecture.attributes
    neurons = _number(core, "max_neurons_supported", where)

    def cited(value: float, note: str) -> dict[str, Any]:
        return {"value": value, "source": KEY, "where": where, "confidence": "L", "note": note}

    here = "As in the file."
    width, height = (int(_number(file.architecture, side, where) or 0) for side in ("width", "height"))
    if not width or not height:
        raise ChipFileError(f"{where}, {file.architecture.name}: expected width and height of at least 1")
    held = like.core.model_dump()
    if neurons is not None:
        held["compartments"] = cited(int(neurons), here)
    for name, figure in held.items():
        if isinstance(figure, dict) and name != "compartments":
            _say_borrowed(figure, like.name)
    costs = {
        "title": f"the file's own figures, {where}",
        "events": _events(tile, core, where),
        "unlisted_events": "SANA-FE's format has no such event.",
        "barrier": _barrier(mesh, cited),
        "floor": {"static": {"power_mw": {"why_unknown": "SANA-FE's format has no static power."}}},
    }
    return ChipSpec.model_validate(
        {
            "name": file.architecture.name,
            "title": f"{file.architecture.name} (SANA-FE architecture)",
            "description": "Read from a SANA-FE file. What it leaves at 0 is unknown. Synaptic memory and "
            f"axons, of which it says nothing, are those of {like.name}.",
            "family": "synapse_lists",
            "structure": {
                "tiles_x": cited(width, here),
                "tiles_y": cited(height, here),
                "cores_per_tile": cited(_count(core.name), "From the range in the core's name."),
                "chips_max": cited(1, "The format describes one chip."),
            },
            "core": held,
            "default_calibration": KEY,
            "calibrations": {KEY: costs},
        }
    )


def _events(tile: Tile, core: CoreUnits, where: str) -> dict[str, Any]:
    """Energy and time of the events that an architecture knows."""
    soma = next((s for s in core.soma if s.attributes.get("model") != "input"), core.soma[0])
    sources: dict[str, tuple[Unit, tuple[str, ...], str]] = {
        "update_idle": (soma, ("access_neuron",), ""),
        "update_active": (soma, ("access_neuron", "update_neuron"), "Derived: access and update."),
        "spike": (soma, ("spike_out",), ""),
        "packet_in": (core.axon_in[0], ("message_in",), ""),
        "packet_out": (core.axon_out[0], ("message_out",), ""),
    }
    for kind in ("dense", "sparse", "conv"):
        named = [unit for unit in core.synapse if kind in unit.name]
        sources[f"synaptic_event_{kind}"] = ((named or core.synapse)[0], ("process_spike",), "")
    events = {event: _cost(*source, where) for event, source in sources.items()}
    for axis, ways in {"x": ("east", "west"), "y": ("north", "south")}.items():
        costs = [_cost(tile, (f"{way}_hop",), "", where) for way in ways]
        values = [[figure.get("value") for figure in cost.values()] for cost in costs]
        if values[0] != values[1]:
            raise ChipFileError(
                f"{where}, {tile.name}: a hop {ways[0]} and a hop {ways[1]} must cost the same here; "
                "this version has one figure for both"
            )
        events[f"hop_{axis}"] = costs[0]
    within = "A packet within its tile makes no hop."
    events["tile_local"] = {
        quantity: {"included_in": "packet_out", "note": within}
        if "value" in events["packet_out"][quantity]
        else {"why_unknown": f"{within} The file leaves packets at 0."}
        for quantity in ("energy_pj", "time_ns")
    }
    assert set(events) <= set(EVENTS)
    return events


def _cost(unit: Unit, actions: tuple[str, ...], note: str, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for quantity, prefix, scale in (("energy_pj", "energy", PJ_PER_J), ("time_ns", "latency", NS_PER_S)):
        names = [f"{prefix}_{action}" for action in actions]
        values = [_number(unit, name, where) or 0.0 for name in names]
        if sum(values) == 0:
            found[quantity] = {
                "why_unknown": f"{unit.name} leaves {' and '.join(names)} at 0 or out: no figure."
            }
        else:
            place = f"{where}, {unit.name}, {' + '.join(names)}"
            figure = {
                "value": round(sum(values) * scale, 9),
                "source": KEY,
                "where": place,
                "confidence": "L",
            }
            found[quantity] = figure | ({"note": note} if note else {})
    return found


def _barrier(mesh: dict[str, Any], cited: Callable[[float, str], dict[str, Any]]) -> dict[str, Any]:
    table = mesh.get("latency_sync", 0.0)
    points = table if isinstance(table, dict) else {1: table}
    one_chip = []
    for size, seconds in sorted(points.items()):
        note = (
            "As in the file." if seconds else "The file leaves it at 0: unknown, so ticks are a lower bound."
        )
        one_chip.append({"tiles": size, "time_ns": cited(round(seconds * NS_PER_S, 9), note)})
    return {
        "interpolation": "step",
        "one_chip": one_chip,
        "several_chips": [],
        "energy_pj": {"why_unknown": "SANA-FE's format has no energy of the barrier."},
    }


def _number(unit: Unit, name: str, where: str) -> float | None:
    """An attribute of a unit; None if the file does not have it."""
    value = unit.attributes.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ChipFileError(f"{where}, {unit.name}.{name}: expected a number of at least 0, found {value!r}")
    return float(value)


def _count(name: str) -> int:
    """How many a name like ``core[0..3]`` stands for."""
    span = re.search(r"\[(\d+)\.\.(\d+)\]", name)
    return int(span[2]) - int(span[1]) + 1 if span else 1


def _say_borrowed(figure: dict[str, Any], whose: str) -> None:
    for held in (figure, *(f for f in figure.values() if isinstance(f, dict))):
        if "source" in held:
            held["note"] = f"Not in the file: {whose}'s."
