"""Chip files: what the bundled ones say, what a bad one is told, what unknown and included mean."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from nsim.errors import ChipFileError, MappingError
from nsim.hw_models import catalog
from nsim.hw_models.catalog import (
    chip_names,
    cost_rule_names,
    find_chip_file,
    load_any_chip,
    load_chip,
    load_cost_rule,
)
from nsim.hw_models.spec import EVENTS, AnyChip, ChipSpec, Cited, Figure, TickedCosts

LOIHI = find_chip_file("loihi").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def loihi() -> ChipSpec:
    return load_chip("loihi")


def cited(value: object) -> Iterator[Cited]:
    """Walk a model and give every cited number in it."""
    if isinstance(value, Cited):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from cited(getattr(value, name))
    elif isinstance(value, dict | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from cited(item)


def complaint(tmp_path: Path, old: str, new: str) -> str:
    """Load a copy of the Loihi file with the first ``old`` replaced; give the message without the folder."""
    assert old in LOIHI
    path = tmp_path / "my.yaml"
    path.write_text(LOIHI.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ChipFileError) as error:
        load_chip(str(path))
    return str(error.value).removeprefix(f"{tmp_path}/")


def line_of(start: str) -> int:
    """Number, from 1, of the first line of the Loihi file that starts so, indentation aside."""
    return next(i for i, line in enumerate(LOIHI.splitlines(), 1) if line.strip().startswith(start))


# ---------------------------------------------------------------------------------------------------------
# the bundled files


@pytest.fixture(scope="module")
def bundled() -> dict[str, AnyChip]:
    return {name: load_any_chip(name) for name in chip_names()}


def test_names(bundled: dict[str, AnyChip]) -> None:
    families = {
        "digital45": "synapse_lists",
        "loihi": "synapse_lists",
        "loihi2": "memory_pool",
        "speck": "convolution",
        "truenorth": "crossbar",
    }
    assert {name: chip.family for name, chip in bundled.items()} == families
    assert [chip.name for chip in bundled.values()] == [*families]
    assert {name: chip.cores for name, chip in bundled.items() if chip.cores != 128} == {
        "digital45": 8192,
        "speck": 9,
        "truenorth": 4096,
    }
    assert [load_cost_rule(name).name for name in cost_rule_names()] == ["ann45", "eyeriss", "h100"]


@pytest.mark.parametrize(
    ("name", "family"), [("loihi2", "memory_pool"), ("speck", "convolution"), ("truenorth", "crossbar")]
)
def test_what_cannot_be_simulated_on(name: str, family: str) -> None:
    with pytest.raises(MappingError) as error:
        load_chip(name)
    assert str(error.value) == (
        f"{name}: `nsim map` lays networks out on {family} cores, but only chips of "
        "synapse_lists cores can be simulated; `nsim chips` lists the families"
    )


def test_every_bundled_number_has_a_source_in_the_bibliography(bundled: dict[str, AnyChip]) -> None:
    models = [*bundled.values(), *map(load_cost_rule, cost_rule_names())]
    keys = catalog._source_keys(find_chip_file("loihi"))
    used = {number.source for model in models for number in cited(model) if number.source}
    assert used <= keys
    numbers = [number for model in models for number in cited(model) if getattr(number, "value", None)]
    assert len(numbers) > 200
    assert all(number.source in keys and number.where and number.confidence for number in numbers)


def test_no_bundled_figure_is_zero(bundled: dict[str, AnyChip]) -> None:
    rules = map(load_cost_rule, cost_rule_names())
    figures = [f for model in (*bundled.values(), *rules) for f in cited(model) if isinstance(f, Figure)]
    assert len(figures) > 300
    assert all(figure.value != 0 for figure in figures)


def test_nothing_of_loihi2_or_speck_is_priced(bundled: dict[str, AnyChip]) -> None:
    for name in ("loihi2", "speck"):
        (costs,) = bundled[name].all_costs.values()
        assert [costs.energy_pj(event) for event in EVENTS] == [None] * len(EVENTS)
        assert all(cost.energy_pj.why_unknown == costs.unlisted_events for cost in costs.events.values())


def test_truenorth_is_a_floor_and_what_an_event_adds(bundled: dict[str, AnyChip]) -> None:
    chip = bundled["truenorth"]
    affine, apart = chip.all_costs["affine"], chip.all_costs["hops_apart"]
    assert isinstance(affine, TickedCosts) and affine.tick_ns.value == 1e6
    assert affine.floor["static"].power_mw.value == 64.43
    assert affine.energy_pj("synaptic_event_dense") == 2.297
    assert affine.events["hop_x"].energy_pj.included_in == "synaptic_event_dense"
    # 21.3 hops in x and in y, over the 128 synapses that a spike reaches
    hops = 2 * 21.3 * apart.energy_pj("hop_x") / 128
    assert apart.energy_pj("synaptic_event_dense") + hops == pytest.approx(2.297, abs=0.005)


def test_derived_figures_of_the_generic_core(bundled: dict[str, AnyChip]) -> None:
    costs = bundled["digital45"].all_costs["horowitz2014"]
    kb8, kb32, add, multiply = 10, 20, 0.1, 3.1
    assert costs.energy_pj("synaptic_event_dense") == pytest.approx(kb32 / 8 + 2 * kb8 / 2 + add)
    assert costs.energy_pj("synaptic_event_sparse") == pytest.approx(kb32 * 18 / 64 + 2 * kb8 + add, abs=0.05)
    assert costs.energy_pj("update_active") == pytest.approx(2 * kb8 + multiply + 2 * add)
    assert costs.energy_pj("hop_x") is None


def test_derived_figures_of_the_ann_side() -> None:
    eyeriss, h100 = load_cost_rule("eyeriss"), load_cost_rule("h100")
    assert eyeriss.mac_pj.value == pytest.approx(278e-3 / (35 * 0.67e9) * 1e12, rel=0.02)
    assert eyeriss.mac_pj.high == pytest.approx(236e-3 / (0.7 * 15.3e9) * 1e12, rel=0.02)
    assert h100.mac_pj.value == pytest.approx(700 / (989e12 / 2) * 1e12, rel=0.02)
    assert h100.mac_pj.high == pytest.approx(700 / (67e12 / 2) * 1e12, rel=0.02)
    assert h100.ac_pj.value is None and eyeriss.ac_pj.value is None


def test_loihi_capacities(loihi: ChipSpec) -> None:
    structure, core = loihi.structure, loihi.core
    cores = structure.tiles_x.value * structure.tiles_y.value * structure.cores_per_tile.value
    assert (cores, loihi.process_nm.value) == (128, 14)
    assert (core.compartments.value, core.input_axons.value, core.output_axons.value) == (1024, 4096, 4096)
    assert core.synaptic_words.value == 16_384 - 1  # strictly fewer than the memory holds
    assert (core.max_words_per_axon.value, core.word_bits.value, core.weight_bits.value) == (256, 64, 8)
    assert (core.delays_at_full_compartments.value, core.max_delay.value) == (7, 62)
    entry = core.synapse_entry
    assert (entry.prefix_bits.value, entry.synapses_max.value) == (10, 60)
    assert (entry.index_bits_min.value, entry.index_bits_max.value) == (6, 10)
    assert core.graded_spikes is False


BOARDFIT = {
    "synaptic_event_conv": (24.0, 3.1),
    "synaptic_event_dense": (35.5, 3.8),
    "synaptic_event_sparse": (33.6, 4.7),
    "update_idle": (51.2, 6.0),
    "update_active": (72.8, 9.7),
    "spike": (69.3, 30.0),
    "packet_out": (111.0, 5.1),
    "packet_in": (None, 16.0),
    "tile_local": (0.0, 0.0),
    "hop_x": (3.0, 4.1),
    "hop_y": (4.2, 6.5),
}
DAVIES = {
    "synaptic_event_conv": (23.6, 3.5),
    "synaptic_event_dense": (23.6, 3.5),
    "synaptic_event_sparse": (23.6, 3.5),
    "update_idle": (52.0, 5.3),
    "update_active": (81.0, 8.4),
    "spike": (0.0, 0.0),
    "packet_out": (None, None),
    "packet_in": (None, None),
    "tile_local": (1.7, 2.1),
    "hop_x": (3.0, 4.1),
    "hop_y": (4.0, 6.5),
}
OFF_CORE = {
    "chip_crossing": (None, None),
    "bias_write": (0.0, None),
    "state_reset": (5.94e6, None),
    "config_load": (None, 4.65e9),
    "host_mac": (900.0, None),
    "host_elementwise": (900.0, None),
    "host_spike_product": (900.0, None),
    "host_read": (None, None),
    "host_write": (None, None),
}


@pytest.mark.parametrize(("name", "on_chip"), [("boardfit", BOARDFIT), ("davies2018", DAVIES)])
def test_loihi_event_costs(loihi: ChipSpec, name: str, on_chip: dict[str, tuple]) -> None:
    calibration = loihi.calibration(name)
    costs = {event: (calibration.energy_pj(event), calibration.time_ns(event)) for event in EVENTS}
    assert costs == on_chip | OFF_CORE


def test_active_update_is_access_plus_update(loihi: ChipSpec) -> None:
    boardfit = loihi.calibration("boardfit")
    assert boardfit.energy_pj("update_active") == pytest.approx(51.2 + 21.6)
    assert boardfit.time_ns("update_active") == pytest.approx(6.0 + 3.7)


def test_unknown_and_included_are_told_apart(loihi: ChipSpec) -> None:
    davies = loihi.calibration("davies2018")
    assert davies.events["spike"].energy_pj.included_in == "update_active"
    assert davies.events["packet_out"].energy_pj.why_unknown is not None
    assert davies.events["bias_write"].energy_pj.included_in == "embedded_processor"
    assert davies.barrier.energy_pj.charge is None


def test_ranges(loihi: ChipSpec) -> None:
    floor = loihi.calibration().floor
    ranges = {name: (f.power_mw.low, f.power_mw.value, f.power_mw.high) for name, f in floor.items()}
    assert ranges == {"static": (29.5, 104, 178), "embedded_processor": (23.2, 65, 70)}
    mac = loihi.calibration().events["host_mac"].energy_pj
    assert (mac.low, mac.high, mac.confidence) == (4.6, 8600, "L")


def test_default_calibration(loihi: ChipSpec) -> None:
    assert loihi.calibration() is loihi.calibrations["boardfit"]
    with pytest.raises(ChipFileError) as error:
        loihi.calibration("guess")
    assert str(error.value) == "chip 'loihi' has no calibration 'guess'. It has: boardfit, davies2018."


def test_ann45() -> None:
    rule = load_cost_rule("ann45")
    assert (rule.mac_pj.value, rule.ac_pj.value) == (4.6, 0.9)
    assert {rule.mac_pj.source, rule.ac_pj.source} == {"horowitz2014computing"}


# ---------------------------------------------------------------------------------------------------------
# barrier


@pytest.mark.parametrize(
    ("tiles", "time_ns"), [(1, 600), (2, 1000), (3, 1000), (4, 1400), (28, 1400), (29, 1800), (32, 1800)]
)
def test_barrier_in_steps(loihi: ChipSpec, tiles: int, time_ns: float) -> None:
    assert loihi.calibration("boardfit").barrier_ns(tiles, 1) == time_ns


def test_barrier_on_a_line(loihi: ChipSpec) -> None:
    davies = loihi.calibration("davies2018")
    assert davies.barrier_ns(1, 1) == 113
    assert davies.barrier_ns(32, 1) == 465
    assert davies.barrier_ns(11, 1) == pytest.approx(113 + (465 - 113) * 10 / 31)


@pytest.mark.parametrize(("name", "full_chip_ns"), [("boardfit", 1800), ("davies2018", 465)])
def test_barrier_over_several_chips(loihi: ChipSpec, name: str, full_chip_ns: float) -> None:
    calibration = loihi.calibration(name)
    assert calibration.barrier_ns(5, 256) == 14_300
    assert calibration.barrier_ns(32, 512) == pytest.approx((14_300 + 16_200) / 2)
    assert calibration.barrier_ns(32, 768) == 16_200
    assert calibration.barrier_ns(32, 2) == pytest.approx(full_chip_ns + (14_300 - full_chip_ns) / 255)


@pytest.mark.parametrize(
    ("tiles", "chips", "message"),
    [
        (0, 1, "a barrier over 0 tiles and 1 chips"),
        (1, 0, "a barrier over 1 tiles and 0 chips"),
        (33, 1, "the barrier table covers 1 to 32, asked for 33"),
        (32, 769, "the barrier table covers 1 to 768, asked for 769"),
    ],
)
def test_barrier_beyond_the_table(loihi: ChipSpec, tiles: int, chips: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        loihi.calibration("davies2018").barrier_ns(tiles, chips)


# ---------------------------------------------------------------------------------------------------------
# bad files

HOP = '{value: 3.0, source: sanafe, where: "arch/loihi.yaml, hop east, west", confidence: M}'
HOP_LINE = line_of("energy_pj: {value: 3.0, source: sanafe")
HOP_AT = f"my.yaml, line {HOP_LINE}, calibrations.boardfit.events.hop_x.energy_pj"
BARRIER_AT = "calibrations.boardfit.barrier"


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("{value: '3.0', source: sanafe, confidence: M}", ".value: expected a number, found '3.0'"),
        ("{value: true, source: sanafe, confidence: M}", ".value: expected a number, found True"),
        ("{value: .inf, source: sanafe, confidence: M}", ".value: expected a finite number, found inf"),
        ("{value: -3, source: sanafe, confidence: M}", ".value: expected at least 0, found -3"),
        ("{value: 3, confidence: M}", ": expected the field 'source' beside a value, found none"),
        ("{value: 3, source: sanafe}", ": expected the field 'confidence' beside a value, found none"),
        (
            "{value: 3, source: sanafe, confidence: X}",
            ".confidence: expected 'H', 'M' or 'L', found 'X'",
        ),
        (
            "{value: 3, source: sanaffe, confidence: M}",
            ".source: expected a key of references.bib, found 'sanaffe'",
        ),
        (
            "{source: sanafe}",
            ": expected exactly one of value, why_unknown, included_in, found none",
        ),
        (
            "{value: 3, source: sanafe, confidence: M, why_unknown: lost}",
            ": expected exactly one of value, why_unknown, included_in, found value and why_unknown",
        ),
        (
            "{value: 0, source: sanafe, confidence: M}",
            ".value: expected a note saying who publishes a 0 (an unknown is why_unknown), found none",
        ),
        (
            "{value: 3, low: 4, source: sanafe, confidence: M}",
            ".low: expected low at most the value 3, found 4",
        ),
        (
            "{value: 3, high: 2, source: sanafe, confidence: M}",
            ".high: expected high at least the value 3, found 2",
        ),
        ("{why_unknown: lost, high: 2}", ".high: expected low and high only beside a value, found high"),
        (
            "{valeu: 3, source: sanafe, confidence: M}",
            ".valeu: expected one of the fields source, where, confidence, note, value, low, high, "
            "why_unknown, included_in, found 'valeu'",
        ),
        ("3.0", ": expected a mapping, found 3.0"),
        ("[3.0]", ": expected a mapping, found a list"),
        ("null", ": expected a mapping, found nothing"),
    ],
)
def test_bad_figure(tmp_path: Path, figure: str, message: str) -> None:
    assert complaint(tmp_path, HOP, figure) == HOP_AT + message


def test_published_zero_needs_only_its_note(tmp_path: Path) -> None:
    figure = "{value: 0, source: sanafe, confidence: M, note: The paper says 0.}"
    (tmp_path / "my.yaml").write_text(LOIHI.replace(HOP, figure, 1), encoding="utf-8")
    assert load_chip(str(tmp_path / "my.yaml")).calibration().energy_pj("hop_x") == 0.0


@pytest.mark.parametrize("holder", ["hop_z", "hop_x", "tile_local"])  # no such, itself, itself contained
def test_included_in_must_name_a_figure_that_stands_for_itself(tmp_path: Path, holder: str) -> None:
    names = [event for event in EVENTS if event not in ("hop_x", "tile_local", "bias_write")]
    assert complaint(tmp_path, HOP, f"{{included_in: {holder}}}") == (
        f"{HOP_AT}.included_in: expected one of {', '.join(names)}, static, embedded_processor "
        f"(those that stand for themselves), found {holder!r}"
    )


def test_time_is_not_included_in_a_power(tmp_path: Path) -> None:
    old = 'time_ns: {value: 16.0, source: sanafe, where: "arch/loihi.yaml, message in", confidence: M}'
    message = complaint(tmp_path, old, "time_ns: {included_in: static}")
    assert message.startswith(
        f"my.yaml, line {line_of(old)}, calibrations.boardfit.events.packet_in.time_ns.included_in: expected "
    )
    assert message.endswith("host_write (those that stand for themselves), found 'static'")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  compartments: {value: 1024",
            "  compartments: {value: 1024.5",
            f"my.yaml, line {line_of('compartments:')}, core.compartments.value: expected a whole number, "
            "found 1024.5",
        ),
        (
            "  compartments: {value: 1024",
            "  compartments: {value: 0",
            f"my.yaml, line {line_of('compartments:')}, core.compartments.value: expected at least 1, "
            "found 0",
        ),
        (
            "family: synapse_lists",
            "family: crossbars",
            f"my.yaml, line {line_of('family:')}, family: expected one of the families synapse_lists, "
            "memory_pool, crossbar, convolution, found 'crossbars'",
        ),
        (
            "family: synapse_lists\n",
            "",
            f"my.yaml, line {line_of('name:')}, the whole file: expected the field 'family', found none",
        ),
        (
            "tiles_y:",
            "tilesy:",
            f"my.yaml, line {line_of('tiles_y:')}, structure.tilesy: expected one of the fields tiles_x, "
            "tiles_y, cores_per_tile, chips_max, found 'tilesy'",
        ),
        (
            "title: Intel Loihi\n",
            "",
            f"my.yaml, line {line_of('name:')}, the whole file: expected the field 'title', found none",
        ),
        (
            "title: Intel Loihi\n",
            "title: Intel Loihi\ntitle: Loihi\n",
            f"my.yaml, line {line_of('title:') + 1}: expected YAML, found a fault: found duplicate key "
            '"title" with value "Loihi" (original value: "Intel Loihi")',
        ),
        (
            "title: Intel Loihi\n",
            "title: [Intel Loihi\n",
            f"my.yaml, line {line_of('description:')}: expected YAML, found a fault: expected ',' or ']', "
            "but got ':'",
        ),
        (
            "title: Intel Loihi\n",
            "title: 2024-99-99\n",
            "my.yaml: expected YAML, found a fault: month must be in 1..12",
        ),
        (
            "graded_spikes: false",
            "graded_spikes: 'no'",
            f"my.yaml, line {line_of('graded_spikes:')}, core.graded_spikes: expected true or false, "
            "found 'no'",
        ),
        (
            "    value: 16\n    low: 8\n",
            "    value: 15.5\n    low: 8\n",
            f"my.yaml, line {line_of('buffer_packets:') + 1}, noc.buffer_packets.value: expected a whole "
            "number of at least 1, found 15.5",
        ),
        (
            "  cycle_ns:\n    why_unknown: >-",
            "  cycle_ns:\n    included_in: >-",
            f"my.yaml, line {line_of('cycle_ns:')}, noc.cycle_ns: expected a value or why_unknown, "
            "found included_in",
        ),
        (
            "default_calibration: boardfit",
            "default_calibration: guess",
            f"my.yaml, line {line_of('default_calibration:')}, default_calibration: expected one of the "
            "calibrations boardfit, davies2018, found 'guess'",
        ),
        (
            "hop_x:",
            "hop_z:",
            f"my.yaml, line {line_of('hop_x:')}, calibrations.boardfit.events.hop_z: expected one of the "
            f"events {', '.join(EVENTS)}, found 'hop_z'",
        ),
        (
            "interpolation: step",
            "interpolation: cubic",
            f"my.yaml, line {line_of('interpolation:')}, {BARRIER_AT}.interpolation: expected 'linear' or "
            "'step', found 'cubic'",
        ),
        (
            "interpolation: step",
            "interpolation: linear",
            f"my.yaml, line {line_of('one_chip:')}, {BARRIER_AT}.one_chip: expected points up to all "
            "32 tiles, found 29",
        ),
        (
            "- tiles: 1\n",
            "- tiles: 3\n",
            f"my.yaml, line {line_of('- tiles: 1')}, {BARRIER_AT}.one_chip.0.tiles: expected a first point "
            "at 1 tile, found 3",
        ),
        (
            "- tiles: 4\n",
            "- tiles: 2\n",
            f"my.yaml, line {line_of('- tiles: 4')}, {BARRIER_AT}.one_chip.2: expected points in rising "
            "order, so above 2, found 2",
        ),
    ],
)
def test_bad_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert complaint(tmp_path, old, new) == message


def test_missing_event(tmp_path: Path) -> None:
    message = complaint(tmp_path, "      host_write: *host_write\n", "")
    at = f"my.yaml, line {LOIHI[: LOIHI.rindex('    events:')].count(chr(10)) + 1}"
    assert message == (
        f"{at}, calibrations.davies2018.events: expected the event 'host_write' (why_unknown if no source "
        "gives it), found none"
    )


def test_several_chip_table_must_reach_chips_max(tmp_path: Path) -> None:
    message = complaint(tmp_path, "value: 768", "value: 769")
    assert message == (
        f"my.yaml, line {line_of('several_chips:')}, {BARRIER_AT}.several_chips: expected points up to "
        "chips_max = 769, found 768"
    )


def test_the_other_faults_are_counted(tmp_path: Path) -> None:
    message = complaint(tmp_path, "arithmetic:\n", "arithmetic:\n  - 1\nold:\n")
    assert message.startswith(
        f"my.yaml, line {line_of('arithmetic:') + 2}, old: expected one of the fields name,"
    )
    message = complaint(tmp_path, "  word_bits: {value: 64,", "  word_bits: {value: six, note: 5,")
    assert message == (
        f"my.yaml, line {line_of('word_bits:')}, core.word_bits.note: expected text, found 5 (and 1 more)"
    )


# ---------------------------------------------------------------------------------------------------------
# names and paths


@pytest.mark.parametrize("name", ["loihi9", "ann45", "references"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ChipFileError) as error:
        load_chip(name)
    assert str(error.value) == (
        f"no chip {name!r}. Bundled: digital45, loihi, loihi2, speck, truenorth. "
        "A path to your own .yaml file works too."
    )


def test_unreadable_files(tmp_path: Path) -> None:
    missing, folder, binary, empty = (tmp_path / f"{name}.yaml" for name in "abcd")
    folder.mkdir()
    binary.write_bytes(b"name: \xff")
    empty.touch()
    messages = {
        missing: "cannot be read (No such file or directory)",
        folder: "cannot be read (Is a directory)",
        binary: "expected UTF-8 text, found other bytes",
    }
    for path, message in messages.items():
        with pytest.raises(ChipFileError) as error:
            load_chip(str(path))
        assert str(error.value) == f"{path}: {message}"
    with pytest.raises(ChipFileError) as error:
        load_chip(str(empty))
    assert str(error.value) == f"{empty}, line 1, the whole file: expected a mapping, found nothing"


def test_own_file_with_its_own_references(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    figure = HOP.replace("sanafe", "bench2024own")
    path.write_text(LOIHI.replace(HOP, figure, 1), encoding="utf-8")
    (tmp_path / "references.bib").write_text("@misc{bench2024own,\n  title = {Ours},\n}\n", encoding="utf-8")
    assert load_chip(str(path)).calibration().events["hop_x"].energy_pj.source == "bench2024own"


def test_a_chip_cannot_be_changed(loihi: ChipSpec) -> None:
    with pytest.raises(ValueError, match="Instance is frozen"):
        loihi.core.compartments.value = 2  # type: ignore[misc]


def test_catalog_imports_nothing_heavy() -> None:
    code = (
        "import sys, nsim.hw_models.catalog; "
        "print([m for m in ('numpy', 'numba', 'torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "truenorth",
            "  axons: {value: 256",
            "  axons: {value: 0",
            "core.axons.value: expected at least 1, found 0",
        ),
        (
            "truenorth",
            "  axon_types:",
            "  compartments:",
            "core.compartments: expected one of the fields axons, neurons, axon_types, weight_bits, "
            "potential_bits, destinations, max_delay, sram_rows, row_bits, graded_spikes, "
            "found 'compartments'",
        ),
        (
            "speck",
            "values: [1, 2, 4, 8]",
            "values: []",
            "core.strides.values: expected at least 1 item, found a list",
        ),
        (
            "loihi2",
            "    events: {}",
            "    events: {hop_q: {}}",
            "calibrations.unpublished.events.hop_q: expected the field 'energy_pj', found none (and 1 more)",
        ),
    ],
)
def test_bad_file_of_another_family(tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    text = find_chip_file(name).read_text(encoding="utf-8")
    line = text[: text.index(old)].count("\n") + 1
    path = tmp_path / "my.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ChipFileError) as error:
        load_any_chip(str(path))
    assert str(error.value).removeprefix(f"{tmp_path}/") == f"my.yaml, line {line}, {message}"
