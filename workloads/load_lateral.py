"""A lateral selection transformer's bundle to a Model: there is no file of its authors, only ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nsim.errors import ModelFileError
from nsim.frontends.load import sha256
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.workloads.lateral import LateralConfig, LateralTransformer
from nsim.workloads.samplers import DEFAULT_SAMPLER
from nsim.workloads.state import UNKNOWN_WEIGHTS, load_state


def is_lateral(content: Mapping[str, Any]) -> bool:
    """True for a bundle whose weights are a lateral selection transformer's."""
    state = content.get("net_model")
    return isinstance(state, Mapping) and "blocks.0.router.mapping" in state


def load_lateral(path: Path, content: Mapping[str, Any], time_steps: int | None) -> Model:
    """The Model of a bundle {net_model, config, sampler}; its sizes and choices stand in ``config``.

    Raises ModelFileError for one without them: shapes of tensors do not tell thresholds, heads or the number
    of candidates kept.
    """
    bundle = content.get("config", {})
    try:
        config = LateralConfig(**bundle["model"])
    except (KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: a lateral selection transformer whose config.model does not say what it is ({error}); "
            "it takes the fields of nsim.workloads.lateral.LateralConfig"
        ) from None
    if time_steps is not None:
        config = replace(config, time_steps=time_steps)
    module = LateralTransformer(config)
    what = f"a lateral selection transformer of width {config.width} and depth {config.depth}"
    load_state(path, what, module, content["net_model"])
    trained = bundle.get("trained", UNKNOWN_WEIGHTS)
    model = lateral_model(path.stem, module, trained, content.get("sampler", DEFAULT_SAMPLER))
    return replace(model, sha256=sha256(path))


def lateral_model(
    name: str, module: LateralTransformer, weights: str, sampler: str = DEFAULT_SAMPLER
) -> Model:
    """A lateral selection transformer as a Model; ``sha256`` is left empty."""
    config = module.config
    return Model(
        name=name,
        workload="lateral",
        network=lower(
            module.eval(),
            (config.image_channels, config.image_size, config.image_size),
            config.time_steps,
            name,
        ),
        weights=weights,
        sampler=sampler,
        sha256="",
        parameters=sum(p.numel() for p in module.parameters()),
    )
