"""The causes of energy, grouped as people read them: one place for the groups, their order and their colours.

A cause is an event of ``nsim.hw_models.spec.EVENTS``, the ``barrier``, or a floor power (``static``,
``embedded_processor``).
"""

from __future__ import annotations

FLOORS = ("embedded_processor", "static")
"""Causes whose figure is a power, paid as long as a chip is on."""

CAUSE_GROUPS: dict[str, tuple[str, ...]] = {
    "synaptic events": ("synaptic_event_conv", "synaptic_event_dense", "synaptic_event_sparse"),
    "neuron updates, active": ("update_active",),
    "neuron updates, idle": ("update_idle",),
    "spikes": ("spike",),
    "packets and hops": ("packet_out", "packet_in", "tile_local", "hop_x", "hop_y", "chip_crossing"),
    "barrier": ("barrier",),
    "state reset": ("state_reset",),
    "host work": ("host_mac", "host_elementwise", "host_spike_product"),
    "host transfers": ("bias_write", "host_read", "host_write", "config_load"),
    "embedded processor": ("embedded_processor",),
    "static power": ("static",),
}
"""Group name to its causes, in the order of drawing: what spikes pay first, what time pays last."""

GROUP_COLOURS: dict[str, str] = {
    "synaptic events": "#0a2f94",
    "neuron updates, active": "#a8370a",
    "neuron updates, idle": "#e89404",
    "spikes": "#fbd073",
    "packets and hops": "#1d9252",
    "barrier": "#262626",
    "state reset": "#b85ead",
    "host work": "#60b8ff",
    "host transfers": "#c1dfff",
    "embedded processor": "#606060",
    "static power": "#aeaeae",
}
"""Chosen so that no two look alike, to the colour-blind either, and neighbours differ in grey print too."""

_GROUP_OF = {cause: group for group, causes in CAUSE_GROUPS.items() for cause in causes}


def group_of(cause: str) -> str:
    """Name the group a cause belongs to; KeyError for a cause that no group holds."""
    try:
        return _GROUP_OF[cause]
    except KeyError:
        raise KeyError(f"the cause {cause!r} is in no group; known are {', '.join(_GROUP_OF)}") from None
