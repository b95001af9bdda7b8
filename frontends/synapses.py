"""Every synapse of a projection, one by one: for golden models and for mappings given neuron by neuron."""

from __future__ import annotations

from itertools import product

import numpy as np

from nsim.frontends.network import Network, Projection


def list_synapses(network: Network, projection: Projection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat index of the source, of the target (both over C, H, W; int64), and weight of every synapse.

    The weight is the kernel's alone. Synapses of weight 0 are there too: a chip that lists them pays for
    them. Taps that join the same two neurons, where the kernel up-samples, each
    have an entry of their own.
    """
    kernel, first = projection.kernel, projection.target_channels[0]
    source = network.population_by_name[projection.source].shape
    target = network.population_by_name[projection.target].shape
    groups = kernel.channels if kernel.is_identity else kernel.groups
    per_group, out_per_group = kernel.c_in // groups, kernel.c_out // groups
    found = []
    for ky, kx in product(range(kernel.size[0]), range(kernel.size[1])):
        y_of = kernel.tap_sources(0, source[1], target[1])[ky]
        x_of = kernel.tap_sources(1, source[2], target[2])[kx]
        for group in range(groups):
            axes = (
                group * out_per_group + np.arange(out_per_group),
                group * per_group + np.arange(per_group),
                np.flatnonzero(y_of >= 0),
                np.flatnonzero(x_of >= 0),
            )
            o, c, y, x = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
            pre = (c * source[1] + y_of[y]) * source[2] + x_of[x]
            post = ((first + o) * target[1] + y) * target[2] + x
            found.append((pre, post, kernel.array[o, c % per_group, ky, kx]))
    pre, post, weight = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return pre, post, weight
