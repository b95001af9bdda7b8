"""The lateral selection transformer: torch against the engine, and only what is selected costs anything."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.simulator import attention
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.lateral import LateralConfig, LateralRouter, LateralTransformer, SpikingAttention
from nsim.workloads.random_weights import random_lateral
from nsim.workloads.spiking import LIFNode

SMALL = LateralConfig(
    image_channels=1, image_size=8, width=16, depth=2, heads=2, time_steps=2, v_threshold=0.3
)
IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
TIMES = torch.tensor([5, 400, 950])


def lively(config: LateralConfig, gain: float = 1.0) -> LateralTransformer:
    """Random weights (nothing is trained), and lateral neurons that change what is selected.

    ``gain``: of the router's weights, so of how much its choice goes with the diffusion time.
    """
    module = random_lateral(config, seed=0).double()
    for block in module.blocks:
        assert isinstance(block.router, LateralRouter)
        block.gate[1].weight.data *= gain
        block.gate[1].bias.data = torch.tensor([1.0, 0.9, 0.8]).double()
        block.router.strength.data.fill_(2.0)  # the first fires in every second step, and drops out there
        block.router.threshold.data = torch.tensor([1.0, 9.0, 9.0]).double()
    return module


@cache
def played(config: LateralConfig) -> tuple[Network, Call, torch.Tensor, dict[str, np.ndarray]]:
    """The network, its call, and torch's answer with the output of every neuron and router."""
    torch.manual_seed(0)
    module = lively(config)
    seen: dict[str, np.ndarray] = {}
    for name, part in module.named_modules():
        if isinstance(part, LIFNode | LateralRouter):
            part.register_forward_hook(lambda _, i, out, name=name: seen.update({name: out.numpy()}))
    with torch.no_grad():
        eps = module(IMAGES, TIMES)
    network = lower(module, (1, 8, 8), config.time_steps, "small")
    return network, Engine(network, "float64", threads=1).call(IMAGES.numpy(), TIMES.numpy()), eps, seen


CONFIGS = [
    SMALL,
    replace(SMALL, substructure="linear"),
    replace(SMALL, attention_order="keys first"),
    replace(SMALL, time_steps=5, depth=1),
    replace(SMALL, mlp_kernel=3, mlp_ratio=1, depth=1),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_engine_is_torch(config: LateralConfig) -> None:
    _, call, eps, seen = played(config)
    for name, spikes in call.spikes.items():
        assert np.count_nonzero(spikes != seen[name].astype(bool)) == 0, name
    assert sum(spikes.sum() for spikes in call.spikes.values()) > 1000
    np.testing.assert_allclose(call.eps, eps.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS)
def test_two_of_three_run_and_which_changes_from_step_to_step(config: LateralConfig) -> None:
    _, call, _, seen = played(config)
    changed = 0
    for block in range(config.depth):
        weights = seen[f"blocks.{block}.router"]
        running = [call.running[f"blocks.{block}.candidates.{i}"] for i in range(3)]
        np.testing.assert_array_equal(np.stack(running, axis=-1), weights != 0)
        assert (np.sum(running, axis=0) == 2).all()
        changed += np.count_nonzero(np.diff(running, axis=1))
    assert changed > 0


def by_candidate(counts: pd.DataFrame, candidate: str) -> pd.DataFrame:
    """What stands under one candidate, by time step."""
    rows = counts[counts["layer"].str.startswith(candidate)]
    return rows.drop(columns="layer").groupby("time_step").sum()


@pytest.mark.parametrize("substructure", ["mlp", "linear"])
def test_only_what_is_selected_costs_anything(substructure: str) -> None:
    config = replace(SMALL, substructure=substructure)  # type: ignore[arg-type]
    network = lower(lively(config, gain=4.0), (1, 8, 8), config.time_steps, "small")
    engine = Engine(network, "float64", threads=1)
    selections = set()
    for t in range(0, 1000, 111):
        call = engine.call(IMAGES[:1].numpy(), np.array([t]))
        counts = call.counts
        for block, i in product(range(2), range(3)):
            name = f"blocks.{block}.candidates.{i}"
            running, cost = call.running[name][:, 0], by_candidate(counts, name)
            assert (cost.loc[~running] == 0).all(axis=None)
            neurons = [p for p in network.neurons if p.name.startswith(name)]
            assert (cost.loc[running, "updates"] == sum(p.size for p in neurons)).all()
            assert (cost.loc[running, ["ac", "elementwise"]] > 0).all(axis=None)
            for p in neurons:
                assert not call.active[p.name][~running].any()
        selections.add(tuple(call.running[f"blocks.0.candidates.{i}"].tobytes() for i in range(3)))
    assert len(selections) > 1  # the router's choice went with the diffusion time, and the costs with it


def test_a_call_costs_what_its_routers_select() -> None:
    """One more candidate of three kept: one more share of updates, exactly."""
    two, three = (played(replace(SMALL, selected=k))[1].counts for k in (2, 3))
    candidates = two["layer"].str.contains("candidates") & (two["updates"] > 0)
    assert (
        two.loc[candidates, "updates"].sum() * 3
        == three["updates"][three["layer"].str.contains("candidates")].sum() * 2
    )


def test_attention_products_are_counted_where_no_factor_is_zero() -> None:
    network, call, _, _ = played(SMALL)
    op = next(op for op in network.host_ops if op.name == "blocks.1.attention")
    q, k, v = (call.spikes[name].reshape(2, 3, 2, 8, 16).astype(int) for name in op.inputs)
    for t, b in product(range(2), range(3)):
        met = 0
        for head in range(2):
            for n, m in product(range(16), range(16)):
                pair = [q[t, b, head, i, n] * k[t, b, head, i, m] for i in range(8)]
                met += sum(pair)
                met += sum(pair) > 0 and int(v[t, b, head, :, m].sum())
        assert attention.products(op, [call.spikes[name] for name in op.inputs])[t, b] == met
    rows = call.counts.set_index("layer").loc[op.name]
    assert rows["spike_product"].sum() > 0
    assert (rows[["ac", "graded_ac", "mac", "updates"]] == 0).all(axis=None)
    # two products of 16 x 16 tokens with all 16 features
    assert op.dense_products == 2 * 16 * 16 * 16
    assert (rows["spike_product"] < 3 * op.dense_products).all()


def test_both_orders_of_the_products_give_the_same_value_for_another_number_of_products() -> None:
    q, k, v = (torch.rand(3, 2, 1, 8, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    first, second = (SpikingAttention(2, 0.125, order) for order in ("queries first", "keys first"))
    assert torch.equal(first(q, k, v), second(q, k, v))
    ops = [next(op for op in played(c)[0].host_ops if op.kind == "attention") for c in (SMALL, CONFIGS[2])]
    assert [op.dense_products for op in ops] == [2 * 16 * 16 * 16, 2 * 16 * 16 * 8]


def test_router_step_by_step() -> None:
    router = LateralRouter(candidates=3, selected=2, time_steps=3, tau=2.0)
    with torch.no_grad():
        router.strength.fill_(1.5)
        router.threshold.copy_(torch.tensor([0.6, 0.4, 9.0]))
    logits = torch.tensor([[0.5, 0.4, 0.0]])  # lateral currents 0.4, 0.5, 0.9
    found = router(logits).detach()[:, 0]
    # potentials 0.2, 0.25, 0.45; 0.3, 0.375, 0.675; 0.35, 0.4375, 0.7875: the second fires in the third step
    for step, delta in enumerate(([0, 0, 0], [0, 0, 0], [0, 1.5, 0])):
        p = torch.softmax(logits[0] - torch.tensor(delta), dim=0)
        p[p.argmin()] = 0
        torch.testing.assert_close(found[step], p)
    assert found[2, 1] == 0 and found[0, 2] == 0


def test_equal_candidates_are_taken_from_the_first() -> None:
    router = LateralRouter(candidates=3, selected=2, time_steps=1, tau=2.0)
    assert (router(torch.zeros(1, 3))[0, 0] != 0).tolist() == [True, True, False]


def test_neurons_that_do_not_run_keep_their_state() -> None:
    node = LIFNode(tau=2.0)
    current = torch.tensor([1.6, 5.0, 1.2]).view(3, 1, 1, 1, 1)
    spikes = node(current, torch.tensor([[0.3], [0.0], [0.3]]))
    # 0.8; left alone; 0.8 + (1.2 - 0.8) / 2 = 1
    assert spikes.flatten().tolist() == [0.0, 0.0, 1.0]


def test_all_parameters_learn() -> None:
    module = lively(SMALL).float().train()
    module(IMAGES.float(), TIMES).square().mean().backward()
    frozen = {"time_embedding.timembedding.0.weight"}
    for name, parameter in module.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("width", "heads", "substructure", "millions"),
    [(768, 12, "mlp", 198.2), (768, 12, "linear", 106.2), (384, 6, "mlp", 49.5), (384, 6, "linear", 26.5)],
)
def test_weights_at_the_papers_sizes(width: int, heads: int, substructure: str, millions: float) -> None:
    with torch.device("meta"):
        module = LateralTransformer(
            LateralConfig(width=width, heads=heads, substructure=substructure)  # type: ignore[arg-type]
        )
    weights = sum(p.weight.numel() for p in module.blocks.modules() if isinstance(p, nn.Conv2d))
    assert weights / 1e6 == pytest.approx(millions, abs=0.05)
