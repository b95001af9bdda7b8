"""Networks whose core counts on Loihi are published, cut by our search. docs/mapping.md explains each."""

from __future__ import annotations

import numpy as np
import pytest

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.partition import partition
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
