"""The table of all workloads: its figures against independent counts, refusals in words, never 0."""

from __future__ import annotations

from functools import cache

import pytest
from torch import nn

from nsim.frontends.model import Model
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.mapping import map_model
from nsim.reports.estimate import static_estimates
from nsim.reports.released_models import RELEASED
from nsim.reports.workload_tables import figure, large, markdown, notes, workload_grids
from nsim.reports.workloads import WorkloadTable, workload_table
from nsim.workloads.lateral import LateralConfig
from nsim.workloads.load import sddpm_model
from nsim.workloads.load_lateral import lateral_model
from nsim.workloads.load_spiking_diffusion import spiking_diffusion_model
from nsim.workloads.named import NAMED, workload_groups
from nsim.workloads.random_weights import (
    WEIGHTS,
    random_lateral,
    random_spiking_diffusion,
    random_unet,
)
from nsim.workloads.sddpm import SDDPMConfig
from nsim.workloads.spiking_diffusion import SpikingDiffusionConfig
from nsim.workloads.twin import twin_counts
from tests.command_line import nsim_exit_code, nsim_json

UNET = SDDPMConfig(1, 8, 8, (1, 2), blocks_per_level=1, time_steps=3)
TOKENS = SpikingDiffusionConfig(
    image_size=8, code_count=8, code_width=4, vae_widths=(4, 8), sdid_widths=(4, 8, 8, 8, 4), time_steps=5
)
RATE = 0.1


def load(name: str) -> Model:
    """Small models under the names that the table asks for."""
    if name == "unet":
        return sddpm_model(name, random_unet(UNET, 0), f"{WEIGHTS} (seed 0)")
    return spiking_diffusion_model(
        name, *random_spiking_diffusion(TOKENS, 0), "trained on nothing, 1 iteration"
    )


@cache
def table() -> WorkloadTable:
    return workload_table([("unet", "net"), ("tokens",)], ["loihi", "loihi2", "speck"], RATE, load)


def test_rows_say_what_the_model_is_and_computes() -> None:
    unet, tokens, decoder = table().rows
    model = load("unet")
    assert (unet.names, unet.part, unet.time_steps, unet.calls) == (("unet", "net"), "denoiser", 3, 50)
    assert unet.parameters == model.parameters
    assert unet.neurons == sum(p.size for p in model.network.neurons)
    assert unet.ac == pytest.approx(RATE * 3 * unet.synapses)
    # of one call: the image's convolution and the tail's two at every time step, shortcuts, time embedding
    assert unet.mac > 3 * (9 * 8 * 8 * 8 - 400)
    assert (tokens.part, tokens.calls, tokens.time_steps) == ("denoiser", 4, 5)
    assert (decoder.part, decoder.calls, decoder.parameters) == ("decoder", 1, None)
    assert decoder.names == tokens.names == ("tokens",)


def test_macs_of_a_call_are_those_a_call_counts() -> None:
    import numpy as np

    from nsim.simulator.engine import Engine

    model = load("unet")
    call = Engine(model.network).call(np.zeros((1, 1, 8, 8)), np.array([5]))
    assert table().rows[0].mac == call.counts["mac"].sum()


def test_a_chip_costs_what_the_static_estimate_says() -> None:
    mapping = map_model(load("unet"), "loihi", "expand", "row-major")
    (estimate,) = static_estimates(mapping, RATE, load_chip("loihi").calibration())
    loihi, loihi2, _ = table().rows[0].chips
    assert loihi.energy_uj == pytest.approx(estimate.report.total_pj / 1e6)
    assert loihi.time_ms == pytest.approx(estimate.time_ns / 1e6)
    assert loihi.cores == mapping.core_count
    assert loihi2.energy_uj is None and loihi2.unknown.startswith("Intel has published no energy")


def test_what_does_not_fit_is_said_and_never_0() -> None:
    speck = table().rows[0].chips[2]
    assert speck.refused.startswith("unet: 29 layers take a core each, speck has 9; ")
    (line,) = [row for row in workload_grids(table())[1].rows if row[:2] == ("unet, net", "speck")]
    assert line[2:] == ("host: unet: 29 layers take a core each, speck has 9", *["n/a"] * 5)


def test_the_twin_is_named_once_for_all_its_workloads() -> None:
    (twin,) = table().twins
    counts = twin_counts(UNET)
    assert (twin.names, twin.mac, twin.parameters) == (("unet", "net"), counts.macs, counts.parameters)
    assert twin.energy_pj["ann45"] == pytest.approx(4.6 * counts.macs)


def test_released_models_have_the_parameters_of_their_layers() -> None:
    """FSVAE's generator and SGAD's, built of torch modules."""

    def block(layer: nn.Module, norm: nn.Module) -> list[nn.Module]:
        return [layer, norm]

    up = {"stride": 2, "padding": 1}
    fsvae = nn.Sequential(
        *(
            m
            for a, b in ((128, 256), (256, 512), (512, 128 * 20), (128, 256 * 4))
            for m in block(nn.Linear(a, b), nn.BatchNorm1d(b))
        ),
        *(
            m
            for a, b in ((256, 128), (128, 64), (64, 32), (32, 32))
            for m in block(nn.ConvTranspose2d(a, b, 3, output_padding=1, **up), nn.BatchNorm2d(b))
        ),
        nn.ConvTranspose2d(32, 3, 3, padding=1),
    )
    sgad = nn.Sequential(
        *(m for a, b in ((20, 1024), (1024, 128 * 64)) for m in block(nn.Linear(a, b), nn.BatchNorm1d(b))),
        *(
            m
            for a, b in ((128, 64), (64, 32))
            for m in block(nn.ConvTranspose2d(a, b, 4, **up), nn.BatchNorm2d(b))
        ),
        nn.ConvTranspose2d(32, 3, 4, **up),
    )
    for model, built in zip(RELEASED, (fsvae, sgad), strict=True):
        facts = model.facts(rate=0.5)
        assert facts["parameters"] == sum(p.numel() for p in built.parameters()), model.name
        assert facts["energy_pj"] is None and facts["why_unknown"]
        assert facts["energy_pj_at_rate"]["A"] == pytest.approx(0.9 * 0.5 * facts["dense_macs"])


def test_tables_and_notes() -> None:
    sizes, chips, twins, released = workload_grids(table())
    assert [row[:4] for row in sizes.rows] == [
        ("unet, net", "random", "3", "50"),
        ("tokens", "trained", "5", "4"),
        ("tokens: decoder", "trained", "5", "1"),
    ]
    assert sizes.rows[2][4] == "n/a"
    assert len(chips.rows) == 9 and len(twins.rows) == 1 and len(released.rows) == 2
    said = notes(table())
    assert said[0].startswith("Static estimates at a firing rate of 0.1")
    assert (
        "weights of unet, net: random, BatchNorm statistics calibrated on noise; not trained (seed 0)" in said
    )
    assert any(line.startswith("loihi, no figure for: barrier, ") for line in said)
    assert "| tokens: decoder | trained |" in markdown(table())
    assert not any("routers select" in line for line in said)


def test_what_routers_leave_out_is_said() -> None:
    config = LateralConfig(1, 8, width=16, depth=1, heads=2, time_steps=2, mlp_ratio=2)

    def load_lateral(name: str) -> Model:
        return lateral_model(name, random_lateral(config, 0), "random", "ddim:50")

    one = workload_table([("lateral",)], [], RATE, load_lateral)
    assert one.rows[0].ac < RATE * one.rows[0].synapses * 2
    line = "lateral: AC and chips by what routers select; the conventions count every candidate."
    assert line in notes(one)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (512, "512"),
        (999.6, "1.00 k"),
        (6.2e9, "6.20 G"),
        (66_696_413, "66.7 M"),
        (1.5e12, "1.50 T"),
    ],
)
def test_large_numbers_have_three_digits(number: float, text: str) -> None:
    assert large(number) == text


def test_figures_are_never_in_powers_of_ten() -> None:
    assert [figure(v) for v in (2993.86, 29.2104, 0.042907)] == ["2,994", "29.21", "0.04291"]


def test_every_named_workload_is_in_one_group() -> None:
    groups = workload_groups()
    names = [name for group in groups for name in group]
    assert len(names) == len(set(names)) and set(NAMED) < set(names) and "sddpm-digits" in names
    assert ("sddpm-celeba", "sddpm-lsun") in groups


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    facts = nsim_json(monkeypatch, capsys, "workloads", "sddpm-digits", "--chip", "loihi", "--rate", "0.25")
    (row,) = facts["workloads"]
    assert facts["assumed_firing_rate"] == 0.25 and row["names"] == ["sddpm-digits"]
    assert row["chips"][0]["energy_uj"] > 0 and set(row["energy_pj"]) == {"A", "B", "C", "C'", "D"}
    assert [model["name"] for model in facts["released_models"]] == ["FSVAE", "SGAD"]
    assert nsim_exit_code(monkeypatch, "workloads", "sddpm-digits", "--chip", "loihi,nochip") == 2
    assert capsys.readouterr().err.startswith("nsim: no chip 'nochip'. Bundled: ")
