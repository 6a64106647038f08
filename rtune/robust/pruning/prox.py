"""Proximal maps of the penalties: each returns argmin_u  t * penalty(u) + 1/2 * |w - u|^2.

In the method t = lambda_1 / beta (arXiv 2003.00631, section 3). All maps are elementwise or
groupwise, keep shape and dtype, and never synchronise with the host. Where two u are equally good,
at a hard threshold, the answer is 0. A NaN stays NaN: a training that diverged must not be pruned
into one that looks well. docs/method.md derives the thresholds.
"""

import math

import torch
from torch import Tensor


def prox_l0(w: Tensor, t: float) -> Tensor:
    """Hard threshold: keeps w where |w| > sqrt(2 t), else 0. Any shape; t >= 0."""
    return torch.where(w.abs() <= math.sqrt(2 * t), 0.0, w)


def prox_l1(w: Tensor, t: float) -> Tensor:
    """Soft threshold: shrinks |w| by t, to 0 at the least. Any shape; t >= 0."""
    return w - w.clamp(-t, t)


def prox_transformed_l1(w: Tensor, t: float, a: float = 1.0) -> Tensor:
    """Prox of the transformed-l1 penalty rho_a(u) = (a + 1)|u| / (a + |u|). Any shape; t >= 0, a > 0.

    For w > 0 a stationary u > 0 solves u = w - c / (a + u)^2 with c = t a (a + 1): for v = a + u and
    s = a + w the cubic v^3 - s v^2 + c = 0, whose largest root, the only local minimum, is
    v = s/3 + 2s/3 cos(phi/3) with cos(phi) = 1 - 27 c / (2 s^3). It beats u = 0 when w is above the
    least value of t (a + 1) / (a + u) + u/2 over u >= 0: t (a + 1) / a while t <= a^2 / (2 (a + 1)),
    and sqrt(2 t (a + 1)) - a/2 above that. Same closed form: Zhang and Xin, "Minimization of
    transformed L1 penalty: closed form representation and iterative thresholding algorithms"
    (arXiv 1412.5240).
    """
    if t <= a * a / (2 * (a + 1)):
        threshold = t * (a + 1) / a
    else:
        threshold = math.sqrt(2 * t * (a + 1)) - a / 2
    size = w.abs()
    s = a + size
    # sin(phi/2)^2, in ratios that cannot overflow: arccos(1 - x) would lose a small x altogether.
    # It may exceed 1 below the threshold; the value is discarded there.
    sine = (6.75 * (t * (a + 1) / s) * (a / s) / s).clamp_max(1).sqrt()
    v = s / 3 * (1 + 2 * torch.cos(2 / 3 * torch.arcsin(sine)))
    # Not v - a, which is nothing but rounding error where w is far below a.
    u = (size - t * (a + 1) / v * (a / v)).clamp_min(0)
    return torch.where(size <= threshold, 0.0, w.sign() * u)


def prox_group_l0(w: Tensor, t: float, groups: int = 1) -> Tensor:
    """Keeps an input channel where its l2 norm is > sqrt(2 t), else zeroes all of it.

    w: (out, in / groups, kh, kw) weights of a convolution with `groups` groups; t >= 0.
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
    """l2 norms (groups, in / groups) of the input channels: over the output-channel and kernel axes."""
    norms: Tensor = torch.linalg.vector_norm(_by_channel(w, groups), dim=(1, 3))
    return norms


def scale_channels(w: Tensor, factor: Tensor, groups: int = 1) -> Tensor:
    """w with input channel i of group g multiplied by factor[g, i]; shape of w kept."""
    return (_by_channel(w, groups) * factor[:, None, :, None]).reshape(w.shape)


def _by_channel(w: Tensor, groups: int) -> Tensor:
    """(out, in / groups, kh, kw) seen as (groups, out / groups, in / groups, kh * kw)."""
    return w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
