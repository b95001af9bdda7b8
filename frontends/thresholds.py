"""Threshold guidance: firing thresholds of a lowered network set anew, all or layer by layer; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nsim.errors import ModelFileError
from nsim.frontends.network import Network, Population

Thresholds = float | str | Mapping[str, float]
"""One threshold for every neuron; or layer name to threshold, "*" for all others; or either as text."""


def parse_thresholds(text: str) -> dict[str, float]:
    """Read ``0.997``, ``layer=0.997``, or several of these with ``+`` between them."""
    values: dict[str, float] = {}
    for part in text.split("+"):
        layer, _, value = part.rpartition("=")
        try:
            values[layer.strip() or "*"] = float(value)
        except ValueError:
            raise ModelFileError(
                f"threshold {part!r}: write a number for all layers (0.997), layer=number, or both with + "
                "between (1+layer=0.997)"
            ) from None
    return values


def with_thresholds(networks: tuple[Network, ...], thresholds: Thresholds) -> tuple[Network, ...]:
    """The networks with other firing thresholds; reset values and weights stay.

    Raises ModelFileError for a threshold that is not above 0, and for a layer that none of them has.
    """
    if isinstance(thresholds, str):
        values = parse_thresholds(thresholds)
    else:
        values = dict(thresholds) if isinstance(thresholds, Mapping) else {"*": thresholds}
    layers = [p.name for network in networks for p in network.neurons]
    if any(p.neuron.signed for network in networks for p in network.neurons if p.neuron is not None):
        raise ModelFileError(
            f"{networks[0].name}: the thresholds of signed neurons are the clips of the ANN's activations "
            "(act_alpha); they stay as they are"
        )
    for layer, value in values.items():
        if not value > 0:
            raise ModelFileError(f"a threshold of {value:g} for {layer!r}; it must be above 0")
        if layer != "*" and layer not in layers:
            raise ModelFileError(
                f"no spiking layer {layer!r} in {networks[0].name}; it has {len(layers)}: "
                f"{', '.join(layers[:4])}, ..."
            )

    def changed(population: Population) -> Population:
        value = values.get(population.name, values.get("*"))
        if population.neuron is None or value is None:
            return population
        neuron = population.neuron
        # a soft reset goes with the threshold, by the same factor
        subtract = None if neuron.subtract is None else neuron.subtract * value / neuron.v_threshold
        return replace(population, neuron=replace(neuron, v_threshold=value, subtract=subtract))

    return tuple(replace(n, populations=tuple(map(changed, n.populations))) for n in networks)
