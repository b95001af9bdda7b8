"""The public interface on the bundled model, as the README shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nsim


@pytest.fixture(scope="module")
def model() -> nsim.frontends.model.Model:
    return nsim.load("sddpm-digits")


@pytest.fixture(scope="module")
def mapping(model: nsim.frontends.model.Model) -> nsim.hw_models.mapping.mapping.Mapping:
    return nsim.map(model, chip="loihi")


@pytest.fixture(scope="module")
def run(mapping: nsim.hw_models.mapping.mapping.Mapping) -> nsim.reports.run.Run:
    return nsim.run(mapping, sampler="ddim:2", seed=0)


def test_bundled_model_says_what_its_weights_are(model: nsim.frontends.model.Model) -> None:
    assert model.workload == "sddpm"
    assert model.weights.startswith("scikit-learn digits, ")
    assert model.sampler == "ddim-unclamped:50"
    assert model.ann_twin_macs == 61_366_272


def test_simulate_takes_torch_and_numpy_alike(model: nsim.frontends.model.Model) -> None:
    x = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)
    t = np.array([10, 900])
    call = nsim.simulate(model, x, t)
    same = nsim.simulate(model, torch.from_numpy(x), torch.from_numpy(t))
    assert call.eps.shape == (2, 1, 16, 16)
    assert call.eps.dtype == np.float64
    assert np.array_equal(call.eps, same.eps)
    first = call.spikes["downblocks.0.neuron1"]
    assert first.dtype == bool
    assert first.shape == (4, 2, 32, 16, 16)
    assert int(call.counts["spikes"].sum()) == sum(int(s.sum()) for s in call.spikes.values())


def test_simulate_equals_the_trained_torch_module(model: nsim.frontends.model.Model) -> None:
    from nsim.workloads.checkpoints import find_checkpoint
    from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet

    content = torch.load(find_checkpoint("sddpm-digits"), weights_only=True)
    module = SpikingUNet(SDDPMConfig(**content["config"]["model"]))
    module.load_state_dict(content["net_model"])
    module.double().eval()
    x = np.random.default_rng(1).standard_normal((2, 1, 16, 16))
    t = np.array([30, 700])
    with torch.no_grad():
        expected = module(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    np.testing.assert_allclose(nsim.simulate(model, x, t).eps, expected, rtol=1e-9)


def test_mapping_tells_its_cores(mapping: nsim.hw_models.mapping.mapping.Mapping) -> None:
    used, available = mapping.utilization()["cores"]
    assert used == len(mapping.cores) == mapping.core_count
    assert mapping.chips == -(-used // 128)
    assert available == 128 * mapping.chips
    assert mapping.cores["compartments"].sum() == sum(
        p.size for p in mapping.laid_out.populations if p.kind != "source"
    )


def test_run_gives_tidy_frames_and_figures(run: nsim.reports.run.Run) -> None:
    assert list(run.energy().columns) == ["sampler_step", "layer", "core", "cause", "count", "energy_pj"]
    assert set(run.latency()["sampler_step"]) == {0, 1}
    assert list(run.counts().columns) == ["sampler_step", "layer", "core", "event", "count"]
    total = run.energy().groupby("cause").energy_pj.sum().sum()
    assert total == pytest.approx(run.report.total_pj, rel=1e-12)
    for name in ("energy", "latency", "layers", "rates", "operations", "samples"):
        assert getattr(run.plot, name)().axes, f"plot.{name} is empty"


def test_threshold_and_time_steps_change_the_model(tmp_path: Path) -> None:
    changed = nsim.load("sddpm-digits", time_steps=2, v_threshold=0.997)
    assert changed.network.time_steps == 2
    assert {p.neuron.v_threshold for p in changed.network.neurons if p.neuron} == {0.997}
