"""Pillow's resampling by Numba, for input pipelines: the same pixels in a quarter of the time.

Facts of the algorithm are from Pillow 13's `src/libImaging/Resample.c`. Pillow sums one pixel after
the other; here whole lines are summed, which the vector units of a CPU do many at a time. Numba
compiles the loops, some two seconds in the first call. `resampling` computes the same pixels as a
graph, which can be exported and takes longer.

Shapes: h x w pixels as stored, H x W pixels of the frame; n lines of an axis, N lines of it
resized, m values of a line.
"""

import math

import numba
import numpy as np

_WEIGHT_BITS = 22  # after the point of a weight: PRECISION_BITS = 32 - 8 - 2 in Pillow
_TILE = 32  # lines that are transposed together


def resized_frame(pixels, resized_size, offset, frame_size, interpolation):
    """Returns the frame (H, W, 3) uint8 that Pillow cuts out of a resized picture.

    One axis is resized after the other, in Pillow's order, and rounded to 8 bits between them.

    Args:
        pixels: (h, w, 3) uint8.
        resized_size: height and width of the whole resized picture.
        offset: row and column of the resized picture where the frame begins.
        frame_size: (H, W); the frame lies within the resized picture.
        interpolation: "bilinear" or "bicubic", with antialiasing.
    """
    return _resized_frame(pixels, resized_size, offset, frame_size, interpolation == "bicubic")


@numba.njit(nogil=True)
def _resized_frame(pixels, resized_size, offset, frame_size, is_cubic):
    stored_height, stored_width, _ = pixels.shape
    height, width = frame_size
    row_firsts, row_ends, row_weights = _axis_weights(
        stored_height, resized_size[0], offset[0], height, is_cubic
    )
    column_firsts, column_ends, column_weights = _axis_weights(
        stored_width, resized_size[1], offset[1], width, is_cubic
    )
    # Only the part that an output reads, and places within it.
    top, bottom, left, right = row_firsts[0], row_ends[-1], column_firsts[0], column_ends[-1]
    pixels = pixels[top:bottom, left:right]
    rows = row_firsts - top, row_ends - top, row_weights
    columns = column_firsts - left, column_ends - left, column_weights
    needed_height, needed_width = bottom - top, right - left

    shrink_height, shrink_width = stored_height - resized_size[0], stored_width - resized_size[1]
    if shrink_height > 0 and shrink_height > 2 * shrink_width:
        lines = np.ascontiguousarray(pixels).reshape(needed_height, needed_width * 3)
        lines = _weighted_lines(lines, *rows).reshape(height, needed_width, 3)
        lines = _weighted_lines(transposed(lines).reshape(needed_width, height * 3), *columns)
        return transposed(lines.reshape(width, height, 3))
    lines = transposed(pixels).reshape(needed_width, needed_height * 3)
    lines = _weighted_lines(lines, *columns).reshape(width, needed_height, 3)
    lines = _weighted_lines(transposed(lines).reshape(needed_height, width * 3), *rows)
    return lines.reshape(height, width, 3)


@numba.njit(nogil=True)
def _weighted_lines(lines, firsts, ends, weights):
    """(n, m) → (N, m) uint8: sums of the lines from `firsts` to `ends`."""
    num_values = lines.shape[1]
    outputs = np.empty((len(firsts), num_values), np.uint8)
    sums = np.empty(num_values, np.int32)
    for place in range(len(firsts)):
        sums[:] = 1 << (_WEIGHT_BITS - 1)  # a half, so that dropping the bits rounds
        for tap in range(ends[place] - firsts[place]):
            weight = weights[place, tap]
            line = lines[firsts[place] + tap]
            for index in range(num_values):
                sums[index] += weight * np.int32(line[index])
        output = outputs[place]
        for index in range(num_values):
            output[index] = min(max(sums[index] >> _WEIGHT_BITS, 0), 255)
    return outputs


@numba.njit(nogil=True)
def transposed(pixels):
    """(n, m, 3) → (m, n, 3), a tile after the other, which stays in the cache."""
    num_lines, length, _ = pixels.shape
    outputs = np.empty((length, num_lines, 3), pixels.dtype)
    for begin in range(0, num_lines, _TILE):
        for place in range(length):
            for line in range(begin, min(begin + _TILE, num_lines)):
                for channel in range(3):
                    outputs[place, line, channel] = pixels[line, place, channel]
    return outputs


@numba.njit(nogil=True)
def _axis_weights(length, resized_length, start, count, is_cubic):
    """Weights of the outputs `start` to `start + count` of a resized axis, in Pillow's arithmetic.

    Returns:
        (N,) the first input of each output, (N,) the input behind its last one, and (N, K) int32
        the weights, in units of 2^-22, of up to K inputs.
    """
    scale = length / resized_length
    stretch = max(scale, 1.0)
    support = (2.0 if is_cubic else 1.0) * stretch
    firsts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
    exact = np.zeros(2 * math.ceil(support) + 1)
    weights = np.zeros((count, len(exact)), np.int32)
    for place in range(count):
        centre = (start + place + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        num_inputs = min(int(centre + support + 0.5), length) - first
        for tap in range(num_inputs):
            exact[tap] = _kernel(abs(tap + first - centre + 0.5) * (1.0 / stretch), is_cubic)
        total = exact[:num_inputs].sum()
        for tap in range(num_inputs):
            scaled = exact[tap] / total * (1 << _WEIGHT_BITS)
            weights[place, tap] = int(scaled - 0.5) if scaled < 0 else int(scaled + 0.5)
        firsts[place], ends[place] = first, first + num_inputs
    return firsts, ends, weights


@numba.njit(nogil=True)
def _kernel(distance, is_cubic):
    if not is_cubic:
        return max(1.0 - distance, 0.0)
    # Keys' cubic with a = -0.5.
    if distance < 1.0:
        return (1.5 * distance - 2.5) * distance * distance + 1.0
    if distance < 2.0:
        return (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
    return 0.0
