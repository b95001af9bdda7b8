"""What holds for every run: nothing lost, nothing counted twice, nothing that depends on the machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import nsim
from nsim.frontends.network import Network
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration, Figure
from nsim.reports.energy import Activity, price
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter, EventCounts
from nsim.simulator.timing import analytic_times
from nsim.workloads.samplers import parse_sampler, sample
from nsim.workloads.sddpm import SpikingUNet
from tests.networks import map_on, model_of, small_loihi

LOIHI = load_chip("loihi")
IMAGES = 2


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    return nsim.map(model_of(tiny_network), "loihi")


@pytest.fixture(scope="module")
def runs(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> dict[int | str, Run]:
    """The same run with one thread, with two, and once more."""
    out = tmp_path_factory.mktemp("runs")
    threads: dict[int | str, int] = {1: 1, 2: 2, "again": 1}
    return {
        name: run_sampler(mapping, images=IMAGES, seed=3, out=out / str(name), threads=n)
        for name, n in threads.items()
    }


@pytest.fixture(scope="module")
def run(runs: dict[int | str, Run]) -> Run:
    return runs[1]


def files(run: Run) -> dict[str, bytes]:
    folder: Path = run.folder.path
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("other", [2, "again"])
def test_same_bytes_for_any_threads_and_every_time(runs: dict[int | str, Run], other: int | str) -> None:
    expected, found = files(runs[1]), files(runs[other])
    assert list(expected) and sorted(found) == sorted(expected)
    for name, content in expected.items():
        assert found[name] == content, name


def test_another_seed_makes_another_run(mapping: Mapping, run: Run) -> None:
    other = run_sampler(mapping, images=IMAGES, seed=4, threads=1)
    assert not np.array_equal(images(other), images(run))
    assert other.report.total_pj != run.report.total_pj


def images(run: Run) -> np.ndarray:
    return np.load(run.folder.path / "images.npy")


def test_an_image_does_not_depend_on_how_many_are_made(mapping: Mapping, run: Run) -> None:
    alone = run_sampler(mapping, images=1, seed=3, threads=1)
    np.testing.assert_array_equal(images(alone)[0], images(run)[0])
    first = run.latency().query("image == 0").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.latency(), first)


def test_the_sampler_is_driven_by_the_simulated_spikes(tiny_unet: SpikingUNet, mapping: Mapping) -> None:
    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return tiny_unet(torch.from_numpy(x).double(), torch.from_numpy(t)).numpy()

    simulated = images(run_sampler(mapping, "ddim:4", seed=1, images=IMAGES, precision="float64", threads=1))
    expected = sample(denoise, parse_sampler("ddim:4"), (IMAGES, 1, 8, 8), seed=1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(simulated, expected, rtol=1e-6, atol=1e-6)


def test_packets_spikes_and_updates_are_conserved(run: Run, mapping: Mapping) -> None:
    steps, ticks = mapping.laid_out.time_steps, 4 + 19
    operations = run.operations()
    for step in range(2):
        events = pd.read_parquet(run.folder.path / "events" / f"{step:04d}.parquet")
        by_tick = events.groupby("tick").sum()
        assert len(by_tick) == ticks
        np.testing.assert_array_equal(by_tick["packet_in"], by_tick["packet_out"])
        total = events.sum()
        assert 0 < total["tile_local"] < total["packet_out"]
        assert total["chip_crossing"] == 0
        layer = mapping.layer_of_core[events["core"]]
        fired = events.groupby(layer)["spike"].sum()
        traced = operations[operations["sampler_step"] == step].groupby("layer")["spikes"].sum()
        for name in mapping.grids:
            assert fired[name] == traced.get(name, 0)
        assert fired.sum() == traced.sum() > 0
        updates = (events["update_active"] + events["update_idle"]).groupby(events["core"]).sum()
        np.testing.assert_array_equal(updates, mapping.cores["compartments"] * ticks * IMAGES)
        assert (events["update_active"] >= events["spike"]).all()
        neurons = mapping.cores["compartments"].to_numpy()[events["core"]]
        assert (events["update_active"] <= neurons * IMAGES).all()
        working = (events["update_active"] > 0).groupby(events["core"]).sum()
        assert (working <= steps).all()


@pytest.mark.parametrize("name", LOIHI.calibrations)
def test_every_picojoule_is_in_one_cell(run: Run, mapping: Mapping, name: str) -> None:
    calibration = LOIHI.calibration(name)
    counts, latency = run.counts(), run.latency()
    report = price(Activity(counts, latency, mapping.chips), calibration)
    cells = report.cells
    assert report.uncosted == ()
    assert not cells.duplicated(["sampler_step", "layer", "core", "cause"]).any()
    for column in ("layer", "cause", "sampler_step"):
        assert cells.groupby(column)["energy_pj"].sum().sum() == pytest.approx(report.total_pj, rel=1e-12)
    by_core = cells.dropna(subset="core").groupby("core")["energy_pj"].sum().sum()
    beside = cells.loc[cells["core"].isna(), "energy_pj"].sum()
    assert by_core > 0 and by_core + beside == pytest.approx(report.total_pj, rel=1e-12)
    assert set(cells.loc[cells["energy_pj"].isna(), "cause"]) == set(report.unknown)
    assert set(cells.loc[cells["energy_pj"] == 0, "cause"]) == set(report.included)
    known = cells["energy_pj"].dropna()
    assert (known >= 0).all() and known.sum() == pytest.approx(report.total_pj, rel=1e-12)
    for event, count in counts.groupby("event")["count"].sum().items():
        assert cells.loc[cells["cause"] == event, "count"].sum() == count


def doubled(figure: Figure) -> Figure:
    return figure if figure.value is None else figure.model_copy(update={"value": 2 * figure.value})


@pytest.mark.parametrize("name", LOIHI.calibrations)
def test_twice_the_figures_cost_twice_the_energy(run: Run, name: str) -> None:
    once = LOIHI.calibration(name)
    events = {e: c.model_copy(update={"energy_pj": doubled(c.energy_pj)}) for e, c in once.events.items()}
    floor = {f: p.model_copy(update={"power_mw": doubled(p.power_mw)}) for f, p in once.floor.items()}
    twice: Calibration = once.model_copy(update={"events": events, "floor": floor})
    activity = Activity(run.counts(), run.latency(), 1)
    before, after = price(activity, once), price(activity, twice)
    np.testing.assert_array_equal(after.cells["energy_pj"], 2 * before.cells["energy_pj"])
    assert after.total_pj == pytest.approx(2 * before.total_pj, rel=1e-12)


def energy_pj(counts: EventCounts, calibration: Calibration) -> float:
    """Price one call."""
    times = analytic_times(counts, calibration)
    rows = [("layer", event, int(n.sum())) for event, n in counts.per_core.items()]
    rows += [(layer, event, n) for (layer, event), n in counts.beside.items()]
    events = pd.DataFrame(rows, columns=["layer", "event", "count"]).assign(sampler_step=0, core=0)
    latency = pd.DataFrame({"sampler_step": 0, "time_ns": (times.core_ns + times.barrier_ns).ravel()})
    return price(Activity(events, latency, counts.mapping.chips), calibration).total_pj


@pytest.mark.parametrize("name", LOIHI.calibrations)
@pytest.mark.parametrize("compartments", [1024, 100])
def test_more_spikes_never_cost_less(tiny_network: Network, name: str, compartments: int) -> None:
    calibration = LOIHI.calibration(name)
    counter = CoreCounter(map_on(tiny_network, small_loihi({"compartments": compartments})))
    rng = np.random.default_rng(0)
    draws = {p.name: rng.random((4, 1, *p.shape)) for p in tiny_network.neurons}
    before: EventCounts | None = None
    for rate in (0.0, 0.1, 0.3, 0.300001, 0.8, 1.0):
        spikes = {layer: draw < rate for layer, draw in draws.items()}
        now = counter.count(Call(tiny_network, np.zeros((1, 1, 8, 8)), spikes, spikes, {}))
        if before is not None:
            for event in CORE_EVENTS:
                if event != "update_idle":
                    assert (now.per_core[event] >= before.per_core[event]).all(), event
            more = analytic_times(now, calibration).core_ns - analytic_times(before, calibration).core_ns
            assert (more >= -1e-9).all()
            assert energy_pj(now, calibration) >= energy_pj(before, calibration) * (1 - 1e-12)
        before = now
    assert energy_pj(before, calibration) > 0
