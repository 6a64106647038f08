"""Proximal operators of the penalties: each returns argmin_u  t * penalty(u) + 1/2 * |w - u|^2.

The method uses t = lambda_1 / beta (arXiv 2003.00631, section 3). All operators act on single elements or on
groups, keep shape and dtype, and do not synchronise with the host. If two u are minimisers, as at a hard
threshold, the result is 0. NaN stays NaN, so that pruning cannot hide that a training has diverged.
docs/method.md derives the thresholds.
"""

import math

import torch
from torch import Tensor


def prox_l0(w: Tensor, t: float) -> Tensor:
    """Hard threshold, the proximal operator of l0: w where |w| > sqrt(2 t), else 0. Any shape; t >= 0."""
    return torch.where(w.abs() <= math.sqrt(2 * t), 0.0, w)


def prox_l1(w: Tensor, t: float) -> Tensor:
    """Soft threshold, the proximal operator of l1: sign(w) * max(|w| - t, 0). Any shape; t >= 0."""
    return w - w.clamp(-t, t)


def prox_transformed_l1(w: Tensor, t: float, a: float = 1.0) -> Tensor:
    """Proximal operator of transformed l1, rho_a(u) = (a + 1)|u| / (a + |u|). Any shape; t >= 0, a > 0.

    For w > 0, a stationary point u > 0 satisfies u = w - c / (a + u)^2 with c = t a (a + 1). With v = a + u
    and s = a + w this is the cubic equation v^3 - s v^2 + c = 0. Its largest root is the only local minimum:
    v = s/3 + 2s/3 cos(phi/3) with cos(phi) = 1 - 27 c / (2 s^3). This u is better than u = 0 if w is above
    the minimum of t (a + 1) / (a + u) + u/2 over u >= 0. The minimum is t (a + 1) / a if
    t <= a^2 / (2 (a + 1)), else sqrt(2 t (a + 1)) - a/2. Source of the closed form: Zhang and Xin,
    "Minimization of transformed L1 penalty: closed form representation and iterative thresholding
    algorithms" (arXiv 1412.5240).
    """
    if t <= a * a / (2 * (a + 1)):
        threshold = t * (a + 1) / a
    else:
        threshold = math.sqrt(2 * t * (a + 1)) - a / 2
    size = w.abs()
    s = a + size
    # sin(phi/2)^2, as a product of ratios that cannot overflow; in arccos(1 - x) a small x would be lost to
    # rounding. Below the threshold it may exceed 1; there the value is not used.
    sine = (6.75 * (t * (a + 1) / s) * (a / s) / s).clamp_max(1).sqrt()
    v = s / 3 * (1 + 2 * torch.cos(2 / 3 * torch.arcsin(sine)))
    # Not v - a, which is only rounding error if w is much smaller than a.
    u = (size - t * (a + 1) / v * (a / v)).clamp_min(0)
    return torch.where(size <= threshold, 0.0, w.sign() * u)


def prox_group_l0(w: Tensor, t: float, groups: int = 1) -> Tensor:
    """Proximal operator of group l0: keeps an input channel if its l2 norm is > sqrt(2 t), else sets it to 0.

    Algorithm 2 of arXiv 2003.00631 with t = lambda_1 / beta.

    Args:
        w: (out, in / groups, kh, kw), weights of a convolution.
        t: at least 0.
        groups: number of groups of the convolution.
    """
    norms = channel_norms(w, groups)
    return scale_channels(w, (norms > math.sqrt(2 * t)).to(w.dtype), groups)


def prox_group_lasso(w: Tensor, t: float, groups: int = 1) -> Tensor:
    """Proximal operator of the group lasso: reduces the l2 norm of each input channel by t, at most to 0.

    Arguments as in `prox_group_l0`.
    """
    norms = channel_norms(w, groups)
    # The lower bound avoids 0/0: a zero channel stays zero.
    factor = (norms - t).clamp_min(0) / norms.clamp_min(torch.finfo(w.dtype).tiny)
    return scale_channels(w, factor, groups)


def channel_norms(w: Tensor, groups: int = 1) -> Tensor:
    """l2 norms (groups, in / groups) of the input channels, over output channels and kernel; w as above."""
    norms: Tensor = torch.linalg.vector_norm(_by_channel(w, groups), dim=(1, 3))
    return norms


def scale_channels(w: Tensor, factor: Tensor, groups: int = 1) -> Tensor:
    """w with input channel i of group g multiplied by factor[g, i]; factor: (groups, in / groups)."""
    return (_by_channel(w, groups) * factor[:, None, :, None]).reshape(w.shape)


def _by_channel(w: Tensor, groups: int) -> Tensor:
    """(out, in / groups, kh, kw) seen as (groups, out / groups, in / groups, kh * kw)."""
    return w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
