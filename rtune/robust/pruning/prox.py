"""Proximal maps of the penalties: each returns argmin_u  t * penalty(u) + 1/2 * (w - u)^2.

In the method t = lambda_1 / beta (arXiv 2003.00631, section 3). All maps are elementwise or
groupwise, allocate one tensor and never synchronise with the host.
"""

import math

import torch
from torch import Tensor


def prox_l0(w: Tensor, t: float) -> Tensor:
    """Hard threshold: keeps w where |w| > sqrt(2 t), else 0. Any shape; t >= 0."""
    return torch.where(w.abs() > math.sqrt(2 * t), w, 0.0)


def prox_l1(w: Tensor, t: float) -> Tensor:
    """Soft threshold: shrinks |w| by t, to 0 at the least. Any shape; t >= 0."""
    return w - w.clamp(-t, t)


def prox_transformed_l1(w: Tensor, t: float, a: float = 1.0) -> Tensor:
    """Prox of the transformed-l1 penalty rho_a(u) = (a + 1)|u| / (a + |u|), a > 0.

    Closed form and threshold of Zhang and Xin (arXiv 1412.5240, theorem 3.1): below the
    threshold the answer is 0, above it the largest root of the cubic stationarity equation,
    in its trigonometric form.
    """
    if t <= a * a / (2 * (a + 1)):
        threshold = t * (a + 1) / a
    else:
        threshold = math.sqrt(2 * t * (a + 1)) - a / 2
    size = w.abs()
    cosine = 1 - 27 * t * a * (a + 1) / (2 * (a + size).pow(3))
    # Below the threshold the cosine may leave [-1, 1]; the value is discarded there.
    angle = torch.arccos(cosine.clamp(-1, 1))
    root = 2 / 3 * (a + size) * torch.cos(angle / 3) - 2 / 3 * a + size / 3
    return torch.where(size > threshold, w.sign() * root, 0.0)


def prox_group_l0(w: Tensor, t: float, groups: int = 1) -> Tensor:
    """Keeps an input channel where its l2 norm is > sqrt(2 t), else zeroes all of it.

    w: (out, in, kh, kw) weights of a convolution with `groups` groups.
    """
    norms = channel_norms(w, groups)
    return scale_channels(w, (norms > math.sqrt(2 * t)).to(w.dtype), groups)


def prox_group_lasso(w: Tensor, t: float, groups: int = 1) -> Tensor:
    """Shrinks each input channel's l2 norm by t, to 0 at the least. w as in `prox_group_l0`."""
    norms = channel_norms(w, groups)
    # A zero channel stays zero: 0/0 is never formed.
    factor = (norms - t).clamp_min(0) / norms.clamp_min(torch.finfo(w.dtype).tiny)
    return scale_channels(w, factor, groups)


def channel_norms(w: Tensor, groups: int = 1) -> Tensor:
    """l2 norms (groups, in) of the input channels: over the output-channel and kernel axes."""
    norms: Tensor = torch.linalg.vector_norm(_by_channel(w, groups), dim=(1, 3))
    return norms


def scale_channels(w: Tensor, factor: Tensor, groups: int = 1) -> Tensor:
    """w with input channel i of group g multiplied by factor[g, i]; shape of w kept."""
    return (_by_channel(w, groups) * factor[:, None, :, None]).reshape(w.shape)


def _by_channel(w: Tensor, groups: int) -> Tensor:
    """(out, in, kh, kw) seen as (groups, out per group, in, kh * kw)."""
    return w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
