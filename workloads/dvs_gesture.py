"""The DVS-gesture network that Loihi simulators are compared on, read from the user's own file of weights.

32x32 input (a constant current per pixel, the frame), four 3x3 convolutions without padding (stride 2, then
1), one dense layer; no leak, reset to 0, a spike where the potential exceeds the threshold. All weights,
thresholds and inputs are whole numbers, so that "exceeds" is "reaches one more", and float32 is exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nsim.errors import ModelFileError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.mapping.listed import ListedMapping, equal_ranges
from nsim.hw_models.spec import ChipSpec

LAYERS = ("input", "conv1", "conv2", "conv3", "conv4", "dense1")
CORES = (1, 4, 16, 16, 4, 1)
"""Cores per layer in the published comparison: each layer in equal ranges of (channel, row, column)."""


def dvs_network(weights: Path, time_steps: int) -> tuple[Network, np.ndarray]:
    """The network and its frame [1, 1, 32, 32]; ``weights``: an npz with conv1 to conv4 [kh, kw, Cin, Cout],
    dense1 [Cin * H * W, Cout], thresholds [6] and inputs [1024]. Raises ModelFileError for another file."""
    try:
        with np.load(weights) as file:
            arrays = dict(file)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{weights}: not a readable npz file ({error})") from None
    wanted = (*LAYERS[1:], "thresholds", "inputs")
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ModelFileError(
            f"{weights}: no array {missing[0]!r}; the DVS-gesture network has {', '.join(wanted)}"
        )
    frame = arrays["inputs"].reshape(1, 1, 32, 32).astype(np.float32)
    neurons = [NeuronModel(v_threshold=float(v) + 1.0) for v in arrays["thresholds"]]
    populations = [
        Population("x", "source", (1, 32, 32)),
        Population("input", "neuron", (1, 32, 32), neurons[0]),
    ]
    projections = [Projection("encode", "x", "input", Kernel(1), (0, 1))]
    for name, neuron in zip(LAYERS[1:], neurons[1:], strict=True):
        before = populations[-1]
        kernel = _kernel(name, arrays[name], before.shape)
        shape = (kernel.c_out, *kernel.out_size(*before.shape[1:]))
        populations.append(Population(name, "neuron", shape, neuron))
        projections.append(
            Projection(f"{before.name} -> {name}", before.name, name, kernel, (0, kernel.c_out))
        )
    network = Network("dvs", time_steps, "x", "t", "x", tuple(populations), tuple(projections), (), ())
    return network, frame


def _kernel(name: str, weights: np.ndarray, source: tuple[int, int, int]) -> Kernel:
    """A convolution, or a dense layer (inputs in channel, row, column order) as one kernel over the map."""
    if name == "dense1":
        dense = weights.T.reshape(weights.shape[1], *source)
        return Kernel(len(dense), dense)
    return Kernel(
        weights.shape[3], weights.transpose(3, 2, 0, 1), stride=(2, 2) if name == "conv1" else (1, 1)
    )


def dvs_mapping(network: Network, chip: ChipSpec) -> ListedMapping:
    """The published placement: cores filled in order of their id, layer by layer."""
    return ListedMapping.place(network, equal_ranges(network, dict(zip(LAYERS, CORES, strict=True))), chip)
