"""Weights of few bits from end to end: the loss against brute force, and runs that are played in integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nsim
from nsim.errors import MappingError, QuantizeError, RunError
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.frontends.quantize import quantize
from nsim.hw_models.mapping.expand import expand
from nsim.reports.replay import replay
from nsim.reports.rounding import RoundingLoss, rounding_facts, rounding_loss
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.reports.sweep_plan import plan_sweep
from nsim.reports.sweep_point import quality_point
from nsim.simulator.engine import Engine
from nsim.workloads.samplers import initial_noise, parse_sampler
from tests.command_line import nsim_exit_code, nsim_json
from tests.networks import model_of

BITS, SAMPLER, SEED, IMAGES = 4, "ddim:3", 7, 2


@pytest.fixture(scope="module")
def model(tiny_network: Network) -> Model:
    return model_of(tiny_network, SAMPLER)


@pytest.fixture(scope="module")
def loss(model: Model) -> RoundingLoss:
    return rounding_loss(model, BITS, sampler=SAMPLER, images=IMAGES, seed=SEED)


@pytest.fixture(scope="module")
def inputs(model: Model) -> list[tuple[np.ndarray, np.ndarray]]:
    """What the calls of the real trajectory are made with, by the sampler's own loop."""
    engine, walk = Engine(model.network, "float64"), parse_sampler(SAMPLER).build(SEED)
    x, found = initial_noise((IMAGES, 1, 8, 8), SEED), []
    for t in walk.timesteps.tolist():
        times = np.full(IMAGES, t)
        found.append((x, times))
        x = walk.step(engine.call(x, times).eps, t, x).prev_sample
    return found


def test_agreement_is_what_counting_one_by_one_gives(
    model: Model, loss: RoundingLoss, inputs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    real = Engine(model.network, "float64")
    rounded = Engine(quantize(expand(model.network), BITS), "int")
    differ, fired, seen = {}, {}, {}
    eps = [np.empty((0, 1, 8, 8)), np.empty((0, 1, 8, 8))]
    for x, t in inputs:
        calls = real.call(x, t), rounded.call(x, t)
        for name, spikes in calls[0].spikes.items():
            for before, after in zip(spikes.ravel(), calls[1].spikes[name].ravel(), strict=True):
                differ[name] = differ.get(name, 0) + (bool(before) is not bool(after))
                fired[name] = fired.get(name, 0) + int(after)
                seen[name] = seen.get(name, 0) + 1
        eps = [np.concatenate([a, call.eps]) for a, call in zip(eps, calls, strict=True)]
    rows = loss.layers.set_index("layer")
    assert sum(differ.values()) > 1000
    for name, count in differ.items():
        assert rows.loc[name, "spike_differences"] == count
        assert rows.loc[name, "agreement"] == pytest.approx(1 - count / seen[name], rel=1e-12)
        assert rows.loc[name, "rate_rounded"] == pytest.approx(fired[name] / seen[name], rel=1e-12)
    assert loss.agreement == pytest.approx(1 - sum(differ.values()) / sum(seen.values()), rel=1e-12)
    wanted = np.linalg.norm(eps[1] - eps[0]) / np.linalg.norm(eps[0])
    assert loss.eps_error == pytest.approx(wanted, rel=1e-9)
    assert wanted > 0.01


@pytest.mark.parametrize("layer", ["downblocks.0.neuron2", "upblocks.0.neuron1"])
def test_a_layer_alone_is_that_layer_with_weights_rounded_by_hand(
    model: Model, loss: RoundingLoss, inputs: list[tuple[np.ndarray, np.ndarray]], layer: str
) -> None:
    network = expand(model.network)
    projections, steps = [], []
    for p in network.projections:
        if p.target == layer:
            scale = 1.0 if p.scale is None else p.scale[:, None, None, None]
            weights = p.kernel.array * scale
            largest = np.abs(weights).max() / (2 ** (BITS - 1) - 1)
            step = next(2.0**e for e in range(-40, 40) if 2.0**e >= largest)
            steps.append(step)
            kernel = replace(p.kernel, weight=step * np.rint(weights / step))
            if p.kernel.is_identity:
                kernel = replace(kernel, groups=p.kernel.channels)
            p = replace(p, kernel=kernel, scale=None)
        projections.append(p)
    populations = [
        replace(p, bias=min(steps) * np.rint(p.bias / min(steps)))
        if p.name == layer and p.bias is not None
        else p
        for p in network.populations
    ]
    changed = Engine(
        replace(network, populations=tuple(populations), projections=tuple(projections)), "float64"
    )
    real = Engine(model.network, "float64")
    eps = [np.concatenate([e.call(x, t).eps for x, t in inputs]) for e in (real, changed)]
    wanted = np.linalg.norm(eps[1] - eps[0]) / np.linalg.norm(eps[0])
    found = loss.layers.set_index("layer").loc[layer, "eps_error"]
    assert found == pytest.approx(wanted, rel=1e-9)
    assert found > 0


def test_a_read_out_has_no_spikes_to_agree(model: Model, loss: RoundingLoss) -> None:
    facts = rounding_facts(model, BITS, "expand", loss)
    assert facts["chip"] == "loihi"
    layers = facts["layers"]
    (read_out,) = [row for row in layers if row["agreement"] is None]
    assert read_out["spike_differences"] is None
    assert read_out["eps_error"] > 0
    assert len(layers) == 1 + len(model.network.neurons)


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    mapping = nsim.map(model, "loihi", weight_bits=BITS)
    return run_sampler(mapping, seed=5, out=tmp_path_factory.mktemp("runs") / "a", threads=1)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_is_played_in_integers_as_laid_out(model: Model, run: Run) -> None:
    assert (run.manifest["weight_bits"], run.manifest["precision"]) == (BITS, "int")
    assert run.manifest["model"]["weights"] == "random, rounded to 4 bits"
    x = initial_noise((1, 1, 8, 8), 5)
    t = np.full(1, parse_sampler(SAMPLER).build(5).timesteps[0])
    call = Engine(quantize(expand(model.network), BITS), "int").call(x, t)
    spikes = sum(int(s.sum()) for s in call.spikes.values())
    first = run.counts().query("sampler_step == 0 and event == 'spike'")
    assert first["count"].sum() == spikes > 0
    traced = run.operations().query("sampler_step == 0")
    assert traced["spikes"].sum() == spikes
    assert traced["mac"].sum() > 0  # the streams' shortcuts: as traced, not as laid out
    assert set(traced["layer"]) >= {p.name for p in model.network.projections}


def test_neither_threads_nor_a_stop_change_a_byte(model: Model, run: Run, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise Stop

    mapping = nsim.map(model, "loihi", weight_bits=BITS)
    with pytest.raises(Stop):
        run_sampler(mapping, seed=5, out=tmp_path / "a", threads=2, progress=stop)
    for other, text in ((None, "None"), (6, "6")):
        with pytest.raises(RunError, match=f"begun with weight_bits 4, this would go on with {text}"):
            again = nsim.map(model, "loihi", weight_bits=other)
            run_sampler(again, seed=5, out=tmp_path / "a", resume=True)
    run_sampler(mapping, seed=5, out=tmp_path / "a", threads=2, resume=True)
    assert _content(tmp_path / "a") == _content(run.folder.path)


def test_a_step_is_replayed_in_integers(tiny_checkpoint: Path, tmp_path: Path) -> None:
    mapping = nsim.map(nsim.load(tiny_checkpoint), weight_bits=6)
    run = run_sampler(mapping, seed=1, out=tmp_path / "a")
    assert replay(run, 1, str(tiny_checkpoint)).mapping.weight_bits == 6


def test_fewer_bits_take_less_synaptic_memory(model: Model) -> None:
    words = {
        bits: nsim.map(model, "loihi", weight_bits=bits).utilization()["synaptic_words"][0]
        for bits in (2, 4, 7, 8)
    }
    assert words[2] < words[4] < words[7] == words[8]  # Loihi stores 7 bits in 8
    assert words[8] == nsim.map(model, "loihi").utilization()["synaptic_words"][0]
    generic = [nsim.map(model, "digital45", weight_bits=bits) for bits in (7, 8)]
    seven, eight = (mapping.utilization()["synaptic_words"][0] for mapping in generic)
    assert seven < eight


def test_bits_that_cannot_be_had(model: Model) -> None:
    with pytest.raises(QuantizeError, match=r"^weights of 1 bits; 2 to 16 can be had$"):
        nsim.map(model, "loihi", weight_bits=1)
    with pytest.raises(MappingError) as error:
        nsim.map(model, "loihi", weight_bits=9)
    assert str(error.value) == (
        "weights of 9 bits; a core of this chip stores at most 8 bits for one; use --weight-bits 8"
    )


def test_images_depend_on_the_layout_only_where_weights_are_rounded() -> None:
    plan = plan_sweep(["a"], {"policy": "expand,host", "weight_bits": "8", "schedule": "layerwise,pipelined"})
    assert len({tuple(quality_point(p).items()) for p in plan.points}) == 2
    plan = plan_sweep(["a"], {"policy": "expand,host", "schedule": "layerwise,pipelined"})
    assert len({tuple(quality_point(p).items()) for p in plan.points}) == 1


def test_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    command = ("quantise", str(tiny_checkpoint), "--sampler", "ddim:1", "--images", "1", "--weight-bits", "5")
    facts = nsim_json(monkeypatch, capsys, *command)
    assert (facts["weight_bits"], facts["calls"], facts["images"]) == (5, 1, 1)
    assert nsim_exit_code(monkeypatch, *command) == 0
    shown = capsys.readouterr().out
    assert f"{facts['agreement']:.2%} of spikes and silences agree" in shown
    assert all(f"{row['eps_error']:.2%}" in shown for row in facts["layers"])
    assert nsim_exit_code(monkeypatch, *command[:-1], "40") == 2
    assert capsys.readouterr().err == "nsim: weights of 40 bits; 2 to 16 can be had\n"
