"""Spiking neurons as torch modules, multi-step: input current [T, ...] in, spikes [T, ...] out.

The updates are SpikingJelly's (and so SDDPM's); attribute names are the same too, so that one tracer rule
reads both. State starts at ``v_reset`` (0 for soft reset) in every
call: nothing is carried from one denoiser call to the next.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from nsim.frontends.network import TAKES_BACK


class _MultiStepIF(torch.autograd.Function):
    """Integrate-and-fire over T steps, hard reset, with the ATan surrogate in the backward pass."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, current: torch.Tensor, v_threshold: float, v_reset: float) -> torch.Tensor:
        spikes = torch.empty_like(current)
        potentials = torch.empty_like(current)
        v = torch.full_like(current[0], v_reset)
        for step in range(current.shape[0]):
            u = torch.add(v, current[step], out=potentials[step])
            fired = torch.ge(u, v_threshold)
            spikes[step] = fired
            v = u.masked_fill(fired, v_reset)
        ctx.save_for_backward(potentials, spikes)
        ctx.v_threshold, ctx.v_reset = v_threshold, v_reset
        return spikes

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad_spikes: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        potentials, spikes = ctx.saved_tensors
        grad_current = torch.empty_like(potentials)
        grad_v = torch.zeros_like(potentials[0])
        for step in reversed(range(potentials.shape[0])):
            u, fired = potentials[step], spikes[step]
            # surrogate: dS/du = 1 / (1 + (pi (u - v_th))^2), the ATan of width alpha = 2
            surrogate = (u - ctx.v_threshold).mul_(math.pi).square_().add_(1.0).reciprocal_()
            # v = u (1 - S) + v_reset S, differentiated through S as well (detach_reset = False)
            through_reset = (ctx.v_reset - u).mul_(grad_v).add_(grad_spikes[step]).mul_(surrogate)
            grad_u = torch.add(grad_v, through_reset, out=grad_current[step])
            grad_v = grad_u.addcmul_(grad_v, fired, value=-1.0)
        return grad_current, None, None


class IFNode(nn.Module):
    """Integrate-and-fire: ``U = V + X; S = U >= v_threshold; V = v_reset where S else U``.

    Trains through the ATan surrogate (alpha = 2), gradient through the reset included.
    """

    def __init__(self, v_threshold: float = 1.0, v_reset: float = 0.0) -> None:
        super().__init__()
        self.v_threshold = v_threshold
        self.v_reset = v_reset

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        return _MultiStepIF.apply(current, self.v_threshold, self.v_reset)

    def extra_repr(self) -> str:
        return f"v_threshold={self.v_threshold}, v_reset={self.v_reset}"


class _ATan(torch.autograd.Function):
    """The step function x >= 0, with the ATan surrogate (alpha = 2) in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad_spikes: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grad_spikes / (1.0 + (math.pi * x).square())


def fire(x: torch.Tensor) -> torch.Tensor:
    """1 where ``x`` (a potential less its threshold) is at least 0, else 0; trains through the surrogate."""
    return _ATan.apply(x)


class LIFNode(nn.Module):
    """Leaky integrate-and-fire.

    ``decay_input``: ``U = V + (X - (V - v_rest)) / tau``, else ``U = V - (V - v_rest) / tau + X`` with
    ``v_rest = v_reset`` (0 when ``v_reset`` is None); ``S = U >= v_threshold``; hard reset ``V = v_reset``
    where S, or, with ``v_reset=None``, soft reset ``V = U - v_threshold S``.

    Trains through the ATan surrogate (alpha = 2), no gradient through the reset. ``running`` [T, B]: where it
    is 0 the neurons of that image are left alone in that time step: they do not fire and keep V.
    """

    def __init__(
        self,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
    ) -> None:
        super().__init__()
        self.tau = tau
        self.decay_input = decay_input
        self.v_threshold = v_threshold
        self.v_reset = v_reset

    def forward(self, current: torch.Tensor, running: torch.Tensor | None = None) -> torch.Tensor:
        rest = 0.0 if self.v_reset is None else self.v_reset
        v = torch.full_like(current[0], rest)
        spikes = []
        for step, x in enumerate(current):
            if self.decay_input:
                u = v + (x - (v - rest)) / self.tau
            else:
                u = v - (v - rest) / self.tau + x
            fired = fire(u - self.v_threshold)
            reset = fired.detach()
            if self.v_reset is None:
                after = u - reset * self.v_threshold
            else:
                after = torch.where(reset > 0, self.v_reset, u)
            if running is not None:
                on = (running[step] != 0).view(-1, *[1] * (x.dim() - 1))
                fired, after = fired * on, torch.where(on, after, v)
            spikes.append(fired)
            v = after
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        return (
            f"tau={self.tau}, decay_input={self.decay_input}, "
            f"v_threshold={self.v_threshold}, v_reset={self.v_reset}"
        )


class SignedIFNode(nn.Module):
    """The signed integrate-and-fire neuron of ANN-SNN conversion (Fast-SNN; Hu et al., 2023).

    ``V(0) = act_alpha / 2; U = V + X; S = 1 where U >= act_alpha, -1 where U <= -1e-3 and the spikes so far
    add up to more than 0; V = U - act_alpha S``. It sends ``act_alpha S``. For a constant input X in T steps
    the mean of what it sends is X clipped to [0, act_alpha] and rounded to a multiple of act_alpha / T.
    """

    def __init__(self, act_alpha: float = 6.0) -> None:
        super().__init__()
        self.act_alpha = nn.Parameter(torch.tensor(act_alpha))

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        v = torch.full_like(current[0], 0.5) * self.act_alpha
        sent = torch.zeros_like(v)
        steps = []
        for x in current:
            v = v + x
            sign = (v >= self.act_alpha).to(v.dtype) - ((v <= TAKES_BACK) & (sent > 0)).to(v.dtype)
            v, sent = v - sign * self.act_alpha, sent + sign
            steps.append(sign * self.act_alpha)
        return torch.stack(steps)
