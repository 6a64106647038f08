"""Triton kernels for a pre-activation network; each computes a whole layer of the forward or backward pass.

On a GPU, small networks are limited neither by memory nor by arithmetic, but by the number of kernel
launches. So a convolution kernel also adds the residual and applies batch normalisation and ReLU before it
writes the result, and the gradient kernel applies the mask of ReLU and the scale. All kernels are
deterministic. Tensors are (N, C, H, W) in channels-last memory, with the channels of G groups (members of an
ensemble) one after the other.
"""

# Triton's language has no types that a type checker understands.
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def _row(m, height, width):
    """Image, row and column of flat pixel m."""
    n = m // (height * width)
    rest = m - n * (height * width)
    h = rest // width
    return n, h, rest - h * width


# Arguments that change with the batch; Triton must not compile a kernel for each of their values.
_VARYING = ["pixels", "chunks", "salt", "chunk"]


@triton.jit(do_not_specialize=_VARYING)
def convolve(
    x, weight, residual, scale, shift, raw, activated,
    pixels, height, width, in_height, in_width,
    CI: tl.constexpr, CO: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, GROUPS: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_CI: tl.constexpr, BLOCK_CO: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """raw = conv(x) [+ residual]; activated = relu(scale * raw + shift); either output may be None.

    weight: (groups, KERNEL^2, CI, CO); scale, shift: (groups * CO,).
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    g = tl.program_id(1)
    co = tl.program_id(2) * BLOCK_CO + tl.arange(0, BLOCK_CO)
    n, h, w = _row(m, height, width)
    acc = tl.zeros((BLOCK, BLOCK_CO), dtype=tl.float32)
    for tap in tl.static_range(KERNEL * KERNEL):
        hi = h * STRIDE + tap // KERNEL - KERNEL // 2
        wi = w * STRIDE + tap % KERNEL - KERNEL // 2
        inside = (m < pixels) & (hi >= 0) & (hi < in_height) & (wi >= 0) & (wi < in_width)
        row = ((n * in_height + hi) * in_width + wi) * (GROUPS * CI) + g * CI
        for first in range(0, CI, BLOCK_CI):
            ci = first + tl.arange(0, BLOCK_CI)
            a = tl.load(x + row[:, None] + ci[None, :], inside[:, None] & (ci < CI)[None, :], 0.0)
            at = ((g * KERNEL * KERNEL + tap) * CI + ci[:, None]) * CO + co[None, :]
            b = tl.load(weight + at, (ci < CI)[:, None] & (co < CO)[None, :], 0.0)
            acc = tl.dot(a.to(b.dtype), b, acc, input_precision=PRECISION)
    channel = g * CO + co
    place = m[:, None] * (GROUPS * CO) + channel[None, :]
    wanted = (m < pixels)[:, None] & (co < CO)[None, :]
    if residual is not None:
        acc += tl.load(residual + place, wanted, 0.0).to(tl.float32)
    if raw is not None:
        tl.store(raw + place, acc, wanted)
    if activated is not None:
        s = tl.load(scale + channel, co < CO, 0.0)
        b = tl.load(shift + channel, co < CO, 0.0)
        tl.store(activated + place, tl.maximum(acc * s[None, :] + b[None, :], 0.0), wanted)


@triton.jit(do_not_specialize=_VARYING)
def input_gradient(
    grad, weight, extra, activated, scale, skip, out, image, step, epsilon,
    pixels, height, width, out_height, out_width,
    CI: tl.constexpr, CO: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, GROUPS: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_CI: tl.constexpr, BLOCK_CO: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out = (input gradient of the convolution [+ extra]) [* scale where activated > 0, else 0] [+ skip].

    With `image`, `out` is the adversarial image, updated in place by one PGD step: `step` times the sign of
    the gradient, then projection to the l-infinity ball of radius epsilon around the image and to [0, 1].
    `pixels`, `height` and `width` are those of the input.
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    g = tl.program_id(1)
    ci = tl.program_id(2) * BLOCK_CI + tl.arange(0, BLOCK_CI)
    n, h, w = _row(m, height, width)
    acc = tl.zeros((BLOCK, BLOCK_CI), dtype=tl.float32)
    for tap in tl.static_range(KERNEL * KERNEL):
        hn = h - (tap // KERNEL - KERNEL // 2)
        wn = w - (tap % KERNEL - KERNEL // 2)
        ho = hn // STRIDE
        wo = wn // STRIDE
        inside = (m < pixels) & (hn >= 0) & (ho < out_height) & (wn >= 0) & (wo < out_width)
        if STRIDE > 1:
            inside = inside & (ho * STRIDE == hn) & (wo * STRIDE == wn)
        row = ((n * out_height + ho) * out_width + wo) * (GROUPS * CO) + g * CO
        for first in range(0, CO, BLOCK_CO):
            co = first + tl.arange(0, BLOCK_CO)
            a = tl.load(grad + row[:, None] + co[None, :], inside[:, None] & (co < CO)[None, :], 0.0)
            at = ((g * KERNEL * KERNEL + tap) * CI + ci[None, :]) * CO + co[:, None]
            b = tl.load(weight + at, (co < CO)[:, None] & (ci < CI)[None, :], 0.0)
            acc = tl.dot(a.to(b.dtype), b, acc, input_precision=PRECISION)
    channel = g * CI + ci
    place = m[:, None] * (GROUPS * CI) + channel[None, :]
    wanted = (m < pixels)[:, None] & (ci < CI)[None, :]
    if extra is not None:
        acc += tl.load(extra + place, wanted, 0.0).to(tl.float32)
    if activated is not None:
        s = tl.load(scale + channel, ci < CI, 0.0)
        on = tl.load(activated + place, wanted, 0.0) > 0
        acc = tl.where(on, acc * s[None, :], 0.0)
    if skip is not None:
        acc += tl.load(skip + place, wanted, 0.0).to(tl.float32)
    if image is not None:
        centre = tl.load(image + place, wanted, 0.0)
        sign = (acc > 0).to(tl.float32) - (acc < 0).to(tl.float32)
        moved = tl.load(out + place, wanted, 0.0) + step * sign
        low = tl.maximum(centre - epsilon, 0.0)
        high = tl.minimum(centre + epsilon, 1.0)
        acc = tl.minimum(tl.maximum(moved, low), high)
    tl.store(out + place, acc, wanted)


@triton.jit(do_not_specialize=_VARYING)
def weight_gradient(
    x, grad, out,
    pixels, chunk, height, width, in_height, in_width,
    CI: tl.constexpr, CO: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, GROUPS: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_CI: tl.constexpr, BLOCK_CO: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient with respect to the weights, summed over each chunk of pixels.

    out: (chunks, groups, KERNEL^2, CI, CO).
    """
    part = tl.program_id(0)
    g = tl.program_id(1) // (KERNEL * KERNEL)
    tap = tl.program_id(1) % (KERNEL * KERNEL)
    blocks = (CO + BLOCK_CO - 1) // BLOCK_CO
    ci = (tl.program_id(2) // blocks) * BLOCK_CI + tl.arange(0, BLOCK_CI)
    co = (tl.program_id(2) % blocks) * BLOCK_CO + tl.arange(0, BLOCK_CO)
    acc = tl.zeros((BLOCK_CI, BLOCK_CO), dtype=tl.float32)
    last = tl.minimum((part + 1) * chunk, pixels)
    for first in range(part * chunk, last, BLOCK):
        m = first + tl.arange(0, BLOCK)
        n, h, w = _row(m, height, width)
        hi = h * STRIDE + tap // KERNEL - KERNEL // 2
        wi = w * STRIDE + tap % KERNEL - KERNEL // 2
        inside = (m < last) & (hi >= 0) & (hi < in_height) & (wi >= 0) & (wi < in_width)
        row = ((n * in_height + hi) * in_width + wi) * (GROUPS * CI) + g * CI
        a = tl.load(x + row[:, None] + ci[None, :], inside[:, None] & (ci < CI)[None, :], 0.0)
        at = m[:, None] * (GROUPS * CO) + g * CO + co[None, :]
        b = tl.load(grad + at, (m < last)[:, None] & (co < CO)[None, :], 0.0)
        acc = tl.dot(tl.trans(a), b, acc, input_precision=PRECISION)
    place = ((part * tl.num_programs(1) + tl.program_id(1)) * CI + ci[:, None]) * CO + co[None, :]
    tl.store(out + place, acc, (ci < CI)[:, None] & (co < CO)[None, :])


@triton.jit
def head(
    activated, scale, weight, bias, labels, out,
    AREA: tl.constexpr, C: tl.constexpr, CLASSES: tl.constexpr, GROUPS: tl.constexpr,
    BLOCK_AREA: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_CLASSES: tl.constexpr,
):  # fmt: skip
    """Gradient of the cross-entropy of one image with respect to the input of the last batch normalisation.

    Forward pass: average pooling, linear layers with weight (GROUPS, CLASSES, C) and bias (GROUPS, CLASSES),
    mean of the logits over groups, softmax. Backward pass: through all of these, ReLU and the normalisation.
    """
    n = tl.program_id(0)
    p = tl.arange(0, BLOCK_AREA)
    c = tl.arange(0, BLOCK_C)
    k = tl.arange(0, BLOCK_CLASSES)
    wanted = (p < AREA)[:, None] & (c < C)[None, :]
    known = (k < CLASSES)[:, None] & (c < C)[None, :]
    place = n * AREA * GROUPS * C + p[:, None] * (GROUPS * C) + c[None, :]
    logits = tl.zeros((BLOCK_CLASSES,), dtype=tl.float32)
    for g in tl.static_range(GROUPS):
        pooled = tl.sum(tl.load(activated + place + g * C, wanted, 0.0).to(tl.float32), axis=0) / AREA
        at = (g * CLASSES + k[:, None]) * C + c[None, :]
        logits += tl.sum(tl.load(weight + at, known, 0.0) * pooled[None, :], axis=1)
        logits += tl.load(bias + g * CLASSES + k, k < CLASSES, 0.0)
    logits = tl.where(k < CLASSES, logits / GROUPS, float("-inf"))
    power = tl.exp(logits - tl.max(logits, axis=0))
    grad = power / tl.sum(power, axis=0) - (k == tl.load(labels + n)).to(tl.float32)
    for g in tl.static_range(GROUPS):
        at = (g * CLASSES + k[:, None]) * C + c[None, :]
        each = tl.sum(tl.load(weight + at, known, 0.0) * grad[:, None], axis=0) / (GROUPS * AREA)
        each *= tl.load(scale + g * C + c, c < C, 0.0)
        on = tl.load(activated + place + g * C, wanted, 0.0) > 0
        tl.store(out + place + g * C, tl.where(on, each[None, :], 0.0), wanted)


@triton.jit
def _chunk(pixels, C: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    """Addresses and mask of the elements of a chunk of a group, their indices in the group, and channels."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m = number // C
    channel = tl.program_id(1) * C + number - m * C
    return m * (GROUPS * C) + channel, m < pixels, number, channel


@triton.jit(do_not_specialize=_VARYING)
def moments(x, sums, pixels, C: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    """Sum and sum of squares of the elements of each chunk of each group: sums (GROUPS, chunks, 2)."""
    place, wanted, _, _ = _chunk(pixels, C, GROUPS, BLOCK)
    value = tl.load(x + place, wanted, 0.0).to(tl.float32)
    at = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * 2
    tl.store(sums + at, tl.sum(value, axis=0))
    tl.store(sums + at + 1, tl.sum(value * value, axis=0))


@triton.jit
def _spread(sums, count, chunks, CHUNKS: tl.constexpr):
    """Mean and standard deviation (with count - 1) of the group of this program."""
    i = tl.arange(0, CHUNKS)
    at = sums + (tl.program_id(1) * chunks + i) * 2
    mean = tl.sum(tl.load(at, i < chunks, 0.0), axis=0) / count
    square = tl.sum(tl.load(at + 1, i < chunks, 0.0), axis=0)
    # For equal numbers, rounding can make the difference negative.
    return mean, tl.sqrt(tl.maximum(square - count * mean * mean, 0.0) / (count - 1))


@triton.jit(do_not_specialize=_VARYING)
def perturb(
    x, sums, seed, salt, gamma, scale, shift, noisy, activated,
    pixels, chunks, C: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """noisy = x + gamma * std(x) * N(0, 1), std of each group; activated = relu(scale * noisy + shift)."""
    place, wanted, number, channel = _chunk(pixels, C, GROUPS, BLOCK)
    _, std = _spread(sums, pixels * C, chunks, CHUNKS)
    normal = tl.randn(tl.load(seed) + salt * GROUPS + tl.program_id(1), number)
    value = tl.load(x + place, wanted, 0.0).to(tl.float32) + gamma * std * normal
    tl.store(noisy + place, value, wanted)
    s = tl.load(scale + channel)
    b = tl.load(shift + channel)
    tl.store(activated + place, tl.maximum(value * s + b, 0.0), wanted)


@triton.jit(do_not_specialize=_VARYING)
def correlate(
    grad, seed, salt, dots, pixels, C: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Inner product of the gradient and the noise of `perturb`, for each chunk: dots (GROUPS, chunks)."""
    place, wanted, number, _ = _chunk(pixels, C, GROUPS, BLOCK)
    normal = tl.randn(tl.load(seed) + salt * GROUPS + tl.program_id(1), number)
    product = tl.load(grad + place, wanted, 0.0).to(tl.float32) * normal
    at = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(dots + at, tl.sum(tl.where(wanted, product, 0.0), axis=0))


@triton.jit(do_not_specialize=_VARYING)
def through_noise(
    grad, x, sums, dots, gamma,
    pixels, chunks, C: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Backward pass of `perturb`: grad += gamma * <grad, noise> * (x - mean) / ((count - 1) * std)."""
    place, wanted, _, _ = _chunk(pixels, C, GROUPS, BLOCK)
    count = pixels * C
    mean, std = _spread(sums, count, chunks, CHUNKS)
    i = tl.arange(0, CHUNKS)
    dot = tl.sum(tl.load(dots + tl.program_id(1) * chunks + i, i < chunks, 0.0), axis=0)
    away = tl.load(x + place, wanted, 0.0).to(tl.float32) - mean
    value = tl.load(grad + place, wanted, 0.0).to(tl.float32)
    tl.store(grad + place, value + gamma * dot / ((count - 1) * tl.maximum(std, 1e-30)) * away, wanted)
