"""Spiking-Diffusion at a small size: files, both halves, the pipeline on a chip, tokens filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.table import Table

import nsim
from nsim.errors import ModelFileError, RunError
from nsim.frontends.lower import lower
from nsim.reports.check import check_facts, check_model
from nsim.reports.energy_models import energy_models, side_by_side
from nsim.reports.estimate import static_estimates
from nsim.reports.mapping_tables import mapping_facts, mapping_tables
from nsim.reports.replay import replay
from nsim.reports.tables import per_call_facts, run_tables
from nsim.simulator.engine import Engine
from nsim.workloads.random_weights import calibrate_batch_norm
from nsim.workloads.samplers import Absorbing, parse_sampler
from nsim.workloads.spiking_diffusion import (
    SDID,
    VQSVAE,
    Decoder,
    Encoder,
    SpikingDiffusionConfig,
    psp_weights,
)

SMALL = SpikingDiffusionConfig(
    code_count=8, code_width=4, vae_widths=(4, 6), sdid_widths=(4, 6, 8, 10, 6), time_steps=16
)


@pytest.fixture(scope="module")
def modules() -> tuple[VQSVAE, SDID]:
    torch.manual_seed(0)
    vae, sdid = VQSVAE(SMALL), SDID(SMALL)
    image = torch.rand(2, 1, 28, 28) - 0.5
    calibrate_batch_norm(vae, image)
    calibrate_batch_norm(sdid, torch.randint(0, 9, (2, 1, 7, 7)).float(), torch.tensor([20, 40]))
    return vae.double(), sdid.double()


@pytest.fixture(scope="module")
def folder(modules: tuple[VQSVAE, SDID], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' two files."""
    path = tmp_path_factory.mktemp("small")
    for module, name in zip(modules, ("model.pth", "diff_model.pth"), strict=True):
        torch.save(
            {k: v.float() if v.is_floating_point() else v for k, v in module.state_dict().items()},
            path / name,
        )
    return path


def test_keys_and_sizes_are_the_authors() -> None:
    vae, sdid = VQSVAE(SpikingDiffusionConfig()), SDID(SpikingDiffusionConfig())
    assert len(vae.state_dict()) == 48
    assert len(sdid.state_dict()) == 37
    assert sum(p.numel() for p in vae.parameters()) == 50_658
    assert sum(p.numel() for p in sdid.parameters()) == 3_101_504


def test_lowered_networks_equal_torch(modules: tuple[VQSVAE, SDID]) -> None:
    vae, sdid = modules
    rng = np.random.default_rng(1)
    image, tokens = rng.uniform(-0.5, 0.5, (2, 1, 28, 28)), rng.integers(0, 9, (2, 1, 7, 7)).astype(float)
    t = np.array([3, 49])
    for module, inputs in (
        (Encoder(vae), (image,)),
        (Decoder(vae), (np.minimum(tokens, 7),)),
        (sdid, (tokens, t)),
    ):
        call = Engine(lower(module, inputs[0].shape[1:], 16, "small"), "float64", 1).call(*inputs)
        assert all(spikes.any() for spikes in call.spikes.values())
        with torch.no_grad():
            expected = module(*map(torch.from_numpy, inputs)).numpy()
        np.testing.assert_allclose(call.eps, expected, rtol=1e-9, atol=1e-12)


def test_nothing_is_left_uncounted(modules: tuple[VQSVAE, SDID]) -> None:
    encoder = lower(Encoder(modules[0]), (1, 28, 28), 16, "encoder")
    ops = {op.kind: op for op in encoder.host_ops}
    assert ops["nearest_code"].macs == 7 * 7 * 4 * 8
    assert ops["nearest_code"].elementwise == 7 * 7 * (4 + 3 * 8)
    assert ops["mean_over_time"].elementwise == 4 * 7 * 7
    paper = lower(SDID(SpikingDiffusionConfig()), (1, 7, 7), 16, "sdid")
    dense = sum(
        p.kernel.dense_operations(paper.population_by_name[p.target].shape[1:]) for p in paper.projections
    )
    assert dense == 151_788_672


def test_the_papers_psp_is_an_exponential_average() -> None:
    spikes = np.random.default_rng(0).integers(0, 2, (16, 5))
    v = np.zeros(5)
    for s in spikes:
        v += (s - v) / 2
    np.testing.assert_allclose(psp_weights(16, "paper").numpy() @ spikes, v, rtol=1e-6)
    np.testing.assert_allclose(psp_weights(16, "code").numpy(), 0.8 ** np.arange(15, -1, -1), rtol=1e-6)


def test_the_papers_psp_changes_the_codes(folder: Path) -> None:
    image = np.random.default_rng(2).uniform(-0.5, 0.5, (1, 1, 28, 28))
    tokens = [nsim.simulate(nsim.load(folder / "model.pth", psp=psp), image).eps for psp in ("code", "paper")]
    assert tokens[0].shape == (1, 1, 7, 7)
    assert not np.array_equal(*tokens)


def test_files_are_recognised(folder: Path) -> None:
    vae, sdid, both = (nsim.load(folder / name) for name in ("model.pth", "diff_model.pth", ""))
    assert [m.workload for m in (vae, sdid, both)] == ["vq-svae", "sdid", "spiking-diffusion"]
    assert (sdid.codes, both.codes, both.sampler) == (8, 8, "absorbing:49")
    assert vae.decoder is not None and sdid.decoder is None and both.decoder is not None
    assert both.parameters == vae.parameters + sdid.parameters
    changed = nsim.load(folder, v_threshold={"conv1.2": 0.5, "*": 0.9})
    assert {p.name: p.neuron.v_threshold for n in changed.networks for p in n.neurons if p.neuron} == {
        p.name: 0.5 if p.name == "conv1.2" else 0.9 for n in both.networks for p in n.neurons
    }


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as error:
        nsim.load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: a folder is a model when it holds diff_model.pth and model.pth; "
        "diff_model.pth is not there"
    )
    with pytest.raises(ModelFileError, match="has its 16 time steps in its weights, 4 cannot be had"):
        nsim.load(folder, time_steps=4)
    with pytest.raises(RunError, match="is no denoiser: there is nothing to sample"):
        nsim.run(nsim.map(nsim.load(folder / "model.pth")))
    with pytest.raises(RunError, match="not for this sampler, but for absorbing:N"):
        nsim.run(nsim.map(nsim.load(folder / "diff_model.pth")), "ddim:5")


def test_the_pipeline_is_priced_together(folder: Path) -> None:
    mapping = nsim.map(nsim.load(folder))
    assert mapping.decoder is not None
    run = nsim.run(mapping, "absorbing:3", images=2)
    first = mapping.core_count
    assert run.manifest["cores"] == first + mapping.decoder.core_count == len(run.cores)
    assert run.manifest["chips"] == 2
    counts = run.counts()
    assert sorted(counts["sampler_step"].unique()) == [0, 1, 2, 3]
    cores = counts.dropna(subset="core")
    decoding = cores["sampler_step"] == 3
    assert (cores[decoding]["core"] >= first).all() and (cores[~decoding]["core"] < first).all()
    layers = run.cores.set_index("core")["layer"]
    assert (cores["layer"].to_numpy() == layers.loc[cores["core"]].to_numpy()).all()
    beside = counts[counts["core"].isna()]
    assert "codes" not in set(beside[beside["sampler_step"] < 3]["layer"])
    # spikes on the cores are the spikes of the traced networks
    spikes = counts[counts["event"] == "spike"].groupby("sampler_step")["count"].sum()
    traced = run.operations().groupby("sampler_step")["spikes"].sum()
    assert (spikes == traced).all() and (spikes > 0).all()
    assert run.report.uncosted == ()
    energy = run.energy()
    for floor in run.calibration.floor:
        assert energy[energy["cause"] == floor]["sampler_step"].tolist() == [0, 1, 2, 3]
    images = np.load(run.folder.path / "images.npy")
    assert images.shape == (2, 1, 28, 28) and np.abs(images).max() <= 1


def test_a_call_costs_the_same_with_and_without_a_decoder_behind_it(folder: Path) -> None:
    """What is said of one denoiser call leaves the decoder's out; the two parts are the whole."""
    whole, alone = (
        nsim.run(nsim.map(nsim.load(folder / name)), "absorbing:3", images=2)
        for name in ("", "diff_model.pth")
    )
    assert (whole.calls, whole.denoiser.calls, alone.calls) == (8, 6, 6)
    assert whole.decoder is not None and alone.decoder is None and whole.decoder.calls == 2
    of_whole, of_alone = per_call_facts(whole), per_call_facts(alone)
    for facts in ("as_traced", "as_laid_out", "time_ns", "papers_rule_energy_pj"):
        assert of_whole[facts] == of_alone[facts], facts
    # an idle chip is powered all the same, and nothing else differs
    causes = [r.denoiser.report.by_cause().set_index("cause")["energy_pj"] for r in (whole, alone)]
    floors = list(whole.calibration.floor)
    np.testing.assert_allclose(*(c.drop(floors).sort_index() for c in causes))
    np.testing.assert_allclose(causes[0][floors], 2 * causes[1][floors])
    chips = set(whole.chip.calibrations)
    models = [m for m in energy_models(whole.chip) if m not in chips]
    priced = [side_by_side(r, models)["energy_pj"] for r in (whole, alone)]
    np.testing.assert_allclose(*priced)
    parts = whole.denoiser, whole.decoder
    assert sum(p.report.total_pj for p in parts) == pytest.approx(whole.report.total_pj)
    assert sum(len(p.latency()) for p in parts) == len(whole.latency())
    assert sum(len(p.cores) for p in parts) == len(whole.cores)
    *tables, last = run_tables(whole)
    titles = [table.title for table in tables if isinstance(table, Table)]
    assert "Energy by cause, the decoder, once per image" in titles
    assert str(last).endswith("for 6 calls and 2 of the decoder")


def test_the_map_shows_the_decoder_too(folder: Path) -> None:
    mapping = nsim.map(nsim.load(folder))
    estimates = static_estimates(mapping, 0.2, mapping.chip.calibration(None))
    facts = mapping_facts(mapping, estimates)
    assert facts["cores"] == mapping.core_count
    assert [layer["layer"] for layer in facts["decoder"]["layers"]] == list(mapping.parts[1].grids)
    assert facts["decoder"]["model"] == f"{mapping.model.name}, decoder"
    heads = [item for item in mapping_tables(mapping, estimates) if isinstance(item, str)]
    assert any(head.startswith(f"{mapping.model.name}, decoder on Intel Loihi") for head in heads)


@pytest.mark.parametrize("step", [2, 3])
def test_a_step_is_played_again(folder: Path, step: int) -> None:
    """The last sampler step and the decoder's, with thresholds layer by layer."""
    model = nsim.load(folder, v_threshold={"conv1.2": 0.5, "*": 0.9})
    run = nsim.run(nsim.map(model), "absorbing:3", images=2)
    again = replay(run, step, str(folder))
    assert again.call.network.name == model.networks[step == 3].name
    spikes = run.counts().query("event == 'spike' and sampler_step == @step")["count"].sum()
    assert again.counts.per_core["spike"].sum() == spikes > 0


def test_both_networks_are_played_in_integers(folder: Path) -> None:
    mapping = nsim.map(nsim.load(folder), weight_bits=8)
    assert [part.weight_bits for part in mapping.parts] == [8, 8]
    run = nsim.run(mapping, "absorbing:3")
    assert run.manifest["precision"] == "int"
    assert run.manifest["model"]["weights"].endswith("rounded to 8 bits")
    counts, traced = run.counts(), run.operations().groupby("sampler_step")["spikes"].sum()
    spikes = counts[counts["event"] == "spike"].groupby("sampler_step")["count"].sum()
    assert (spikes == traced).all() and (spikes > 0).all()


def test_both_networks_are_checked_against_brian2(folder: Path) -> None:
    model = nsim.load(folder)
    facts = check_facts(model, check_model(model, per_layer=2, seed=0))
    assert facts["agrees"]
    assert [row["layer"] for row in facts["layers"]] == [p.name for n in model.networks for p in n.neurons]


def test_absorbing_fills_in_every_token_once() -> None:
    sampler = Absorbing(seed=1, codes=8, cells=49)
    assert sampler.timesteps.tolist() == list(range(49, 0, -1))
    rng = np.random.default_rng(0)
    x = sampler.initial((2, 1, 7, 7), 0)
    assert (x == 8).all()
    for t in sampler.timesteps:
        before, x = x, sampler.step(rng.normal(size=(2, 8, 7, 7)), t, x).prev_sample
        filled = before != 8
        np.testing.assert_array_equal(x[filled], before[filled])
    assert (x < 8).all()


def test_absorbing_draws_from_the_softmax_at_a_temperature() -> None:
    logits = np.log([0.1, 0.2, 0.7])[None, :, None, None] * np.ones((64, 1, 7, 7))
    for temperature, expected in ((1.0, [0.1, 0.2, 0.7]), (0.5, np.square([0.1, 0.2, 0.7]) / 0.54)):
        sampler = Absorbing(0, codes=3, cells=49, temperature=temperature)
        sampler.set_timesteps(1)
        x = sampler.step(logits, 49, sampler.initial((64, 1, 7, 7), 0)).prev_sample
        np.testing.assert_allclose(np.bincount(x.astype(int).ravel()) / x.size, expected, atol=0.03)


def test_absorbing_chooses_one_in_t() -> None:
    sampler = Absorbing(0, codes=3, cells=49)
    x = sampler.step(np.zeros((200, 3, 7, 7)), 10, sampler.initial((200, 1, 7, 7), 0)).prev_sample
    assert abs((x < 3).mean() - 0.1) < 0.01


def test_absorbing_is_written_as_it_is_read() -> None:
    assert str(parse_sampler("absorbing:49")) == "absorbing:49"
    assert str(parse_sampler("absorbing:10@0.9")) == "absorbing:10@0.9"
    assert replace(parse_sampler("absorbing:10@0.9"), temperature=0.65) == parse_sampler("absorbing:10")
    with pytest.raises(RunError, match="a temperature above 0"):
        parse_sampler("absorbing:10@0")


def test_the_papers_size_by_name_is_random_and_fires() -> None:
    model = nsim.load("spiking-diffusion-mnist")
    assert model.parameters == 3_101_504 + 50_658
    assert sum(p.size for p in model.network.neurons) == 59_584
    assert (model.codes, model.sampler, model.network.time_steps) == (128, "absorbing:49", 16)
    assert model.weights.startswith("random, BatchNorm statistics calibrated on noise; not trained")
    short = nsim.load("spiking-diffusion-mnist", time_steps=2, v_threshold=0.9)
    assert short.sha256 != model.sha256
    assert {p.neuron.v_threshold for p in short.network.neurons if p.neuron} == {0.9}
    tokens = np.random.default_rng(0).integers(0, 129, (1, 1, 7, 7))
    rates = [spikes.mean() for spikes in Engine(short.network).call(tokens, np.array([24])).spikes.values()]
    assert 0.02 < min(rates) <= max(rates) < 0.6
