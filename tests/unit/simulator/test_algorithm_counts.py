"""Operations of the model as traced, against a brute-force count of weight uses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.frontends.network import Network
from nsim.simulator.algorithm_counts import COLUMNS, algorithm_counts
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from tests.networks import BLOCKS, random_network, synapses


@settings(max_examples=10)
@given(blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple), seed=st.integers(0, 1000))
def test_equals_counting_every_weight_use(blocks: tuple[str, ...], seed: int) -> None:
    network = random_network(blocks, seed, (4, 5))
    x = np.random.default_rng(seed).normal(0.4, 0.6, (2, *network.population_by_name["x"].shape))
    call = Engine(network, "float64", threads=1).call(x, np.zeros(2, int))
    frame = algorithm_counts(call)
    assert list(frame.columns) == ["layer", "time_step", *COLUMNS]
    table = frame.set_index(["layer", "time_step"])
    assert table.index.is_unique and (table >= 0).all(axis=None)
    assert not table["graded_ac"].any()
    assert table["ac"].sum() > 0

    rows = 0
    for projection in network.projections:
        source = network.population_by_name[projection.source]
        target = network.population_by_name[projection.target]
        pairs = synapses(projection, source.shape, target.shape)
        uses = np.zeros(source.shape, np.int64)
        for (pre, _), taps in pairs.items():
            uses[pre] += len(taps)
        for step in range(network.time_steps):
            found = dict(table.loc[(projection.name, step)])
            expected = dict.fromkeys(COLUMNS, 0)
            if source.kind == "neuron":
                spikes = call.spikes[source.name][step]
                expected["ac"] = sum(int(uses[tuple(at)].sum()) for _, *at in np.argwhere(spikes))
            elif projection.kernel.is_identity:
                expected["elementwise"] = 2 * target.size if source.kind == "source" else 2 * len(pairs)
            else:
                expected["mac"] = 2 * int(uses.sum())
            assert found == expected, (projection.name, step)
            rows += 1
    for population in network.neurons:
        for step, spikes in enumerate(call.spikes[population.name]):
            found = dict(table.loc[(population.name, step)])
            assert found == {
                **dict.fromkeys(COLUMNS, 0),
                "updates": 2 * population.size,
                "spikes": np.count_nonzero(spikes),
            }
            rows += 1
    assert rows == len(table)


def test_layers_and_steps_of_sddpm(tiny_network: Network, tiny_call: Call) -> None:
    frame = tiny_call.counts
    steps = frame.groupby("layer", sort=False)["time_step"].agg(list)
    once = [op.name for op in tiny_network.host_ops if not op.every_step]
    assert all(name.startswith("time_embedding") or "temb_proj" in name for name in once)
    assert [name for name, found in steps.items() if found == [-1]] == once
    assert all(found == [0, 1, 2, 3] for name, found in steps.items() if name not in once)
    mac = frame.groupby("layer", sort=False)["mac"].sum()
    images, time_steps, pixels = 3, 4, 64
    taps = 22 * 22  # 3 taps along each axis of 8, 2 at its ends
    assert {
        name: int(n) for name, n in mac.items() if n and "temb" not in name and "time_emb" not in name
    } == {
        "conv": images * time_steps * taps * 8,
        "downblocks.2.shortcut": images * time_steps * 16 * 8 * 16,
        "upblocks.0.shortcut": images * time_steps * 16 * 32 * 16,
        "upblocks.1.shortcut": images * time_steps * 16 * 24 * 16,
        "upblocks.3.shortcut": images * time_steps * pixels * 24 * 8,
        "upblocks.4.shortcut": images * time_steps * pixels * 16 * 8,
        "tail_conv": images * time_steps * taps * 8,
        "T_output_layer": images * time_steps * taps,
    }
    assert mac["time_embedding.timembedding.1"] == images * 8 * 32
    assert mac["time_embedding.timembedding.3"] == images * 32 * 32
    ac = frame.groupby("layer", sort=False)["ac"].sum()
    assert [name for name, n in ac.items() if n] == [
        "conv_identity",
        "downblocks.0.conv1",
        "downblocks.0.conv2",
        "downblocks.1.conv",
        "downblocks.2.conv1",
        "downblocks.2.conv2",
        "middleblocks.0.conv1",
        "middleblocks.0.conv2",
        "middleblocks.1.conv1",
        "middleblocks.1.conv2",
        "upblocks.0.conv1",
        "upblocks.0.conv2",
        "upblocks.1.conv1",
        "upblocks.1.conv2",
        "upblocks.2.conv",
        "upblocks.3.conv1",
        "upblocks.3.conv2",
        "upblocks.4.conv1",
        "upblocks.4.conv2",
    ]
