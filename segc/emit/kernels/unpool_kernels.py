"""Triton kernels of a convolution of an unpooled map that is never written, and of its gradients.

A convolution of stride 1 with zeros around the map; `TOP` and `LEFT` are their number before it,
negative where it starts inside. The pooling has windows of SY x SX pixels that do not overlap.

Pixels of the pooled map are numbered over images, rows and columns, places in the unpooled map row
by row, as max_pool2d counts its indices. Steps are those of a tensor's axes; a weight's are those
of output and input channels, rows and columns. Sizes are (height, width), channels (in, out).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load(tensor, rows, columns, known_rows, known_columns, other):
    """A tile: offsets along its rows and columns, and where there is anything to be read."""
    known = known_rows[:, None] & known_columns[None, :]
    return tl.load(tensor + rows[:, None] + columns[None, :], known, other)


@triton.jit
def store(tensor, rows, columns, known_rows, known_columns, values):
    """Write a tile, as `load` reads one."""
    known = known_rows[:, None] & known_columns[None, :]
    values = values.to(tensor.dtype.element_ty)
    tl.store(tensor + rows[:, None] + columns[None, :], values, known)


@triton.jit
def pixel(n, y, x, steps):
    """The offset of a pixel; of an image, in 64 bits."""
    return n.to(tl.int64) * steps[0] + y * steps[2] + x * steps[3]


@triton.jit
def within(y, x, size):
    """Whether a pixel lies in a map."""
    return (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])


@triton.jit
def only_at(y, x, full, place, values, others):
    """Values whose index says (y, x), one place for each row of the tile; the others elsewhere.

    Beside the map there is none: the number of such a place is that of one in the next row.
    """
    position = tl.where(x < full[1], y * full[1] + x, -2)
    return tl.where(place == position[:, None], values, others)


@triton.jit
def convolve_kernel(
    out, x, places, weight, bias, out_steps, x_steps, place_steps, weight_steps, first_tap,
    count, pooled, full, out_size, channels,
    SY: tl.constexpr, SX: tl.constexpr, KY: tl.constexpr, KX: tl.constexpr,
    DY: tl.constexpr, DX: tl.constexpr, TOP: tl.constexpr, LEFT: tl.constexpr,
    BIASED: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
    PIXELS: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """One tile of the result: pixels that lie alike in their windows, by output channels.

    A program's pixels are (SY i + a, SX j + b) with one (a, b), so that a tap meets the same
    cell of the same neighbouring window for all of them and each window is read once.
    """
    a, b = tl.program_id(2) // SX, tl.program_id(2) % SX
    rows, columns = tl.cdiv(out_size[0], SY), tl.cdiv(out_size[1], SX)
    m = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    n, i, j = m // (rows * columns), m // columns % rows, m % columns
    o = tl.program_id(1) * OUT + tl.arange(0, OUT)
    # windows above and left of the pixel's own that its taps reach, so that none counts below 0
    BACK_Y: tl.constexpr = (max(TOP, 0) + SY - 1) // SY
    BACK_X: tl.constexpr = (max(LEFT, 0) + SX - 1) // SX
    top, left = a - TOP + BACK_Y * SY, b - LEFT + BACK_X * SX
    total = tl.zeros((PIXELS, OUT), SUM)
    for window_y in range(top // SY, (top + DY * (KY - 1)) // SY + 1):
        for window_x in range(left // SX, (left + DX * (KX - 1)) // SX + 1):
            wy, wx = i + window_y - BACK_Y, j + window_x - BACK_X
            inside = (n < count) & within(wy, wx, pooled)
            for start in range(0, channels[0], IN):
                c = start + tl.arange(0, IN)
                known = c < channels[0]
                value = load(x, pixel(n, wy, wx, x_steps), c * x_steps[1], inside, known, 0.0)
                at = pixel(n, wy, wx, place_steps)
                place = load(places, at, c * place_steps[1], inside, known, -1).to(tl.int32)
                for cell in range(SY * SX):
                    u, v = window_y * SY + cell // SX - top, window_x * SX + cell % SX - left
                    met = within(u, v, (DY * (KY - 1) + 1, DX * (KX - 1) + 1))
                    if met & (u % DY == 0) & (v % DX == 0):
                        y, x_ = wy * SY + cell // SX, wx * SX + cell % SX
                        hit = only_at(y, x_, full, place, value, 0.0)
                        tap = first_tap + u // DY * weight_steps[2] + v // DX * weight_steps[3]
                        w = load(
                            weight + tap, c * weight_steps[1], o * weight_steps[0],
                            known, o < channels[1], 0.0,
                        )  # fmt: skip
                        total = tl.dot(hit, w, total, input_precision=PRECISION, out_dtype=SUM)
    if BIASED:
        total += tl.load(bias + o, o < channels[1], 0.0)[None, :].to(SUM)
    y, x_ = i * SY + a, j * SX + b
    inside = (n < count) & within(y, x_, out_size)
    store(out, pixel(n, y, x_, out_steps), o * out_steps[1], inside, o < channels[1], total)


@triton.jit
def pooled_gradient_kernel(
    gradient, places, weight, result, gradient_steps, place_steps, weight_steps, result_steps,
    first_tap, count, pooled, full, out_size, channels,
    SY: tl.constexpr, SX: tl.constexpr, KY: tl.constexpr, KX: tl.constexpr,
    DY: tl.constexpr, DX: tl.constexpr, TOP: tl.constexpr, LEFT: tl.constexpr,
    PRECISION: tl.constexpr, SUM: tl.constexpr,
    PIXELS: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """One tile of the gradient of the pooled values: pooled pixels by input channels.

    The gradient of the unpooled map is computed cell by cell of the windows; each value keeps
    that of the cell it lies in.
    """
    m = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    n, i, j = m // (pooled[0] * pooled[1]), m // pooled[1] % pooled[0], m % pooled[1]
    c = tl.program_id(1) * IN + tl.arange(0, IN)
    there, known = n < count, c < channels[0]
    at = pixel(n, i, j, place_steps)
    place = load(places, at, c * place_steps[1], there, known, -1).to(tl.int32)
    chosen = tl.zeros((PIXELS, IN), SUM)
    for cell in range(SY * SX):
        row, column = i * SY + cell // SX, j * SX + cell % SX
        total = tl.zeros((PIXELS, IN), SUM)
        for tap in range(KY * KX):
            y, x = row + TOP - tap // KX * DY, column + LEFT - tap % KX * DX
            at, inside = pixel(n, y, x, gradient_steps), there & within(y, x, out_size)
            w_tap = first_tap + tap // KX * weight_steps[2] + tap % KX * weight_steps[3]
            for start in range(0, channels[1], OUT):
                o = start + tl.arange(0, OUT)
                real = o < channels[1]
                g = load(gradient, at, o * gradient_steps[1], inside, real, 0.0)
                w = load(weight + w_tap, o * weight_steps[0], c * weight_steps[1], real, known, 0.0)
                total = tl.dot(g, w, total, input_precision=PRECISION, out_dtype=SUM)
        chosen = only_at(row, column, full, place, total, chosen)
    store(result, pixel(n, i, j, result_steps), c * result_steps[1], there, known, chosen)


@triton.jit
def weight_gradient_kernel(
    gradient, x, places, result, gradient_steps, x_steps, place_steps,
    count, pooled, full, out_size, channels, blocks,
    SY: tl.constexpr, SX: tl.constexpr, KY: tl.constexpr, KX: tl.constexpr,
    DY: tl.constexpr, DX: tl.constexpr, TOP: tl.constexpr, LEFT: tl.constexpr,
    PRECISION: tl.constexpr, SUM: tl.constexpr,
    PIXELS: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """One tap of the weight's gradient, output by input channels, summed over a part of the pixels.

    result: [parts, taps, out, in]; a part are `blocks` blocks of pooled pixels.
    """
    tiles = tl.cdiv(channels[0], IN)
    o = tl.program_id(0) // tiles * OUT + tl.arange(0, OUT)
    c = tl.program_id(0) % tiles * IN + tl.arange(0, IN)
    known, real = c < channels[0], o < channels[1]
    tap, part = tl.program_id(1), tl.program_id(2)
    total = tl.zeros((OUT, IN), SUM)
    for block in range(part * blocks, (part + 1) * blocks):
        m = block * PIXELS + tl.arange(0, PIXELS)
        n, i, j = m // (pooled[0] * pooled[1]), m // pooled[1] % pooled[0], m % pooled[1]
        there = n < count
        value = load(x, pixel(n, i, j, x_steps), c * x_steps[1], there, known, 0.0)
        at = pixel(n, i, j, place_steps)
        place = load(places, at, c * place_steps[1], there, known, -1).to(tl.int32)
        for cell in range(SY * SX):
            row, column = i * SY + cell // SX, j * SX + cell % SX
            hit = only_at(row, column, full, place, value, 0.0)
            y, x_ = row + TOP - tap // KX * DY, column + LEFT - tap % KX * DX
            at, inside = pixel(n, y, x_, gradient_steps), there & within(y, x_, out_size)
            g = load(gradient, o * gradient_steps[1], at, real, inside, 0.0)
            total = tl.dot(g, hit, total, input_precision=PRECISION, out_dtype=SUM)
    first = (part * KY * KX + tap).to(tl.int64) * channels[1] * channels[0]
    store(result + first, o * channels[0], c, real, known, total)
