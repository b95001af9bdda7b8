"""A whole call: torch's spikes, whatever the number of threads and the size of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nsim.frontends.network import Network
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.sddpm import SpikingUNet
from nsim.workloads.spiking import IFNode

Inputs = tuple[np.ndarray, np.ndarray]


def test_spikes_potentials_and_output_are_torchs(
    tiny_unet: SpikingUNet, tiny_call: Call, tiny_inputs: Inputs
) -> None:
    spikes: dict[str, np.ndarray] = {}
    hooks = [
        module.register_forward_hook(lambda m, i, out, name=name: spikes.update({name: out.numpy()}))
        for name, module in tiny_unet.named_modules()
        if isinstance(module, IFNode)
    ]
    with torch.no_grad():
        eps = tiny_unet(*map(torch.from_numpy, tiny_inputs)).numpy()
    for hook in hooks:
        hook.remove()
    assert list(tiny_call.spikes) == list(spikes)
    for name, expected in spikes.items():
        assert 0.02 < expected.mean() < 0.9, name
        np.testing.assert_array_equal(tiny_call.spikes[name], expected, err_msg=name)
    np.testing.assert_allclose(tiny_call.eps, eps, rtol=1e-9)


def everything(call: Call) -> dict[str, bytes]:
    """All that a call holds, as bytes with the batch first."""
    maps = {"spikes": call.spikes, "active": call.active, "currents": call.currents}
    found = {
        f"{what} {name}": np.moveaxis(a, 1, 0).tobytes() for what, d in maps.items() for name, a in d.items()
    }
    found |= {f"potentials {name}": a.tobytes() for name, a in call.potentials.items()}
    return found | {"eps": call.eps.tobytes()}


@pytest.fixture(scope="module")
def single(tiny_network: Network, tiny_inputs: Inputs) -> dict[str, bytes]:
    call = Engine(tiny_network, threads=1).call(*tiny_inputs, keep_currents=True)
    assert call.eps.dtype == np.float32
    return everything(call)


@pytest.mark.parametrize("threads", [2, 3])
def test_same_bytes_for_any_number_of_threads(
    tiny_network: Network, tiny_inputs: Inputs, single: dict[str, bytes], threads: int
) -> None:
    call = Engine(tiny_network, threads=threads).call(*tiny_inputs, keep_currents=True)
    assert everything(call) == single


def test_a_batch_is_its_images_one_by_one(
    tiny_network: Network, tiny_inputs: Inputs, single: dict[str, bytes]
) -> None:
    engine = Engine(tiny_network, threads=1)
    x, t = tiny_inputs
    alone = [everything(engine.call(x[i : i + 1], t[i : i + 1], keep_currents=True)) for i in range(3)]
    assert {key: b"".join(part[key] for part in alone) for key in single} == single


def test_spikes_are_what_the_currents_of_a_call_give(tiny_call: Call) -> None:
    """Threshold 1, reset to 0: replayed in numpy from the kept currents."""
    for name, current in tiny_call.currents.items():
        v = np.zeros(current.shape[1:])
        for step, x in enumerate(current):
            u = v + x
            np.testing.assert_array_equal(tiny_call.spikes[name][step], u >= 1)
            np.testing.assert_array_equal(tiny_call.active[name][step], (x != 0) | (v != 0))
            v = np.where(u >= 1, 0, u)
        np.testing.assert_array_equal(tiny_call.potentials[name], v)


@pytest.mark.parametrize(
    ("x", "t", "got"),
    [
        ((2, 1, 8, 9), (2,), "x [2, 1, 8, 9] and t [2]"),
        ((2, 1, 8, 8), (3,), "x [2, 1, 8, 8] and t [3]"),
        ((2, 1, 8, 8), (2, 1), "x [2, 1, 8, 8] and t [2, 1]"),
        ((1, 8, 8), (1,), "x [1, 8, 8] and t [1]"),
    ],
)
def test_refuses_inputs_of_other_shapes(
    tiny_network: Network, x: tuple[int, ...], t: tuple[int, ...], got: str
) -> None:
    with pytest.raises(ValueError) as error:
        Engine(tiny_network).call(np.zeros(x), np.zeros(t, int))
    assert str(error.value) == f"tiny takes x [B, 1, 8, 8] and t [B]; got {got}"
