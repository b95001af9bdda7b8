"""What a call costs on fewer chips than would hold the model, and that it costs no more where they do."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nsim.cli import app
from nsim.errors import RunError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network
from nsim.hw_models.mapping.mapping import Mapping, with_places
from nsim.reports.estimate import static_estimates
from nsim.reports.multiplex import chip_count_tables, on_chip_counts, shared_chips, turns_text
from nsim.reports.run_sampler import run_sampler
from nsim.simulator.round_counts import counter_of
from nsim.simulator.timing import analytic_times
from tests.networks import map_on, one_layer, small_loihi

LOAD_NS = 4.65e9


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    """A U-Net on several chips of 4 cores."""
    chip = small_loihi({"compartments": 128}, {"tiles_x": 1, "tiles_y": 2, "cores_per_tile": 2})
    return map_on(tiny_network, chip)


def test_where_everything_fits_nothing_changes(mapping: Mapping) -> None:
    boardfit = mapping.chip.calibration("boardfit")
    (plain,) = static_estimates(mapping, 0.3, boardfit)
    for chips in (mapping.chips, 768):
        (shared,) = static_estimates(with_places(mapping, "row-major", multiplex=chips), 0.3, boardfit)
        pd.testing.assert_frame_equal(shared.report.cells, plain.report.cells, check_exact=True)
        assert shared.time_ns == plain.time_ns and shared.ticks == plain.ticks
        assert shared.report.unknown == plain.report.unknown
        assert shared.load_ns == 0.0 and shared.first_load_ns == mapping.chips * LOAD_NS


@pytest.mark.parametrize("chips", [1, 2, 5])
def test_time_and_energy_add_up(mapping: Mapping, chips: int) -> None:
    boardfit = mapping.chip.calibration("boardfit")
    shared = with_places(mapping, "row-major", multiplex=chips)
    (estimate,) = static_estimates(shared, 1.0, boardfit)
    counts = counter_of(shared).expect(1.0)
    loads = mapping.chips - chips + 1
    times = analytic_times(counts, boardfit)
    assert times.load_ns.sum() == estimate.load_ns == loads * LOAD_NS
    assert len(times.load_ns) == estimate.ticks == shared.ticks
    assert estimate.time_ns == pytest.approx(times.core_ns.sum() + times.barrier_ns.sum() + loads * LOAD_NS)
    energy = chips * estimate.time_ns * (104 + 65)  # of every chip, loading or not
    for event, count in counts.per_core.items():
        energy += count.sum() * (boardfit.energy_pj(event) or 0.0)
    for (_, event), count in counts.beside.items():
        energy += count * (boardfit.energy_pj(event) or 0.0)
    assert estimate.report.total_pj == pytest.approx(energy, rel=1e-12)
    assert estimate.report.total_pj == estimate.report.cells["energy_pj"].sum()
    row = shared_chips(shared, estimate)
    assert row.spikes_kept == counts.per_core["host_read"].sum() > 0
    assert row.cores_sent_to == counts.per_core["host_write"].sum()
    assert "config_load" in estimate.report.unknown and estimate.report.uncosted == ()
    assert counts.beside["chip", "config_load"] == loads
    assert counts.beside.get(("chip", "state_reset"), 0) == chips - 1


@pytest.mark.parametrize("chips", [1, 2, 5])
def test_nothing_is_lost_between_rounds(mapping: Mapping, chips: int) -> None:
    """The same work on the same cores; a packet between rounds is read once and sent again to each core."""
    shared = with_places(mapping, "row-major", multiplex=chips)
    one, other = (counter_of(m).expect(1.0) for m in (mapping, shared))
    for event in ("synaptic_event_conv", "synaptic_event_dense", "spike", "packet_in", "update_active"):
        np.testing.assert_array_equal(
            one.per_core[event].sum(axis=1), other.per_core[event].sum(axis=1), event
        )
    total = {event: counts.sum() for event, counts in other.per_core.items()}
    assert 0 < total["host_read"] <= total["spike"] and total["host_read"] < total["host_write"]
    assert total["packet_out"] - total["host_read"] + total["host_write"] == one.per_core["packet_out"].sum()
    held = np.concatenate([grid.used["compartments"].ravel() for grid in mapping.grids.values()])
    in_own_round = sum(
        ticks * held[cores].sum()
        for ticks, cores in zip(shared.rounds.ticks, shared.rounds.spans, strict=True)
    )
    waiting = held[shared.resident].sum() * sum(shared.rounds.ticks[1:])
    visited = total["update_idle"] + total["update_active"]
    visited += sum(n for (_, event), n in other.beside.items() if event == "update_idle")
    assert visited == in_own_round + waiting


def test_a_tick_is_no_shorter_than_the_waiting_cores_take() -> None:
    """16 neurons on two cores of 8, then 4 on a third: one of 8 stays, and looks at its neurons in vain."""
    kernel = Kernel(1, np.ones((1, 1, 2, 2)), stride=(2, 2))
    chip = small_loihi({"compartments": 8}, {"tiles_x": 1, "tiles_y": 1, "cores_per_tile": 1})
    shared = with_places(map_on(one_layer(kernel, (4, 4)), chip), "row-major", multiplex=2)
    assert shared.round_ends == (2, 3) and shared.resident.tolist() == [True, False, False]
    assert shared.rounds.ticks == (3, 4)  # of the second round, the first tick brings the host's spikes
    times = analytic_times(counter_of(shared).expect(0.0), chip.calibration("boardfit"))
    np.testing.assert_allclose(times.core_ns[0], [8 * 9.7] * 3 + [8 * 6.0] * 4)  # not 4 * 9.7
    assert times.busiest[0, 3:].tolist() == [0] * 4
    assert times.load_ns.tolist() == [LOAD_NS, 0, 0, LOAD_NS, 0, 0, 0]


def test_more_chips_load_less_and_wait_less(mapping: Mapping) -> None:
    counts = range(1, mapping.chips + 1)
    rows = on_chip_counts(mapping, counts, "row-major", 0.2, mapping.chip.calibration("boardfit"))
    assert [row.loads for row in rows] == [*range(mapping.chips, 1, -1), 0]
    assert [row.regime for row in rows] == ["reloaded", *["partly reloaded"] * (len(rows) - 2), "resident"]
    assert all(a.time_ns > b.time_ns and a.bytes_loaded >= b.bytes_loaded for a, b in pairwise(rows))


def test_in_words(mapping: Mapping) -> None:
    boardfit = mapping.chip.calibration("boardfit")
    one, two, all_of_them = on_chip_counts(mapping, [1, 2, mapping.chips], "row-major", 0.2, boardfit)
    megabytes = [f"{row.bytes_loaded / 1e6:,.0f} MB of synapses." for row in (one, two)]
    n = mapping.chips
    assert turns_text(one) == (
        f"Reloaded: the chip is loaded {n} times in every call ({n * 4.65:.2f} s of its time), {megabytes[0]}"
    )
    assert turns_text(two) == (
        "Partly reloaded: 1 chip(s) keep their cores, the last is loaded "
        f"{n - 1} times in every call ({(n - 1) * 4.65:.2f} s of its time), {megabytes[1]}"
    )
    assert turns_text(all_of_them) == (
        f"Resident: {n} of {n} chip(s) hold everything; loaded once, before the first call "
        f"({n * 4.65:.2f} s)."
    )
    notes = chip_count_tables(mapping, [one], 0.2)[2:]
    assert notes == ["1 chip(s): without barrier, config_load, host_read, host_write, packet_in"]


def test_from_the_command_line() -> None:
    arguments = ["map", "sddpm-digits", "--placement", "row-major", "--json"]
    several = CliRunner().invoke(app, [*arguments, "--multiplex", "1,3"])
    rows = json.loads(several.stdout)["multiplex"]
    assert [(row["chips_at_hand"], row["chips"], row["regime"]) for row in rows] == [
        (1, 1, "reloaded"),
        (3, 3, "resident"),
    ]
    plain, one = (
        json.loads(CliRunner().invoke(app, [*arguments, *m]).stdout) for m in ([], ["--multiplex", "1"])
    )
    assert plain["multiplex"] is None and one["multiplex"] == rows[0]
    assert one["chips"] == 1 and one["estimate"]["energy_pj_per_call"] == rows[0]["energy_pj"]
    assert rows[1]["time_ns"] == plain["estimate"]["time_ns_per_call"]
    assert rows[1]["energy_pj"] == plain["estimate"]["energy_pj_per_call"]


def test_shared_chips_are_not_played(mapping: Mapping) -> None:
    with pytest.raises(RunError) as error:
        run_sampler(with_places(mapping, "row-major", multiplex=1))
    assert str(error.value) == (
        f"tiny on 1 chip(s) in {mapping.chips} rounds: shared chips are estimated by `nsim map`, not played; "
        "leave multiplex out"
    )
