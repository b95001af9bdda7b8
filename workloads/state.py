"""State dicts: whether one belongs to a module, told by names and shapes before any weight is copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from nsim.errors import ModelFileError

State = Mapping[str, torch.Tensor]


def load_state(path: Path, what: str, module: nn.Module, state: State) -> None:
    """Load ``state`` into ``module``; a ModelFileError names the first tensor ``what`` has no place for."""
    wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key in (*wanted, *found):
        if wanted.get(key) != found.get(key):
            raise ModelFileError(
                f"{path}: {key} is {_shape(found.get(key))}, {what} has {_shape(wanted.get(key))}"
            )
    module.load_state_dict(state)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a scalar"
