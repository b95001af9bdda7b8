"""Small hand-built networks and chips for tests, and every single synapse of a projection by plain loops."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
from pydantic import BaseModel

from nsim.frontends.kernel import Kernel
from nsim.frontends.model import Model
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.catalog import find_chip_file, load_chip
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.layout import Layout
from nsim.hw_models.mapping.mapping import Mapping, with_places
from nsim.hw_models.mapping.partition import partition
from nsim.hw_models.mapping.policies import Policy, lay_out
from nsim.hw_models.mapping.retime import retime
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import ChipSpec

Shape = tuple[int, int, int]
Neuron = tuple[int, int, int]
Taps = tuple[tuple[int, int], ...]

BLOCKS = ("conv", "down", "up", "depthwise", "grouped", "residual", "shortcut", "cat")


def reduced(part: BaseModel, **values: int) -> BaseModel:
    """A copy of a part of a chip with some of its figures changed."""
    changed = {name: getattr(part, name).model_copy(update={"value": v}) for name, v in values.items()}
    return part.model_copy(update=changed)


def small_loihi(core: dict[str, int] | None = None, structure: dict[str, int] | None = None) -> ChipSpec:
    """Loihi with other capacities."""
    chip = load_chip("loihi")
    parts = {
        "core": reduced(chip.core, **(core or {})),
        "structure": reduced(chip.structure, **(structure or {})),
    }
    return chip.model_copy(update=parts)


def model_of(network: Network, sampler: str = "ddim:2") -> Model:
    """A model around a network that no file holds."""
    return Model(network.name, "test", network, "random", sampler, "0" * 64, parameters=0)


def map_on(
    network: Network, chip: ChipSpec, policy: Policy = "expand", schedule: Schedule = "pipelined"
) -> Mapping:
    """`map_model`, on a chip that need not be a file."""
    laid_out = retime(lay_out(network, policy, chip), chip.core.max_delay.value, schedule)
    layout = Layout(
        model=model_of(network),
        chip=chip,
        chip_file=find_chip_file("loihi"),
        laid_out=laid_out,
        grids=partition(laid_out, chip, schedule),
        policy=policy,
        schedule=schedule,
    )
    return with_places(layout, "row-major")


def join(populations: list[Population], projections: list[Projection], time_steps: int = 3) -> Network:
    """A network of image x and populations in order of execution; its output is the last of them."""
    return Network(
        name="hand-built",
        time_steps=time_steps,
        image="x",
        diffusion_time="t",
        output="x",
        populations=(Population("x", "source", populations[0].shape), *populations),
        projections=(
            Projection(
                "encode",
                "x",
                populations[0].name,
                Kernel(populations[0].shape[0]),
                (0, populations[0].shape[0]),
            ),
            *projections,
        ),
        biases=(),
        host_ops=(),
    )


def one_layer(
    kernel: Kernel, size: tuple[int, int], neuron: NeuronModel | None = None, first: int = 0, spare: int = 0
) -> Network:
    """Neurons ``a`` projected by ``kernel`` to channels ``first``... of neurons ``b``."""
    shape = (first + kernel.c_out + spare, *kernel.out_size(*size))
    return join(
        [
            Population("a", "neuron", (kernel.c_in, *size), NeuronModel()),
            Population("b", "neuron", shape, neuron or NeuronModel()),
        ],
        [Projection("k", "a", "b", kernel, (first, first + kernel.c_out))],
    )


def random_network(blocks: tuple[str, ...], seed: int, size: tuple[int, int] = (5, 6)) -> Network:
    """Layers of 2 to 6 channels, one or two for each of ``blocks`` (some of BLOCKS), whose neurons fire.

    Residual sums, 1x1 shortcuts and concatenations carry an analog stream, to be expanded.
    """
    rng = np.random.default_rng(seed)
    models = [NeuronModel(), NeuronModel(tau=2.0, v_threshold=0.6), NeuronModel(v_reset=None)]
    channels = int(rng.integers(1, 4)) * 2
    populations = [Population("n0", "neuron", (channels, *size), NeuronModel(0.5), np.full(channels, 0.3))]
    projections: list[Projection] = []
    stream = "n0"

    def kernel(c_in: int, c_out: int, side: int, groups: int = 1, **geometry: object) -> Kernel:
        fan_in = c_in // groups * side**2
        weight = rng.normal(0.3, 1.0, (c_out, c_in // groups, side, side)) / np.sqrt(fan_in)
        return Kernel(c_out, weight, groups=groups, padding=(side // 2, side // 2), **geometry)  # type: ignore[arg-type]

    def project(source: str, target: str, k: Kernel, first: int = 0) -> None:
        name = f"{source} -> {target} {len(projections)}"
        scale = None if k.is_identity else rng.uniform(0.7, 1.3, k.c_out)
        projections.append(Projection(name, source, target, k, (first, first + k.c_out), scale))

    for i, block in enumerate(blocks, 1):
        spikes = populations[-1]
        assert spikes.kind == "neuron"
        streams = {p.name: p for p in populations}
        c_in, c_stream = spikes.shape[0], streams[stream].shape[0]
        side = int(rng.choice([1, 3, 3]))
        neuron = models[int(rng.integers(3))]
        c_out = {"depthwise": c_in, "residual": c_stream}.get(block, int(rng.integers(1, 4)) * 2)
        k = kernel(
            c_in,
            c_out,
            side,
            groups={"depthwise": c_in, "grouped": 2}.get(block, 1),
            stride=(2, 1) if block == "down" else (1, 1),
            upsample=2 if block == "up" else 1,
        )
        if block in ("residual", "shortcut", "cat"):
            total = c_out + c_stream if block == "cat" else c_out
            populations.append(Population(f"s{i}", "analog", (total, *spikes.shape[1:])))
            project(spikes.name, f"s{i}", k)
            past = kernel(c_stream, c_out, 1) if block == "shortcut" else Kernel(c_stream)
            project(stream, f"s{i}", past, c_out if block == "cat" else 0)
            stream = f"s{i}"
            shape = populations[-1].shape
            project(stream, f"n{i}", Kernel(total))
        else:
            stream, shape = f"n{i}", (c_out, *k.out_size(*spikes.shape[1:]))
            project(spikes.name, stream, k)
        populations.append(Population(f"n{i}", "neuron", shape, neuron, np.full(shape[0], 0.4)))
    return replace(join(populations, projections), name=f"random {seed}")


@cache
def synapses(projection: Projection, source: Shape, target: Shape) -> dict[tuple[Neuron, Neuron], Taps]:
    """Every synapse: (source, target), each (channel, row, column), to the kernel taps that it adds up."""
    k = projection.kernel
    taps: dict[tuple[Neuron, Neuron], list[tuple[int, int]]] = {}
    depthwise = k.is_identity
    groups = k.channels if depthwise else k.groups
    per_group_in, per_group_out = k.c_in // groups, k.c_out // groups
    for o, y, x in np.ndindex(k.c_out, *target[1:]):
        for ky, kx in product(range(k.size[0]), range(k.size[1])):
            row = y * k.stride[0] + ky * k.dilation[0] - k.padding[0]
            column = x * k.stride[1] + kx * k.dilation[1] - k.padding[1]
            if not (0 <= row < source[1] * k.upsample and 0 <= column < source[2] * k.upsample):
                continue
            for c in range(per_group_in):
                pre = (o // per_group_out * per_group_in + c, row // k.upsample, column // k.upsample)
                post = (projection.target_channels[0] + o, y, x)
                taps.setdefault((pre, post), []).append((ky, kx))
    return {pair: tuple(found) for pair, found in taps.items()}


def synapses_into(network: Network, population: str) -> list[tuple[Projection, dict]]:
    """Spiking projections into a population, each with all its synapses."""
    kinds = network.population_by_name
    return [
        (p, synapses(p, kinds[p.source].shape, kinds[population].shape))
        for p in network.incoming(population)
        if kinds[p.source].kind == "neuron"
    ]


def owners(grid: CoreGrid, shape: Shape) -> dict[Neuron, int]:
    """Core id of every neuron of a population, found by looking through all blocks."""
    found: dict[Neuron, int] = {}
    core = grid.first_core
    for rows, columns, channels in product(grid.rows, grid.columns, grid.channels):
        for neuron in product(range(*channels), range(*rows), range(*columns)):
            assert neuron not in found
            found[neuron] = core
        core += 1
    assert len(found) == np.prod(shape)
    return found
