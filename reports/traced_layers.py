"""The weighted layers of the model as traced, one row each: what the papers' rules are evaluated on."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from math import prod

import pandas as pd

from nsim.frontends.network import HostOp, Network, Population, Projection

COLUMNS = [
    "layer",
    "kind",
    "input",
    "source",
    "target",
    "kernel_rows",
    "kernel_columns",
    "stride_rows",
    "stride_columns",
    "upsample",
    "channels_in",
    "rows_in",
    "columns_in",
    "channels_out",
    "rows_out",
    "columns_out",
    "every_step",
    "dense_macs",
    "norm_elements",
    "elements",
]


def traced_layers(network: Network) -> pd.DataFrame:
    """One row per convolution, linear layer, norm and population of neurons of the model as traced.

    ``kind``: conv, linear, norm, IF or LIF; ``input``: image, spikes or analog; ``upsample``: nearest
    up-sampling of the input before the kernel; ``dense_macs``: weight uses of one evaluation of one image as
    papers count them, taps on padding included; ``norm_elements``: elements of a BatchNorm evaluated with
    it; ``elements``: of the output; ``every_step``: once per time step, or once per call.
    """
    kinds = network.population_by_name
    rows = [
        _projection(network, p)
        for population in network.populations
        for p in network.incoming(population.name)
        if not p.kernel.is_identity or (p.scale is not None and kinds[p.source].kind != "neuron")
    ]
    rows += [_neurons(p) for p in network.neurons]
    rows += [_host_op(op) for op in network.host_ops if op.kind in ("conv", "linear", "affine")]
    return pd.DataFrame(rows, columns=COLUMNS)


def first_readers(network: Network, on_cores: Collection[str]) -> pd.DataFrame:
    """The layer on cores that reads the result of each projection of the model as traced: layer, read_by.

    That is its target, or, where the target is a stream that lies on no core, the first layer in order of
    execution that reads the stream, through other streams if need be. So a count as traced stands with the
    layer whose cores have the synapses for it; that later layers read the stream again is what `expand` adds.
    Missing where only the host reads it.
    """
    order = {item.name: i for i, item in enumerate(network.execution_order)}
    targets: dict[str, list[str]] = {}
    for p in network.projections:
        targets.setdefault(p.source, []).append(p.target)

    @cache
    def reader(name: str) -> str | None:
        if name in on_cores:
            return name
        found = [r for r in map(reader, targets.get(name, [])) if r is not None]
        return min(found, key=order.__getitem__, default=None)

    rows = [(p.name, reader(p.target)) for p in network.projections]
    return pd.DataFrame(rows, columns=["layer", "read_by"])


def _projection(network: Network, p: Projection) -> tuple[object, ...]:
    source, target = network.population_by_name[p.source], network.population_by_name[p.target]
    size = target.shape[1:]
    elements = p.kernel.c_out * size[0] * size[1]
    return (
        p.name,
        "norm" if p.kernel.is_identity else "conv",
        {"source": "image", "neuron": "spikes", "analog": "analog"}[source.kind],
        p.source,
        p.target,
        *p.kernel.size,
        *p.kernel.stride,
        p.kernel.upsample,
        p.kernel.c_in,
        *source.shape[1:],
        p.kernel.c_out,
        *size,
        True,
        0 if p.kernel.is_identity else p.kernel.dense_operations(size),
        0 if p.scale is None else elements,
        elements,
    )


def _neurons(p: Population) -> tuple[object, ...]:
    assert p.neuron is not None
    one = (1, 1, 1, 1, 1)
    return (p.name, p.neuron.kind, "analog", p.name, p.name, *one, *p.shape, *p.shape, True, 0, 0, p.size)


def _host_op(op: HostOp) -> tuple[object, ...]:
    size = op.shape[1:] if len(op.shape) == 3 else (1, 1)
    kernel = op.kernel
    dense = op.macs if kernel is None else kernel.dense_operations(size)
    return (
        op.name,
        "norm" if op.kind == "affine" else op.kind,
        "analog",
        op.inputs[0],
        op.name,
        *((1, 1) if kernel is None else kernel.size),
        *((1, 1) if kernel is None else kernel.stride),
        1 if kernel is None else kernel.upsample,
        op.in_shape[0],
        *(op.in_shape[1:] if len(op.in_shape) == 3 else (1, 1)),
        op.shape[0],
        *size,
        op.every_step,
        dense,
        prod(op.shape) if op.kind == "affine" else 0,
        prod(op.shape),
    )
