"""How a Loihi 2 core stores a convolution, as read off lava-dl's compiler logs."""

from __future__ import annotations

from nsim.hw_models.spec import PoolCore


def conv_words(
    kernel: tuple[int, int], c_in: int, block_channels: int, weight_bits: int, core: PoolCore
) -> int:
    """Words of a convolution on one core: a full copy of the kernel for the block's output channels.

    ``kh * kw * C_in * ceil(block_channels * weight_bits / 64)``, whatever the number of positions.
    ``weight_bits``: after compression of the layer's weights. Derived from the five convolutions of PilotNet;
    the compiler's YOLO rows come close and are not whole words by it, so their packing is not known.
    """
    row = -(-block_channels * weight_bits // core.word_bits.value)
    return kernel[0] * kernel[1] * c_in * row


def conv_block_width(rows: int, channels: int, core: PoolCore) -> int:
    """Columns of a block that holds all rows and channels: the largest power of two that fits.

    Netx's choice for PilotNet; ValueError where one column is already too much (netx then cuts the rows too).
    """
    most = core.conv_block_neurons.value // (rows * channels)
    if most == 0:
        raise ValueError(f"{rows} rows of {channels} channels: a block holds {core.conv_block_neurons.value}")
    return 1 << (most.bit_length() - 1)


def conv_cores(width: int, rows: int, channels: int, core: PoolCore) -> int:
    """Cores of a convolution's output ``width`` x ``rows`` x ``channels``, cut along the width only."""
    return -(-width // conv_block_width(rows, channels, core))
