"""Threshold guidance: thresholds set anew, all or layer by layer, in words and in values."""

from __future__ import annotations

import pytest

from nsim.errors import ModelFileError
from nsim.frontends.network import Network
from nsim.frontends.thresholds import Thresholds, parse_thresholds, with_thresholds


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.997", {"*": 0.997}),
        ("neuron=0.9", {"neuron": 0.9}),
        ("1+neuron=0.9 + up.neuron1=1.1", {"*": 1.0, "neuron": 0.9, "up.neuron1": 1.1}),
    ],
)
def test_thresholds_in_words(text: str, values: dict[str, float]) -> None:
    assert parse_thresholds(text) == values


def thresholds_of(network: Network) -> dict[str, float]:
    return {p.name: p.neuron.v_threshold for p in network.neurons if p.neuron}


def test_only_thresholds_change(tiny_network: Network) -> None:
    first, *others = thresholds_of(tiny_network)
    for thresholds in (f"0.9+{first}=0.5", {"*": 0.9, first: 0.5}):
        (changed,) = with_thresholds((tiny_network,), thresholds)
        assert thresholds_of(changed) == {first: 0.5} | dict.fromkeys(others, 0.9)
        assert changed.projections == tiny_network.projections
    (one,) = with_thresholds((tiny_network,), {first: 0.5})
    assert thresholds_of(one) == thresholds_of(tiny_network) | {first: 0.5}


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (
            "neuron=high",
            "threshold 'neuron=high': write a number for all layers (0.997), layer=number, or both with + "
            "between (1+layer=0.997)",
        ),
        (0.0, "a threshold of 0 for '*'; it must be above 0"),
        ("nowhere=1", "no spiking layer 'nowhere' in tiny; it has 19: neuron, "),
    ],
)
def test_what_cannot_be_a_threshold(tiny_network: Network, thresholds: Thresholds, message: str) -> None:
    with pytest.raises(ModelFileError) as error:
        with_thresholds((tiny_network,), thresholds)
    assert str(error.value).startswith(message)
