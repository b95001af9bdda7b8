"""Loihi 2's convolution storage against lava-dl's partition table of PilotNet."""

from __future__ import annotations

import re

import pytest

from nsim.hw_models.catalog import load_any_chip
from nsim.hw_models.cores.loihi2 import conv_block_width, conv_cores, conv_words
from nsim.hw_models.spec import PoolChip, PoolCore


@pytest.fixture(scope="module")
def core() -> PoolCore:
    chip = load_any_chip("loihi2")
    assert isinstance(chip, PoolChip)
    return chip.core


@pytest.mark.parametrize(
    ("c_in", "channels", "bits", "words"),
    [
        (3, 24, 8, 81),
        (24, 36, 7, 864),
        (36, 48, 6, 1620),
        (48, 64, 6, 2592),
        (48, 64, 5, 2160),
        (64, 64, 5, 2880),
    ],
)
def test_words_of_pilotnets_convolutions(
    core: PoolCore, c_in: int, channels: int, bits: int, words: int
) -> None:
    assert conv_words((3, 3), c_in, channels, bits, core) == words <= core.synaptic_words.value


@pytest.mark.parametrize(
    ("output", "width", "cores"),
    [
        ((200, 66, 3), 16, 13),  # the input of the spiking network
        ((99, 32, 24), 4, 25),
        ((49, 15, 36), 4, 13),
        ((24, 7, 48), 8, 3),
        ((22, 4, 64), 8, 3),
        ((20, 2, 64), 16, 2),
    ],
)
def test_cores_of_pilotnets_layers(
    core: PoolCore, output: tuple[int, int, int], width: int, cores: int
) -> None:
    assert conv_block_width(*output[1:], core) == width
    assert conv_cores(*output, core) == cores


def test_pilotnets_cores_with_the_published_ones_of_its_dense_layers(core: PoolCore) -> None:
    layers = [(99, 32, 24), (49, 15, 36), (24, 7, 48), (22, 4, 64), (20, 2, 64)]
    dense = 12 + 1 + 1 + 1  # as published: how their weights compress is not in the logs
    convolutions = sum(conv_cores(*layer, core) for layer in layers)
    assert convolutions + dense == 61
    assert convolutions + dense + conv_cores(200, 66, 3, core) == 74


def test_a_column_too_large_for_a_block(core: PoolCore) -> None:
    message = "224 rows of 17 channels: a block holds 3584"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        conv_block_width(224, 17, core)
