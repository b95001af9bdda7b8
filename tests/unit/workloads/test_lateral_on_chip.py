"""The lateral selection transformer on chips: the host counts, and what is not selected costs nothing."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.table import Table

import nsim
from nsim.errors import MappingError
from nsim.frontends.lower import lower
from nsim.frontends.network import Gate, Network
from nsim.hw_models.catalog import load_any_chip, load_chip
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.policies import Policy, lay_out
from nsim.reports.check import check_facts, check_model
from nsim.reports.estimate import static_estimates
from nsim.reports.replay import replay
from nsim.reports.run import Run
from nsim.reports.sweep import Sweep
from nsim.reports.sweep_plan import plan_sweep
from nsim.reports.tables import run_tables
from nsim.reports.timeline import timeline
from nsim.reports.workers import Workers
from nsim.simulator import attention
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.timing import analytic_times
from nsim.workloads.lateral import LateralConfig, LateralRouter, LateralTransformer
from nsim.workloads.random_weights import random_lateral
from tests.command_line import nsim_json
from tests.networks import map_on, model_of

CONFIG = LateralConfig(
    image_channels=1, image_size=8, width=16, depth=1, heads=2, time_steps=3, v_threshold=0.3
)
STEPS, IMAGES, ELEMENTS, HIDDEN = 3, 2, 16 * 16, 64 * 16
CANDIDATES = [f"blocks.0.candidates.{i}" for i in range(3)]


def lively() -> LateralTransformer:
    """Random weights (nothing is trained); a lateral neuron drops a candidate in every second step."""
    module = random_lateral(CONFIG, seed=0)
    router = module.blocks[0].router
    assert isinstance(router, LateralRouter)
    module.blocks[0].gate[1].bias.data = torch.tensor([1.0, 0.9, 0.8])
    router.strength.data.fill_(2.0)
    router.threshold.data = torch.tensor([1.0, 9.0, 9.0])
    return module


@cache
def mapped() -> tuple[Network, Mapping, Call]:
    network = lower(lively(), (1, 8, 8), STEPS, "small")
    x = np.random.default_rng(0).normal(size=(IMAGES, 1, 8, 8))
    call = Engine(network, "float64", threads=1).call(x, np.array([5, 950]), keep_currents=True)
    return network, map_on(network, load_chip("loihi"), "host"), call


def turns(call: Call, name: str) -> tuple[int, int]:
    """Time steps in which a population ran, and how often it was switched on, image by image."""
    on = call.running[name].T.astype(int)
    return int(on.sum()), sum(int((np.diff([0, *image]) == 1).sum()) for image in on)


def test_what_the_host_does_is_counted_for_what_ran() -> None:
    """Every count worked out by hand."""
    network, mapping, call = mapped()
    counts = CoreCounter(mapping).count(call).beside
    every, once = STEPS * IMAGES, IMAGES
    expected = {
        ("patches", "host_mac"): once * 16 * 16 * 4,
        ("patches", "host_elementwise"): once * ELEMENTS,  # + position
        ("blocks.0.neuron", "host_elementwise"): every * ELEMENTS,  # + the time embedding
        ("blocks.0.neuron", "host_write"): every * ELEMENTS,
        ("blocks.0.neuron", "bias_write"): (every + once) * ELEMENTS,
        ("blocks.0.attention", "host_read"): every * 3 * ELEMENTS,
        ("blocks.0.attention", "host_elementwise"): every * ELEMENTS,
        ("blocks.0.attention_neuron", "host_write"): every * ELEMENTS,
        ("blocks.0.attention_neuron", "bias_write"): (every + once) * ELEMENTS,
        ("blocks.0", "host_read"): every * ELEMENTS,
        ("blocks.0", "host_elementwise"): every * ELEMENTS,
        ("blocks.0.sum", "host_elementwise"): 2 * every * ELEMENTS,  # two of three candidates
        ("mean", "host_elementwise"): every * ELEMENTS,
        ("norm", "host_elementwise"): once * ELEMENTS,
        ("head", "host_mac"): once * 8 * 8 * 16,
        ("blocks.0.router", "host_mac"): every * 9,
        ("blocks.0.router", "host_elementwise"): every * 12,
        ("chip", "state_reset"): once * mapping.chips,
    }
    expected |= {
        (f"blocks.0.{q}_neuron", "bias_write"): once * 2 * ELEMENTS for q in ("query", "key", "value")
    }
    for name in CANDIDATES:
        ran, switched_on = turns(call, name)
        expected |= {
            (f"{name}.neuron", "host_elementwise"): ran * ELEMENTS,
            (f"{name}.neuron", "host_write"): ran * ELEMENTS,
            (f"{name}.neuron", "bias_write"): (ran + switched_on) * ELEMENTS,
            (f"{name}.hidden_neuron", "bias_write"): 2 * switched_on * HIDDEN,
            (name, "host_read"): ran * ELEMENTS,
            (name, "host_elementwise"): ran * ELEMENTS,
            (name, "bias_write"): 2 * switched_on * ELEMENTS,
        }
    products = next(op for op in network.host_ops if op.kind == "attention")
    spikes = [call.spikes[name] for name in products.inputs]
    expected["blocks.0.attention", "host_spike_product"] = int(attention.products(products, spikes).sum())
    embedding = {
        key for key in counts if key[0].startswith(("time_embedding", "blocks.0.embedding", "blocks.0.gate"))
    }
    assert {key: n for key, n in counts.items() if key not in embedding} == {
        k: n for k, n in expected.items() if n
    }
    assert sum(turns(call, name)[1] for name in CANDIDATES) > 2 * IMAGES  # some were switched off and on


def test_cores_of_what_is_not_selected_are_idle() -> None:
    _, mapping, call = mapped()
    counts, switched = CoreCounter(mapping).count(call).per_core, False
    for name, grid in mapping.grids.items():
        cores = slice(grid.first_core, grid.first_core + grid.size)
        first = mapping.times.first_tick[name]
        window = {event: n[:, first : first + STEPS, cores] for event, n in counts.items()}
        visits = window["update_active"] + window["update_idle"]
        assert (visits == grid.used["compartments"].ravel()).all(), name
        if name not in call.running:
            continue
        off = ~call.running[name].T
        switched |= off.any()
        assert not off.all(), name
        for event in set(CORE_EVENTS) - {"update_idle", "packet_in"}:
            early = int(event.startswith("synaptic"))  # spikes come in the tick before the one that uses them
            at = slice(first - early, first - early + STEPS)
            assert (counts[event][:, at, cores][off] == 0).all(), (name, event)
        if name not in call.spikes:
            assert (window["update_active"][~off] == grid.used["compartments"].ravel()).all(), name
    assert switched
    assert counts["packet_out"].sum() == counts["packet_in"].sum() > 0


def test_the_expectation_is_the_mean_over_all_selections() -> None:
    network, mapping, _ = mapped()
    counter = CoreCounter(mapping)
    found = []
    for selected in combinations(range(3), 2):
        gates = {p.name: p.gate.index in selected for p in network.populations if p.gate}
        fired = {
            p.name: np.full((STEPS, 1, *p.shape), gates.get(p.name, True), bool) for p in network.neurons
        }
        running = {name: np.full((STEPS, 1), on) for name, on in gates.items()}
        call = Call(network, np.zeros((1, 1, 8, 8)), fired, fired, {}, running=running)
        found.append(counter.count(call))
    full, half = counter.expect(1.0), counter.expect(0.5)
    for event in CORE_EVENTS:
        mean = np.mean([counts.per_core[event] for counts in found], axis=0)
        np.testing.assert_allclose(full.per_core[event], mean, rtol=1e-12, err_msg=event)
        scale = 1.0 if event.startswith("update") else 0.5
        np.testing.assert_allclose(half.per_core[event], scale * mean, rtol=1e-12, err_msg=event)
    keys = {key for counts in found for key in counts.beside}
    assert full.beside.keys() == keys
    for key in keys:
        assert full.beside[key] == pytest.approx(np.mean([c.beside.get(key, 0) for c in found])), key


@pytest.mark.parametrize("order", ["queries first", "keys first"])
def test_expected_products_of_spikes(order: str) -> None:
    config = replace(CONFIG, attention_order=order)  # type: ignore[arg-type]
    network = lower(random_lateral(config, 0), (1, 8, 8), STEPS, "small")
    op = next(op for op in network.host_ops if op.kind == "attention")
    draws = np.random.default_rng(0).random((3, 1, 600, 16, 4, 4)) < 0.3
    assert attention.products(op, list(draws)).mean() == pytest.approx(
        attention.expected_products(op, 0.3), rel=0.01
    )
    assert attention.expected_products(op, 1.0) == op.dense_products


def test_all_candidates_have_their_weights_on_the_chip() -> None:
    network, mapping, _ = mapped()
    assert {p.name for p in network.neurons} <= set(mapping.grids)
    words = [mapping.grids[f"{name}.hidden_neuron"].used["synaptic_words"].sum() for name in CANDIDATES]
    assert words[0] == words[1] == words[2] > 0
    (estimate,) = static_estimates(mapping, 0.2, load_chip("loihi").calibration(None))
    op = next(op for op in network.host_ops if op.kind == "attention")
    assert estimate.spike_products == pytest.approx(attention.expected_products(op, 0.2))
    cells = estimate.report.cells.set_index("cause")["energy_pj"]
    assert cells["host_spike_product"] == pytest.approx(STEPS * estimate.spike_products * 900.0)
    # 6 x 16 x 16 weights of attention and output, and two of three candidates of 2 x 16 x 64, at 16 places
    assert estimate.ac_traced == pytest.approx(0.2 * 16 * (4 * 16 * 16 + 2 * 2 * 16 * 64), rel=1e-4)


def test_event_timing_of_cores_that_are_switched_off() -> None:
    _, mapping, call = mapped()
    figures = load_chip("loihi").calibration(None)
    counts = CoreCounter(mapping).count(call)
    timed = EventTimer(mapping, figures).times(call, counts)
    assert (timed.core_ns >= analytic_times(counts, figures).core_ns - 1e-6).all()


@pytest.mark.parametrize("policy", ["expand", "graded", "colocate"])
def test_streams_that_the_host_feeds_go_through_the_host(policy: Policy) -> None:
    network, _, _ = mapped()
    with pytest.raises(MappingError) as refused:
        lay_out(network, policy, load_any_chip("loihi2"))
    assert str(refused.value) == (
        "blocks.0.attention.map: the host's 'blocks.0.attention' feeds it at every step, so the streams have "
        f"to go through the host, not {policy!r}; use --policy host"
    )


def test_spikes_do_not_pass_between_what_is_switched_apart() -> None:
    network, _, _ = mapped()
    apart = tuple(
        replace(p, gate=Gate("blocks.0.router", 1)) if p.name == f"{CANDIDATES[0]}.hidden_neuron" else p
        for p in network.populations
    )
    with pytest.raises(MappingError) as refused:
        lay_out(replace(network, populations=apart), "host", load_chip("loihi"))
    name = CANDIDATES[0]
    assert str(refused.value) == (
        f"{name}.expand.linear: '{name}.hidden_neuron' hears '{name}.neuron', but 'blocks.0.router' does not "
        "switch the two together: cores would get what they must not add up. Put a stream between them, a "
        "sum that does not spike"
    )


def test_brian2_agrees_where_neurons_are_switched() -> None:
    network, _, call = mapped()
    model = model_of(network)
    facts = check_facts(model, check_model(model, per_layer=32, seed=0))
    assert facts["agrees"]
    assert not call.running[CANDIDATES[0]].all()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Two sampler steps of two images of a bundle with random weights."""
    folder = tmp_path_factory.mktemp("lateral")
    bundle = folder / "tiny.pt"
    content = {"model": asdict(CONFIG), "trained": "random weights, for a test"}
    torch.save({"net_model": lively().state_dict(), "config": content, "sampler": "ddim:2"}, bundle)
    mapping = nsim.map(nsim.load(bundle), policy="host")
    return nsim.run(mapping, images=2, out=folder / "run"), bundle


def test_a_run_counts_products_of_spikes_step_by_step(run: tuple[Run, Path]) -> None:
    done, _ = run
    counted, traced = done.counts(), done.operations()
    products = counted[counted["event"] == "host_spike_product"].groupby("sampler_step")["count"].sum()
    assert products.tolist() == traced.groupby("sampler_step")["spike_product"].sum().tolist()
    assert products.nunique() == 2
    cells = done.report.cells
    assert cells.loc[cells["cause"] == "host_spike_product", "energy_pj"].sum() == products.sum() * 900.0
    assert done.report.uncosted == ()
    rule = done.papers_rule
    totals = traced[["ac", "mac", "spike_product"]].sum() / done.calls
    assert rule.energy_pj == pytest.approx(
        0.9 * (totals["ac"] + totals["spike_product"]) + 4.6 * totals["mac"]
    )


def test_a_step_of_a_run_played_again(run: tuple[Run, Path]) -> None:
    done, bundle = run
    again = replay(done, 1, str(bundle))
    assert sum(1 for _ in timeline(again)) > 100


def test_rounded_weights(run: tuple[Run, Path]) -> None:
    _, bundle = run
    model = nsim.load(bundle)
    mapping = nsim.map(model, policy="host", weight_bits=8)
    x, t = np.random.default_rng(1).normal(size=(1, 1, 8, 8)), np.array([400])
    exact = Engine(model.network, "float64").call(x, t)
    rounded = Engine(mapping.played, "int").call(x, t)
    differ = sum(np.count_nonzero(s != rounded.spikes[name]) for name, s in exact.spikes.items())
    assert differ < 0.02 * sum(s.size for s in exact.spikes.values())
    for name, running in exact.running.items():
        np.testing.assert_array_equal(rounded.running[name], running)


def test_a_sweep_counts_products_of_spikes(run: tuple[Run, Path], tmp_path: Path) -> None:
    """As the run does; nothing is counted, not even 0, where the policy is refused."""
    done, bundle = run
    plan = plan_sweep([str(bundle)], {"policy": "expand,host", "images": "2"})
    sweep = Sweep.new(plan, tmp_path / "sweep")
    sweep.run(Workers())
    refused, row = (sweep.table().iloc[i] for i in (0, 1))
    assert (refused["status"], row["status"]) == ("failed", "done")
    assert "use --policy host" in refused["error"]
    products = int(done.operations()["spike_product"].sum())
    columns = ["spike_products_as_traced", "spike_products_on_host"]
    assert row[columns].tolist() == [products, products] and products > 0
    assert refused[columns].isna().all()
    assert row["energy_pj"] == done.report.total_pj


def test_statistics_of_a_bundle_are_found_and_swept(
    run: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "tiny.pt"
    bundle.write_bytes(run[1].read_bytes())
    facts = nsim_json(monkeypatch, capsys, "statistics", str(bundle), "--images", "2")
    assert facts == {"written_to": str(tmp_path / "tiny.pt.ms_eps.npz")}
    measured = nsim.load(bundle).ms_eps
    assert measured is not None and measured.shape == (1000,) and (measured > 0).all()
    swept = "--policy host --sampler analytic:2 --workers 1 --out".split()
    point = nsim_json(monkeypatch, capsys, "sweep", str(bundle), *swept, str(tmp_path / "sweep"))["points"][0]
    assert (point["status"], point["sampler"], point["sampler_steps"]) == ("done", "analytic:2", 2)
    assert point["spike_products_on_host"] > 0


def test_the_bundled_one_is_trained_and_names_the_candidates_that_never_ran(tmp_path: Path) -> None:
    """Read-out elements send nothing; neurons that nothing selected could have, and are told from them."""
    model = nsim.load("lateral-digits")
    assert model.weights == "scikit-learn digits, 12000 iterations, seed 0"
    mapping = nsim.map(model, policy="host", placement="row-major")
    done = nsim.run(mapping, sampler="ddim:1", out=tmp_path / "run")
    (table,) = (t for t in run_tables(done) if isinstance(t, Table) and str(t.title).startswith("By layer"))
    rate = dict(zip(table.columns[0].cells, table.columns[2].cells, strict=True))
    never = {name for name, text in rate.items() if text == "not run"}
    assert never >= {f"blocks.1.candidates.1.{part}" for part in ("neuron", "hidden_neuron")}
    updates = done.operations().groupby("layer")["updates"].sum()
    assert (updates[list(never)] == 0).all()
    assert rate["blocks.1.candidates.1"] == rate["blocks.1"] == "read-out"
