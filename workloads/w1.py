"""W1(c): three convolutional layers of leaky neurons under random input spikes, for comparing simulators.

32x32xc input spikes (15 %), conv 3x3 c to c, conv 3x3 stride 2 c to 2c, conv 3x3 2c to 2c, all with padding
1; ``v = v / 2 + i``, a spike where v > 1, then v = 0. Weights are multiples of 1/64: every simulator can add
them exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nsim.frontends.kernel import Kernel
from nsim.frontends.model import Model
from nsim.frontends.network import Network, NeuronModel, Population, Projection

SIDE = 32
DENSITY = 0.15
GRID = 64
LAYERS = ("conv1", "conv2", "conv3")


def w1_network(channels: int, time_steps: int, seed: int = 0) -> Network:
    """The network; its input population ``input`` fires where the input is 1."""
    rng = np.random.default_rng(seed)
    widths = (channels, channels, 2 * channels, 2 * channels)
    above_one = float(np.nextafter(np.float32(1), np.float32(2)))
    lif = NeuronModel(v_threshold=above_one, tau=2.0, decay_input=False)
    shape = (channels, SIDE, SIDE)
    populations = [Population("x", "source", shape), Population("input", "neuron", shape, NeuronModel(0.5))]
    projections = [Projection("encode", "x", "input", Kernel(channels), (0, channels))]
    for name, c_in, c_out, stride in zip(LAYERS, widths[:-1], widths[1:], (1, 2, 1), strict=True):
        before = populations[-1]
        # Currents of about the threshold's size: about 15 % of all three layers fire.
        weights = rng.normal(0.0, 1.0, (c_out, c_in, 3, 3)) / np.sqrt(DENSITY * 9 * c_in)
        kernel = Kernel(c_out, np.rint(weights * GRID) / GRID, stride=(stride, stride), padding=(1, 1))
        size = kernel.out_size(*before.shape[1:])
        populations.append(Population(name, "neuron", (c_out, *size), lif))
        projections.append(Projection(name, before.name, name, kernel, (0, c_out)))
    return Network(
        f"W1({channels})", time_steps, "x", "t", "x", tuple(populations), tuple(projections), (), ()
    )


def w1_model(network: Network) -> Model:
    """The network as a Model, to be mapped."""
    weights = sum(p.kernel.array.size for p in network.projections if not p.kernel.is_identity)
    return Model(network.name, "w1", network, "random weights", "ddim:1", "0" * 64, weights)


def w1_input(network: Network, seed: int = 1) -> np.ndarray:
    """Input spikes as numbers 0 and 1, float32 [T, 1, C, 32, 32]."""
    rng = np.random.default_rng(seed)
    shape = (network.time_steps, 1, *network.population_by_name["x"].shape)
    return (rng.random(shape) < DENSITY).astype(np.float32)


def dense_forward(network: Network, x: np.ndarray) -> Callable[[], object]:
    """Torch's dense forward pass of the same network and input, in inference mode."""
    import torch
    from torch.nn import functional as F

    weights = {
        p.target: (torch.from_numpy(p.kernel.array).float(), p.kernel.stride) for p in network.projections[1:]
    }
    threshold = network.neurons[-1].neuron.v_threshold  # type: ignore[union-attr]
    spikes = torch.from_numpy(x[:, 0])

    def forward() -> object:
        with torch.inference_mode():
            h = spikes
            for weight, stride in weights.values():
                current = F.conv2d(h, weight, stride=stride, padding=1)
                v, out = torch.zeros_like(current[0]), torch.empty_like(current)
                for step, i in enumerate(current):
                    v = v / 2 + i
                    out[step] = v >= threshold
                    v = torch.where(v >= threshold, 0.0, v)
                h = out
            return h

    return forward
