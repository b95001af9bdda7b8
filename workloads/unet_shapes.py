"""What the tensors of a U-Net's state dict say of its size: levels, blocks, widths, the image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nsim.errors import ModelFileError


def level_widths(path: Path, what: str, state: Mapping[str, torch.Tensor], conv: str) -> list[list[int]]:
    """Widths of the residual blocks of every level, told by the first convolution ``conv`` of each.

    ModelFileError where levels differ in their number of blocks, or the blocks of one level in width.
    """
    levels: list[list[int]] = [[]]
    indices = {int(m[1]) for key in state if (m := re.match(r"downblocks\.(\d+)\.", key))}
    for index in sorted(indices):
        width = state.get(f"downblocks.{index}.{conv}")
        if width is None:
            levels.append([])
        else:
            levels[-1].append(width.shape[0])
    if len({len(widths) for widths in levels}) != 1 or any(len(set(widths)) != 1 for widths in levels):
        raise ModelFileError(
            f"{path}: down blocks of widths {levels} are not {what}'s: "
            "every level has the same number of blocks, all of one width"
        )
    return levels


def image_size(path: Path, x_t: Any, image_channels: int, levels: int) -> int:
    """Side of the images, told by ``x_T`` [N, C, size, size]; ModelFileError where it is none of a U-Net."""
    if not isinstance(x_t, torch.Tensor) or x_t.dim() != 4 or x_t.shape[1] != image_channels:
        raise ModelFileError(
            f"{path}: no 'x_T' of shape [N, {image_channels}, size, size], so the image size is unknown; "
            "add one, for example torch.randn(1, channels, size, size)"
        )
    halvings = 2 ** (levels - 1)
    if x_t.shape[2] != x_t.shape[3] or x_t.shape[2] % halvings:
        raise ModelFileError(
            f"{path}: images of {x_t.shape[2]}x{x_t.shape[3]}; this network takes square ones whose side "
            f"divides by {halvings}"
        )
    return int(x_t.shape[2])
