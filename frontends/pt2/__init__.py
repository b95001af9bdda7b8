"""torch.export programs (``.pt2``): read without running code, their neurons told by measurement.

`archive` reads the file, `arithmetic` works out the elementary operations of a neuron, `measure` finds the
`NeuronModel` that does the same, and `graph` writes the program as layers and neurons that `lower` reads.
"""
