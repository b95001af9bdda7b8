"""Layers as traced beside as laid out: nothing is lost on either side, and what is not expanded is equal."""

from __future__ import annotations

import pandas as pd
import pytest

import nsim
from nsim.frontends.network import Network
from nsim.hw_models.mapping.policies import Policy
from nsim.reports.layer_operations import BESIDE, layer_operations
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.reports.traced_layers import first_readers
from tests.networks import model_of, random_network


@pytest.fixture(scope="module", params=["expand", "host"])
def run(request: pytest.FixtureRequest, tiny_network: Network) -> Run:
    policy: Policy = request.param
    return run_sampler(nsim.map(model_of(tiny_network, "ddim:2"), "loihi", policy), threads=1)


def test_both_sides_add_up_to_the_totals(run: Run) -> None:
    rows, operations, counts = run.layer_operations(), run.operations(), run.counts()
    assert rows["layer"].to_list() == [*run.cores["layer"].unique(), BESIDE]
    assert rows["traced_ac"].sum() == operations["ac"].sum() > 0
    assert rows["traced_mac"].sum() == operations["mac"].sum() > 0
    synaptic = counts["event"].str.startswith("synaptic_event")
    assert rows["laid_out_ac"].sum() == counts.loc[synaptic, "count"].sum() > 0
    assert rows["laid_out_mac"].sum() == counts.loc[counts["event"] == "host_mac", "count"].sum() > 0
    assert rows.attrs["nsim"] == run.folder.provenance


def test_a_layer_that_reads_one_convolution_of_spikes_is_the_same_on_both_sides(
    run: Run, tiny_network: Network
) -> None:
    kinds = tiny_network.population_by_name
    rows = run.layer_operations().set_index("layer")
    incoming = {p.name: tiny_network.incoming(p.name) for p in tiny_network.neurons}
    plain = [
        name
        for name, projections in incoming.items()
        if [kinds[p.source].kind for p in projections] == ["neuron"]
    ]
    assert len(plain) > 5
    assert (rows.loc[plain, "traced_ac"] == rows.loc[plain, "laid_out_ac"]).all()
    assert (rows.loc[plain, "traced_ac"] > 0).all()


def test_only_expanding_adds(run: Run) -> None:
    """Not to every layer: taps of an up-sampled spike that meet in one synapse are fewer as laid out."""
    rows = run.layer_operations()
    times = rows["laid_out_ac"].sum() / rows["traced_ac"].sum()
    assert times > 1.5 if run.manifest["policy"] == "expand" else times <= 1.0


def test_first_readers() -> None:
    network = random_network(("conv", "residual", "residual", "cat"), 0)
    readers = first_readers(network, {p.name for p in network.neurons})
    assert readers["layer"].to_list() == [p.name for p in network.projections]
    by_ends = {
        (p.source, p.target): reader
        for p, reader in zip(network.projections, readers["read_by"], strict=True)
    }
    assert by_ends["x", "n0"] == "n0" and by_ends["n0", "n1"] == "n1"
    assert by_ends["n1", "s2"] == "n2"  # s2 is read by n2, and by s3 and s4 later
    assert by_ends["s2", "s3"] == by_ends["n2", "s3"] == "n3"
    assert by_ends["s3", "s4"] == "n4"
    some = first_readers(network, {"n0", "n1", "s2"}).set_index(readers["layer"])["read_by"]
    assert [some[p.name] for p in network.projections if p.target == "s2"] == ["s2", "s2"]
    assert pd.isna([some[p.name] for p in network.projections if p.target == "s3"]).all()


def test_what_nothing_on_cores_reads_stands_beside() -> None:
    operations = pd.DataFrame(
        {"layer": ["conv", "tail"], "ac": [3, 0], "graded_ac": [0, 1], "mac": [0, 5]}
    ).assign(spike_product=[0, 7])
    counts = pd.DataFrame(
        {
            "layer": ["n", "tail", "n", "tail", "chip"],
            "event": ["synaptic_event_conv", "host_mac", "spike", "host_spike_product", "state_reset"],
            "count": [6, 5, 9, 7, 1],
        }
    )
    rows = layer_operations(operations, counts, {"conv": "n"}, ["n", "silent"])
    assert rows.to_dict("list") == {
        "layer": ["n", "silent", BESIDE],
        "traced_ac": [3, 0, 0],
        "traced_graded_ac": [0, 0, 1],
        "traced_mac": [0, 0, 5],
        "traced_spike_product": [0, 0, 7],
        "laid_out_ac": [6, 0, 0],
        "laid_out_mac": [0, 0, 5],
        "laid_out_spike_product": [0, 0, 7],
    }
