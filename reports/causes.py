"""The causes of energy, grouped as people read them: one place for the groups, their order and their colours.

A cause is an event of ``nsim.hw_models.spec.EVENTS``, the ``barrier``, or a floor power (``static``,
``embedded_processor``).
"""

from __future__ import annotations

CAUSE_GROUPS: dict[str, tuple[str, ...]] = {
    "synaptic events": ("synaptic_event_conv", "synaptic_event_dense", "synaptic_event_sparse"),
    "neuron updates, active": ("update_active",),
    "neuron updates, idle": ("update_idle",),
    "spikes": ("spike",),
    "packets and hops": ("packet_out", "packet_in", "tile_local", "hop_x", "hop_y", "chip_crossing"),
    "barrier": ("barrier",),
    "state reset": ("state_reset",),
    "host work": ("host_mac", "host_elementwise"),
    "host transfers": ("bias_write", "host_read", "host_write", "config_load"),
    "embedded processor": ("embedded_processor",),
    "static power": ("static",),
}
"""Group name to its causes, in the order of drawing: what spikes pay first, what time pays last."""

GROUP_COLOURS: dict[str, str] = {
    "synaptic events": "#004c7a",
    "neuron updates, active": "#d55e00",
    "neuron updates, idle": "#e69f00",
    "spikes": "#f0e442",
    "packets and hops": "#009e73",
    "barrier": "#262626",
    "state reset": "#8f4b70",
    "host work": "#56b4e9",
    "host transfers": "#cfe8f7",
    "embedded processor": "#777777",
    "static power": "#d4d4d4",
}
"""Okabe and Ito's colours and greys, some darkened: neighbours differ in lightness too, for grey print."""

_GROUP_OF = {cause: group for group, causes in CAUSE_GROUPS.items() for cause in causes}


def group_of(cause: str) -> str:
    """Name the group a cause belongs to; KeyError for a cause that no group holds."""
    try:
        return _GROUP_OF[cause]
    except KeyError:
        raise KeyError(f"the cause {cause!r} is in no group; known are {', '.join(_GROUP_OF)}") from None
