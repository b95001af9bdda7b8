"""Anyone's model: a function that makes a torch module, by name, and a file of weights for it."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from pathlib import Path

from torch import nn

from nsim.errors import ModelFileError
from nsim.frontends.load import read_checkpoint, sha256
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.workloads.samplers import DEFAULT_SAMPLER
from nsim.workloads.state import load_state

Shape = tuple[int, int, int]
FORM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_factory(name: str) -> bool:
    """True for ``package.module:function``."""
    return FORM.fullmatch(name) is not None


def load_factory(
    name: str,
    weights: Path | None,
    image: Shape | None,
    time_steps: int | None,
    sampler: str = DEFAULT_SAMPLER,
) -> Model:
    """Call ``package.module:function`` for a denoiser ``module(x [B, C, H, W], t [B])``, and lower it.

    The module may say ``image_shape`` (C, H, W) and ``time_steps`` as attributes; ``image`` and
    ``time_steps`` stand in where it does not. ``weights``: a state dict, bare or under 'net_model',
    'model' or 'state_dict'. Neurons are told by their class names, multi-step ones that take [T, B, ...].
    Raises ModelFileError for a name that leads to no such function, for what is left unsaid, and for weights
    of another model; UnsupportedOpError, with the module's path, for what has no place in a Network.
    """
    module = _make(name)
    shape = getattr(module, "image_shape", image)
    steps = time_steps or getattr(module, "time_steps", None)
    if shape is None or steps is None:
        missing = "image shape (--image 3x32x32)" if shape is None else "time steps (--time-steps 4)"
        raise ModelFileError(
            f"{name}: the {missing} are not known; say them, or give the module the attributes "
            "image_shape and time_steps"
        )
    said, digest = f"as made by {name}, training unknown", hashlib.sha256(name.encode()).hexdigest()
    if weights is not None:
        load_state(weights, name, module, _state(weights))
        said, digest = f"from {weights.name}, training unknown", sha256(weights)
    return Model(
        name=name.rpartition(":")[2],
        workload=name,
        network=lower(module, (shape[0], shape[1], shape[2]), steps, name),
        weights=said,
        sampler=sampler,
        sha256=digest,
        parameters=sum(p.numel() for p in module.parameters()),
    )


def parse_image(text: str) -> Shape:
    """Read ``3x32x32``: channels, height, width."""
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if match is None:
        raise ModelFileError(f"image {text!r}: write channels x height x width, for example 3x32x32")
    return int(match[1]), int(match[2]), int(match[3])


def _make(name: str) -> nn.Module:
    package, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's own folder, as for `python -m`
    try:
        found = getattr(importlib.import_module(package), function)
    except (ImportError, AttributeError) as error:
        raise ModelFileError(f"{name}: {error}; write package.module:function, found from here") from None
    module = found()
    if not isinstance(module, nn.Module):
        raise ModelFileError(f"{name}: returns a {type(module).__name__}, not a torch module")
    return module.eval()


def _state(weights: Path) -> dict:
    content = read_checkpoint(weights)
    for key in ("net_model", "model", "state_dict"):
        if isinstance(content.get(key), dict):
            return content[key]
    return content
