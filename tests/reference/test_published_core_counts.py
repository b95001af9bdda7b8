"""Networks whose core counts on Loihi are published, cut by our search. docs/mapping.md explains each."""

from __future__ import annotations

import numpy as np
import pytest

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.catalog import load_any_chip, load_chip
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.partition import partition
from nsim.hw_models.mapping.pool import partition_pool
from nsim.hw_models.spec import PoolChip
from tests.networks import Shape, join

SOFT_RESET = NeuronModel(v_reset=None)


def chain(first: Shape, layers: list[tuple[str, Kernel]], neuron: NeuronModel) -> Network:
    """Layers one after the other, each of the size that its kernel gives; ``first`` is fed by the image."""
    populations = [Population("input", "neuron", first, neuron)]
    projections = []
    for name, kernel in layers:
        before = populations[-1]
        shape = (kernel.c_out, *kernel.out_size(*before.shape[1:]))
        populations.append(Population(name, "neuron", shape, neuron))
        projections.append(Projection(name, before.name, name, kernel, (0, kernel.c_out)))
    return join(populations, projections)


def conv(c_in: int, c_out: int, size: int = 3, pad: int = 0, stride: int = 1, groups: int = 1) -> Kernel:
    weight = np.ones((c_out, c_in // groups, size, size))
    return Kernel(c_out, weight, stride=(stride, stride), padding=(pad, pad), groups=groups)


def separable(c_in: int, c_out: int, stride: int) -> list[Kernel]:
    return [conv(c_in, c_in, pad=1, stride=stride, groups=c_in), conv(c_in, c_out, size=1)]


def dvs_gesture() -> Network:
    """32x32 frame; 3x3 convolutions without padding to 16, 32, 64 and 11 channels; 11 classes."""
    kernels = [conv(1, 16, stride=2), conv(16, 32), conv(32, 64), conv(64, 11), conv(11, 11, size=9)]
    return chain((1, 32, 32), [(f"layer {i}", k) for i, k in enumerate(kernels, 1)], NeuronModel())


def pseudo_mobilenet() -> Network:
    """CIFAR-10: strided convolution (its neurons get the image), five separable ones, pooling, 10 classes."""
    kernels = [
        *separable(32, 64, 1),
        *separable(64, 128, 2),
        *separable(128, 128, 1),
        *separable(128, 256, 2),
        *separable(256, 256, 1),
        conv(256, 256, size=2, stride=2, groups=256),
        conv(256, 10, size=2),
    ]
    return chain((32, 16, 16), [(f"layer {i}", k) for i, k in enumerate(kernels, 1)], SOFT_RESET)


def pilotnet() -> Network:
    """Road images of 66 x 200; five 3x3 convolutions and four dense layers, as in lava-dl's notebook."""
    layers = [(24, (2, 2), (0, 0)), (36, (2, 2), (0, 0)), (48, (2, 2), (0, 0)), (64, (2, 1), (1, 0))]
    layers.append((64, (1, 1), (0, 0)))
    kernels, c_in, size = [], 3, (66, 200)
    for c_out, stride, padding in layers:
        kernels.append(Kernel(c_out, np.ones((c_out, c_in, 3, 3)), stride=stride, padding=padding))
        c_in, size = c_out, kernels[-1].out_size(*size)
    for c_out in (100, 50, 10, 1):
        kernels.append(Kernel(c_out, np.ones((c_out, c_in, *size))))
        c_in, size = c_out, (1, 1)
    named = zip(("conv 1", "conv 2", "conv 3", "conv 4", "conv 5", *"abcd"), kernels, strict=True)
    return chain((3, 66, 200), list(named), NeuronModel())


def neurons(network: Network) -> int:
    return sum(p.size for p in network.neurons)


def synapses(network: Network) -> int:
    kinds = network.population_by_name
    return sum(
        p.kernel.taps(kinds[p.source].shape[1:], kinds[p.target].shape[1:])
        for p in network.projections
        if kinds[p.source].kind == "neuron"
    )


def cores(grids: dict[str, CoreGrid]) -> int:
    return sum(grid.size for grid in grids.values())


def test_the_networks_are_the_published_ones() -> None:
    """Synapses of the DVS net: table of reference/loihi_dvs; neurons of the MobileNet: NxTF's notebook."""
    assert synapses(dvs_gesture()) == 32_400 + 778_752 + 2_230_272 + 513_216 + 9_801
    assert neurons(pseudo_mobilenet()) == 76_810


@pytest.mark.parametrize(
    ("network", "published", "ours"), [(dvs_gesture(), 49, 21), (pseudo_mobilenet(), 157, 151)]
)
def test_cores_on_loihi(network: Network, published: int, ours: int) -> None:
    found = cores(partition(network, load_chip("loihi")))
    assert found == ours <= 1.1 * published


def test_cores_on_loihi2() -> None:
    """74 published with the image's neurons (13), 61 without; shapes as in the notebook's partition table."""
    network, chip = pilotnet(), load_any_chip("loihi2")
    assert isinstance(chip, PoolChip)
    shapes = {p.name: p.shape for p in network.neurons}
    assert [shapes[f"conv {i}"] for i in range(1, 6)] == [
        (24, 32, 99), (36, 15, 49), (48, 7, 24), (64, 4, 22), (64, 2, 20)
    ]  # fmt: skip
    grids = partition_pool(network, chip)
    assert (cores(grids), cores(grids) - grids["input"].size) == (58, 46)
    assert {name: int(grid.used["synaptic_words"].max()) for name, grid in grids.items()} == {
        "input": 0,
        "conv 1": 81,
        "conv 2": 1080,
        "conv 3": 1944,
        "conv 4": 3456,
        "conv 5": 4608,
        "a": 12000,
        "b": 1563,
        "c": 157,
        "d": 4,
    }
