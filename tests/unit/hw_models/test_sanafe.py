"""SANA-FE architecture files as chips: figures, what is left at 0, what the format cannot say."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsim.errors import ChipFileError
from nsim.hw_models.catalog import load_chip

ARCHITECTURE = """
architecture:
  name: my_chip
  attributes: {topology: mesh, width: 3, height: 2, sync_model: fixed, latency_sync: 0.5e-6}
  tile:
    - name: my_tile[0..5]
      attributes:
        energy_north_hop: 2.0e-12
        latency_north_hop: 1.0e-9
        energy_east_hop: 3.0e-12
        latency_east_hop: 1.5e-9
        energy_south_hop: 2.0e-12
        latency_south_hop: 1.0e-9
        energy_west_hop: 3.0e-12
        latency_west_hop: 1.5e-9
      core:
        - name: my_core[0..1]
          attributes: {max_neurons_supported: 100}
          axon_in:
            - name: in
              attributes: {energy_message_in: 0.0, latency_message_in: 16.0e-9}
          soma:
            - name: inputs
              attributes: {model: input, energy_access_neuron: 0.0}
            - name: lif
              attributes:
                model: leaky_integrate_fire
                energy_access_neuron: 50.0e-12
                latency_access_neuron: 6.0e-9
                energy_update_neuron: 20.0e-12
                latency_update_neuron: 3.5e-9
                energy_spike_out: 0.0
                latency_spike_out: 30.0e-9
          synapse:
            - name: dense_synapse
              attributes: {energy_process_spike: 35.0e-12, latency_process_spike: 4.0e-9}
            - name: conv_synapse
              attributes: {energy_process_spike: 24.0e-12, latency_process_spike: 3.0e-9}
          axon_out:
            - name: out
              attributes: {energy_message_out: 111.0e-12, latency_message_out: 5.0e-9}
"""


def load(tmp_path: Path, old: str = "", new: str = "") -> object:
    assert old in ARCHITECTURE
    path = tmp_path / "arch.yaml"
    path.write_text(ARCHITECTURE.replace(old, new, 1), encoding="utf-8")
    return load_chip(str(path))


def test_figures_structure_and_unknowns(tmp_path: Path) -> None:
    chip = load(tmp_path)
    assert (chip.name, chip.cores, chip.core.compartments.value) == ("my_chip", 12, 100)
    costs = chip.calibration()
    priced = {event: (costs.energy_pj(event), costs.time_ns(event)) for event in costs.events}
    assert {event: cost for event, cost in priced.items() if cost != (None, None)} == {
        "synaptic_event_dense": (35.0, 4.0),
        "synaptic_event_sparse": (35.0, 4.0),  # the first kind, as none is called so
        "synaptic_event_conv": (24.0, 3.0),
        "update_idle": (50.0, 6.0),
        "update_active": (70.0, 9.5),
        "spike": (None, 30.0),
        "packet_in": (None, 16.0),
        "packet_out": (111.0, 5.0),
        "tile_local": (0.0, 0.0),
        "hop_x": (3.0, 1.5),
        "hop_y": (2.0, 1.0),
    }
    assert costs.events["spike"].energy_pj.why_unknown == (
        "lif leaves energy_spike_out at 0 or out: no figure."
    )
    assert costs.events["tile_local"].energy_pj.included_in == "packet_out"
    assert costs.barrier_ns(6, 1) == 500
    assert costs.floor["static"].power_mw.charge is None
    assert chip.core.synaptic_words.note == "Not in the file: loihi's."


def test_a_file_of_zeros_prices_nothing(tmp_path: Path) -> None:
    path = tmp_path / "arch.yaml"
    zeros = "\n".join(
        line if "latency_sync" in line else line.replace("e-12", "e-400").replace("e-9", "e-400")
        for line in ARCHITECTURE.splitlines()
    )
    path.write_text(zeros, encoding="utf-8")
    costs = load_chip(str(path)).calibration()
    assert {costs.energy_pj(event) for event in costs.events} == {None}
    assert {costs.time_ns(event) for event in costs.events} == {None}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "energy_message_out: 111.0e-12",
            "energy_message_out: free",
            "arch.yaml, out.energy_message_out: expected a number of at least 0, found 'free'",
        ),
        (
            "energy_west_hop: 3.0e-12",
            "energy_west_hop: 4.0e-12",
            "arch.yaml, my_tile[0..5]: a hop east and a hop west must cost the same here; this "
            "version has one figure for both",
        ),
        ("width: 3, ", "", "arch.yaml, my_chip: expected width and height of at least 1"),
        (
            "          synapse:\n",
            "          synapses:\n",
            "arch.yaml, line 17, architecture.tile.0.core.0: expected the field 'synapse', found none",
        ),
    ],
)
def test_bad_architectures(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ChipFileError) as error:
        load(tmp_path, old, new)
    assert str(error.value).removeprefix(f"{tmp_path}/") == message
