"""A Network as a table that a person can read."""

from __future__ import annotations

from nsim.frontends.network import HostOp, Network, Population
from nsim.html_table import html_table

COLUMNS = ("name", "what", "shape", "from", "weights", "dense operations / step")


def network_table(network: Network) -> str:
    """Every population, projection, bias and host op, one line each, in order of execution."""
    rows = [COLUMNS, *_rows(network)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join([_title(network), "", *lines])


def network_html(network: Network) -> str:
    """The same table for a notebook."""
    return html_table(_title(network), COLUMNS, _rows(network))


def _title(network: Network) -> str:
    neurons = network.neurons
    return (
        f"{network.name}: T = {network.time_steps}, {len(neurons)} spiking layers, "
        f"{sum(p.size for p in neurons):,} neurons, {len(network.projections)} projections, "
        f"{len(network.host_ops)} host ops"
    )


def _rows(network: Network) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for item in network.execution_order:
        rows.extend(_host_row(item) if isinstance(item, HostOp) else _population_rows(network, item))
    return rows


def _population_rows(network: Network, population: Population) -> list[tuple[str, ...]]:
    what = population.neuron.kind if population.neuron else population.kind
    fed = population.host_op or ""
    rows: list[tuple[str, ...]] = [(population.name, what, _shape(population.shape), fed, "", "")]
    for p in network.incoming(population.name):
        first, last = p.target_channels
        part = "" if p.kernel.c_out == population.shape[0] else f"[{first}:{last}]"
        if p.kernel.is_identity:
            what, weights, dense = "identity", "", ""
        else:
            k, s = p.kernel.size, p.kernel.stride
            name = "conv" if p.kernel.spread == (1, 1) else f"transposed /{p.kernel.spread[0]}"
            what = f"{name} {k[0]}x{k[1]}" + (f" /{s[0]}" if s != (1, 1) else "")
            weights = f"{p.kernel.c_out * p.kernel.c_in_per_group * k[0] * k[1]:,}"
            dense = f"{p.kernel.dense_operations(population.shape[1:]):,}"
        up = f" (up x{p.kernel.upsample})" if p.kernel.upsample > 1 else ""
        rows.append((f"  {p.name}", what, part, p.source + up, weights, dense))
    rows.extend(
        (f"  {b.host_op}", "host bias", "", b.host_op, "", "")
        for b in network.biases
        if b.target == population.name
    )
    return rows


def _host_row(op: HostOp) -> list[tuple[str, ...]]:
    weights = sum(op.params[name].size for name in ("weight", "table") if name in op.params and op.macs)
    weights += op.kernel.array.size if op.kernel else 0
    when = "host, every step" if op.every_step else "host, once"
    row = (op.name, f"{op.kind} ({when})", _shape(op.shape), ", ".join(op.inputs))
    return [(*row, f"{weights:,}" if weights else "", f"{op.macs:,}" if op.macs else "")]


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
