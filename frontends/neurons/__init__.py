"""Neuron dialects: which module classes are spiking neurons, and how to read their parameters.

Modules are told by class name along their inheritance and by an attribute or two, so no spiking library is
ever imported here. One file per library; each says its equations and where they are written.
"""

from nsim.frontends.neurons.dialect import NeuronCall, TimeAxis
from nsim.frontends.neurons.recognise import is_neuron, neuron_call, read_neuron

__all__ = ["NeuronCall", "TimeAxis", "is_neuron", "neuron_call", "read_neuron"]
