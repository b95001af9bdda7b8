"""BatchNorm statistics for random weights: what makes the neurons of an untrained network fire at all."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def calibrate_batch_norm(module: nn.Module, *inputs: torch.Tensor) -> None:
    """Set every BatchNorm's running statistics to those of one batch, layer after layer, in one forward pass.

    Leaves the module in inference mode. Weights are not touched: nothing is trained.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over batches seen: one
    module.eval()
    for norm in norms:
        norm.train()
    module(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
