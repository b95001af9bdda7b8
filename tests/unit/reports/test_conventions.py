"""The papers' counting conventions against the published numbers of SDDPM's CIFAR-10 model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import nsim
from nsim.errors import RunError
from nsim.frontends.network import Network
from nsim.hw_models.catalog import load_chip, load_cost_rule, load_memory_rule
from nsim.reports.conventions import CONVENTIONS, Work, find_convention, mean_rate, work_of
from nsim.reports.energy_models import COLUMNS, energy_models, parse_energy, side_by_side
from nsim.reports.lemaire import lemaire_energy
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.reports.traced_layers import traced_layers
from nsim.simulator.call import Call
from nsim.units import PJ_PER_MJ
from nsim.workloads.sddpm import SDDPMConfig
from nsim.workloads.twin import twin_counts
from tests.networks import model_of

RULE = load_cost_rule("ann45")
PAPER_MJ = {4: 10.97, 8: 22.96}


@pytest.fixture(scope="module")
def work(cifar10_network: Network) -> Work:
    return work_of(traced_layers(cifar10_network), 4)


def test_work_of_the_papers_model(work: Work) -> None:
    assert work.spike_macs == 6_200_229_888
    assert work.first_macs == 3_538_944
    assert work.analog_macs == 272_629_760 + 3_538_944 + 82_944
    assert work.linear_macs == 3_801_088
    assert work.neurons == 3_416_064


@pytest.mark.parametrize(
    ("letter", "rate_4", "rate_8"),
    [
        ("A", 0.491, 0.514),
        ("B", 0.470, 0.492),
        ("C", 0.260, 0.283),
        ("C'", 0.254, 0.277),
        ("D", 0.446, 0.469),
    ],
)
def test_firing_rates_that_the_papers_energies_imply(
    work: Work, letter: str, rate_4: float, rate_8: float
) -> None:
    convention = find_convention(letter)
    for steps, rate in ((4, rate_4), (8, rate_8)):
        energy_pj = PAPER_MJ[steps] * PJ_PER_MJ
        implied = convention.implied_rate(replace(work, time_steps=steps), energy_pj, RULE)
        assert implied == pytest.approx(rate, abs=0.0006)


@pytest.mark.parametrize(
    ("letter", "steps", "rate", "energy_mj"),
    [("B", 4, 0.4698, 10.97), ("B", 8, 0.4920, 22.96), ("C", 4, 0.2600, 10.97), ("C", 8, 0.2833, 22.96)],
)
def test_energies_at_given_rates(work: Work, letter: str, steps: int, rate: float, energy_mj: float) -> None:
    energy = find_convention(letter).energy_pj(replace(work, time_steps=steps), rate, RULE)
    assert energy / PJ_PER_MJ == pytest.approx(energy_mj, abs=0.005)


def test_the_ann_twin_by_the_papers_rule() -> None:
    twin = twin_counts(SDDPMConfig())
    assert RULE.mac_pj.value is not None
    least, most = (RULE.mac_pj.value * n for n in (twin.conv_macs, twin.macs + twin.conv_outputs))
    assert least / PJ_PER_MJ == pytest.approx(29.19, abs=0.005)
    assert most / PJ_PER_MJ == pytest.approx(29.23, abs=0.005)


def test_names_and_letters() -> None:
    assert find_convention("C'") is find_convention("syops")
    assert find_convention("sddpm-paper").letter == "B"
    with pytest.raises(RunError) as error:
        find_convention("E")
    assert str(error.value) == (
        "no counting convention 'E'; known: A (spikes-only), B (sddpm-paper), C (by-input), C' (syops), "
        "D (non-zero)"
    )


def test_the_rate_is_weighted_by_operations(tiny_network: Network, tiny_call: Call) -> None:
    """At that one rate, dense operations times rate are those that each layer's own rate gives."""
    layers = traced_layers(tiny_network)
    rates = {name: float(spikes.mean()) for name, spikes in tiny_call.spikes.items()}
    rate = mean_rate(layers, rates)
    fed = layers[(layers["kind"] == "conv") & (layers["input"] == "spikes")]
    one_by_one = sum(layer.dense_macs * rates[layer.source] for layer in fed.itertuples())
    assert rate * work_of(layers, 4).spike_macs == pytest.approx(one_by_one)
    assert 0 < rate < 1 and rate != pytest.approx(np.mean(list(rates.values())))


def layer(**values: object) -> pd.DataFrame:
    base = dict.fromkeys(traced_layers.__globals__["COLUMNS"], 1)
    base.update(layer="conv", kind="conv", input="spikes", source="a", target="b", every_step=True)
    return pd.DataFrame([{**base, **values}])


def test_lemaire_of_one_convolution() -> None:
    """3 x 3, stride 2, 4 to 8 channels, 16 x 16 to 8 x 8, 100 spikes, by the paper's formulas."""
    conv = layer(
        kernel_rows=3,
        kernel_columns=3,
        stride_rows=2,
        stride_columns=2,
        channels_in=4,
        rows_in=16,
        columns_in=16,
        channels_out=8,
        rows_out=8,
        columns_out=8,
        dense_macs=4 * 8 * 9 * 64,
        elements=8 * 64,
    )
    energy = lemaire_energy(conv, {"a": 100.0}, 4, load_memory_rule("lemaire2022"))
    reads = 100 * 8 * 9
    assert energy["weights"] == pytest.approx(reads * (13.2 + 1.09e-5 * 4 * 8 * 9 * 32))
    assert energy["potentials"] == pytest.approx(2 * reads * (13.2 + 1.09e-5 * 512 * 32))
    assert energy["inputs and outputs"] == pytest.approx(100 * (13.2 + 1.09e-5 * 1024 * 32))
    assert energy["operations"] == pytest.approx(100 * 2 * 2 * 8 * 0.1)
    assert energy["addressing"] == pytest.approx(100 * (2 * 3.2 + 9 * 0.1))
    assert energy["biases"] == 0.0
    twice = lemaire_energy(conv.assign(upsample=2), {"a": 100.0}, 4, load_memory_rule("lemaire2022"))
    assert twice["weights"] == 4 * energy["weights"]  # an up-sampled spike counts as its copies


@pytest.mark.parametrize(("kind", "leak"), [("IF", 0.0), ("LIF", 3.1)])
def test_lemaire_of_neurons(kind: str, leak: float) -> None:
    neurons = layer(layer="b", kind=kind, input="analog", channels_out=8, elements=512)
    energy = lemaire_energy(neurons, {"b": 30.0}, 4, load_memory_rule("lemaire2022"))
    updates = 4 * 512
    assert energy["potentials"] == pytest.approx(2 * updates * (13.2 + 1.09e-5 * 512 * 32))
    assert energy["biases"] == pytest.approx(updates * (13.2 + 1.09e-5 * 8 * 32))
    assert energy["operations"] == pytest.approx((updates + 30) * 0.1 + updates * leak)
    assert energy["inputs and outputs"] == pytest.approx(30 * (13.2 + 1.09e-5 * 512 * 32))
    assert energy["weights"] == energy["addressing"] == 0.0


@pytest.fixture(scope="module")
def run(tiny_network: Network) -> Run:
    return run_sampler(nsim.map(model_of(tiny_network, "ddim:2"), "loihi"), images=2, threads=1)


def test_side_by_side(run: Run) -> None:
    names = energy_models(run.chip)
    assert names[:5] == ["boardfit", "davies2018", "sanafe", "horowitz45", "lemaire2022"]
    table = side_by_side(run, names)
    assert list(table.columns) == COLUMNS
    energy = table.set_index("model")["energy_pj"]
    assert energy["boardfit"] == pytest.approx(run.report.total_pj / 4)
    assert energy["horowitz45"] == run.papers_rule.energy_pj
    events = run.counts().groupby("event")["count"].sum()
    assert energy["sanafe"] == pytest.approx(
        (
            51.2 * (events["update_idle"] + events["update_active"])
            + 21.6 * events["update_active"]
            + 69.3 * events["spike"]
            + 111 * events["packet_out"]
            + 3.0 * events["hop_x"]
            + 4.2 * events.get("hop_y", 0)
            + 24.0 * events.get("synaptic_event_conv", 0)
            + 35.5 * events.get("synaptic_event_dense", 0)
        )
        / 4
    )


def test_another_calibration_is_timed_with_its_own_figures(run: Run) -> None:
    other = run.energy("davies2018").groupby("cause")["energy_pj"].sum()
    rows = run.calibrations(draws=100).set_index("calibration")
    assert rows.loc["davies2018", "time_ns"] != rows.loc["boardfit", "time_ns"]
    assert rows.loc["boardfit", "time_ns"] == run.latency()["time_ns"].sum()
    assert other["static"] == pytest.approx(rows.loc["davies2018", "time_ns"] * 104 * run.manifest["chips"])


def test_a_run_timed_with_another_calibration_says_the_same(run: Run, tiny_network: Network) -> None:
    mapping = nsim.map(model_of(tiny_network, "ddim:2"), "loihi")
    direct = run_sampler(mapping, images=2, calibration="davies2018", threads=1)
    assert direct.report.total_pj == pytest.approx(run.report_by("davies2018").total_pj, rel=1e-12)


def test_lists_of_models() -> None:
    loihi = load_chip("loihi")
    assert parse_energy("davies2018, B,C'", loihi) == ["davies2018", "sddpm-paper", "syops"]
    assert parse_energy("all", loihi) == energy_models(loihi)
    with pytest.raises(RunError) as error:
        parse_energy("boardfit,magic", loihi)
    assert str(error.value) == (
        "no energy model 'magic' for loihi; known: boardfit, davies2018, sanafe, horowitz45, lemaire2022, "
        f"{', '.join(c.name for c in CONVENTIONS)}, or all"
    )
