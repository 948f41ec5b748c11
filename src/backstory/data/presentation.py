"""Binarised and dequantised x at random: the random numbers, and grey values that become 0 or 1."""

import math

import torch
from torch import Tensor

BYTE = 255  # the top level of bytes, which are binarised by whole numbers


def bits(shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Random numbers of this shape, uniform over 16 bits, int16; much faster than floats over [0, 1)."""
    words = torch.empty(math.ceil(math.prod(shape) / 4), dtype=torch.int64, device=device)
    drawn = words.random_(-(2**63), None, generator=generator).view(torch.int16)
    return drawn[: math.prod(shape)].view(shape).clamp_(max=32766)  # below the threshold of the top level


def binarised(v: Tensor, noise: Tensor, maximum: float) -> Tensor:
    """1 with the probability v / maximum, else 0, of float32; NaN stays NaN.

    Args:
        v: grey values from 0 to `maximum`.
        noise: of `bits` where v are bytes, else uniform over [0, 1).
        maximum: the top level.
    """
    if noise.dtype == torch.int16:
        # P = 257 v / 65,536, which is v / 255 to within 2⁻¹⁶; 0 and 1 are exact
        levels = v.to(torch.int16).mul_(257).sub_(32768)
        return torch.lt(noise, levels, out=torch.empty_like(levels, dtype=torch.float32))
    drawn = (noise * maximum < v).float()
    return torch.where(torch.isnan(v), torch.nan, drawn) if v.is_floating_point() else drawn
