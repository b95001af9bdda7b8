"""What a chip and its cores hold: tiles and meshes, capacities, widths of arithmetic, buffers."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from nsim.hw_models.spec.figures import Choices, Count, Figure, Integer, Model, fault


class Structure(Model):
    """Tiles, cores and chips; the mesh is ``tiles_x`` by ``tiles_y`` on each chip."""

    tiles_x: Count
    tiles_y: Count
    cores_per_tile: Count
    chips_max: Count


class CoreCount(Model):
    """Cores of a chip whose network has no mesh, or none that is published."""

    cores: Count
    chips_max: Count


class SynapseEntry(Model):
    """How synapses are packed into words: an entry is a prefix and a run of synapses of one source.

    A sparse synapse carries an index of ``index_bits_*``, a run-length one a skip of ``skip_bits_*``, a dense
    one neither. All entries of a source are packed into ceil(bits / word) words, and one word more if the
    bits in the last word are none or at least ``extra_word_from_bits``.
    """

    prefix_bits: Integer
    synapses_max: Count
    index_bits_min: Integer
    index_bits_max: Integer
    skip_bits_min: Integer
    skip_bits_max: Integer
    extra_word_from_bits: Integer


class PopulationAxons(Model):
    """Axons that carry the spikes of a group of neurons which reach the same cores.

    At most ``neurons_max`` share one; it takes one input axon where it arrives, and ``output_entries`` output
    axons for the whole group where it leaves (a neuron on its own takes one).
    """

    neurons_max: Count
    output_entries: Count


class Core(Model):
    """What a core with synapse lists holds: each number is the most that may be used.

    Delays up to ``delays_at_full_compartments`` cost nothing; each doubling of the delay slots beyond halves
    the compartments, up to ``max_delay``. Without ``population_axons`` every neuron has axons of its own.
    """

    compartments: Count
    synaptic_words: Count
    word_bits: Count
    max_words_per_axon: Count
    input_axons: Count
    output_axons: Count
    weight_bits: Count
    max_delay: Integer
    delays_at_full_compartments: Integer
    synapse_entry: SynapseEntry
    graded_spikes: bool
    population_axons: PopulationAxons | None = None


class PoolCore(Model):
    """What a core with one memory for neurons, axons and synapses holds, as far as a compiler uses it.

    ``conv_block_neurons``: the largest block of a convolution; its kernel is stored once per core.
    """

    pool_kib: Count
    neurons: Count
    neuron_groups: Count
    input_axons: Count
    axon_map_entries: Count
    synaptic_words: Count
    word_bits: Count
    weight_bits: Count
    conv_block_neurons: Count
    spike_bits: Count
    graded_spikes: bool


class CrossbarCore(Model):
    """A crossbar of ``axons`` by ``neurons`` bits: connected or not.

    A neuron has one signed weight for each of the ``axon_types``, and ``destinations`` (core, axon) pairs to
    send to. ``sram_rows`` of ``row_bits`` hold a neuron's connections, parameters and destination each.
    """

    axons: Count
    neurons: Count
    axon_types: Count
    weight_bits: Count
    potential_bits: Count
    destinations: Count
    max_delay: Count
    sram_rows: Count
    row_bits: Count
    graded_spikes: bool


class ConvCore(Model):
    """A core that holds one convolutional layer: its kernel and the state of its neurons.

    ``destinations``: layers that the output may go to. What the two memories of a core hold is a figure each,
    since it differs between cores or is not known.
    """

    input_side: Count
    output_side: Count
    channels: Count
    kernel_side: Count
    strides: Choices
    destinations: Count
    weight_bits: Count
    potential_bits: Count
    kernel_memory_kib: Figure
    neuron_memory_kib: Figure
    graded_spikes: bool


class Arithmetic(Model):
    """Widths and limits of a core's integer arithmetic (current-based leaky integrate-and-fire)."""

    decay_bits: Count
    current_decay_offset: Integer
    voltage_decay_offset: Integer
    synaptic_sum_bits: Count
    current_bits: Count
    potential_bits: Count
    bias_mantissa_bits: Count
    bias_exponent_max: Integer
    threshold_mantissa_bits: Count
    threshold_shift: Integer
    refractory_max: Count
    weight_min: Integer
    weight_max: Integer
    weight_step: Count
    weight_exponent_min: Integer
    weight_exponent_max: Integer
    weight_shift: Integer


class Noc(Model):
    """What the routers of the mesh are like, for the ``cycle`` level of timing.

    ``buffer_packets``: places in each input buffer of a router and of a core. ``cycle_ns``: the routers'
    clock; unknown also where they have none, and act when something happens.
    """

    buffer_packets: Figure
    cycle_ns: Figure

    @model_validator(mode="after")
    def _whole_and_above_zero(self) -> Self:
        places, cycle = self.buffer_packets, self.cycle_ns
        for name, figure in (("buffer_packets", places), ("cycle_ns", cycle)):
            if figure.included_in is not None:
                raise fault("a value or why_unknown", "included_in", name)
        if places.value is not None and (places.value < 1 or places.value % 1):
            raise fault("a whole number of at least 1", f"{places.value:g}", "buffer_packets", "value")
        if cycle.value == 0:
            raise fault("above 0", "0", "cycle_ns", "value")
        return self
