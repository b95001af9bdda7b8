"""State dicts, checked by names and shapes before any weight is copied, and the files they are kept in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nsim.errors import ModelFileError

State = Mapping[str, torch.Tensor]

UNKNOWN_WEIGHTS = "as found in the file, training unknown"
"""What is said of weights whose file says nothing."""


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


def save_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole or not at all; ModelFileError where it cannot be written."""
    part = path.with_name(path.name + ".part")
    try:
        torch.save(dict(content), part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{path}: cannot be written ({error})") from None
    finally:
        part.unlink(missing_ok=True)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a scalar"
